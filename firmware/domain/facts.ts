/**
 * Whether facts can be those of an object. They are told by receive workers, which face the
 * network, over the channel and in the files they write: nobody believes them unseen.
 */
import { isName, isObjectId, isUid } from './identifier.ts'
import { LIMITS } from './limits.ts'
import { count, passing, shape, text, wrongField } from './shape.ts'
import type { Checks } from './shape.ts'
import type { ObjectFacts, Source } from './spool.ts'

const DIGEST = /^[0-9a-f]{64}$/
/** An IPv6 address with a zone. */
export const PEER_CHARS = 64
/** PS3.8 9.3.2; what is in it is the device's own affair. */
export const AE_CHARS = 16

const SOURCE: Checks<Source> = {
  listener: passing(isName),
  callingAe: text(AE_CHARS),
  calledAe: text(AE_CHARS),
  peer: text(PEER_CHARS),
}

const FACTS: Checks<ObjectFacts> = {
  id: passing(isObjectId),
  tenant: passing(isName),
  sopClass: passing(isUid),
  sopInstance: passing(isUid),
  transferSyntax: passing(isUid),
  source: shape(SOURCE),
  receivedAt: count,
  bytes: count,
  digest: passing((digest) => DIGEST.test(digest)),
  // As the data set has them, which may be no UIDs at all.
  study: text(LIMITS.headerValueBytes),
  series: text(LIMITS.headerValueBytes),
}

/** @returns the name of a fact that is missing or cannot be; undefined when all can */
export const impossibleFact = (facts: unknown): string | undefined => wrongField(FACTS, facts)
