/**
 * Whether facts can be those of an object. They are told by receive workers, which face the
 * network, over the channel and in the files they write: nobody believes them unseen.
 */
import { isName, isObjectId, isUid } from './identifier.ts'
import { LIMITS } from './limits.ts'
import type { ObjectFacts } from './spool.ts'

const DIGEST = /^[0-9a-f]{64}$/
/** An IPv6 address with a zone. */
const PEER_CHARS = 64
/** PS3.8 9.3.2; what is in it is the device's own affair. */
const AE_CHARS = 16

type Check = (value: unknown) => boolean

const text = (most: number): Check => (value) => typeof value === 'string' && value.length <= most
const passing = (is: (text: string) => boolean): Check => (value) => typeof value === 'string' && is(value)
const whole: Check = (value) => Number.isSafeInteger(value) && (value as number) >= 0

const SOURCE: Readonly<Record<keyof ObjectFacts['source'], Check>> = {
  listener: passing(isName),
  callingAe: text(AE_CHARS),
  calledAe: text(AE_CHARS),
  peer: text(PEER_CHARS),
}

const FACTS: Readonly<Record<keyof ObjectFacts, Check>> = {
  id: passing(isObjectId),
  tenant: passing(isName),
  sopClass: passing(isUid),
  sopInstance: passing(isUid),
  transferSyntax: passing(isUid),
  source: (value) => lacking(SOURCE, value) === undefined,
  receivedAt: whole,
  bytes: whole,
  digest: passing((digest) => DIGEST.test(digest)),
  // As the data set has them, which may be no UIDs at all.
  study: text(LIMITS.headerValueBytes),
  series: text(LIMITS.headerValueBytes),
}

function lacking(checks: Readonly<Record<string, Check>>, value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null) return 'all of it'
  return Object.keys(checks).find((name) => !checks[name]?.((value as Record<string, unknown>)[name]))
}

/** @returns the name of a fact that is missing or cannot be; undefined when all can */
export const impossibleFact = (facts: unknown): string | undefined => lacking(FACTS, facts)
