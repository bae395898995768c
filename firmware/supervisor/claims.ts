/**
 * What a worker may say. Receive workers face the network and forward workers the far side: one
 * that was taken over must not end the supervisor, make it forget its bounds, or speak of what it
 * does not hold. What strangers bring with them (names in certificates, comments) may be long and
 * is cut where it is kept.
 */
import { ERRORS } from '../domain/errors.ts'
import { AE_CHARS, PEER_CHARS, impossibleFact } from '../domain/facts.ts'
import { isName, isObjectId, isUid } from '../domain/identifier.ts'
import { LINK_STATES, LINK_STEPS } from '../domain/link.ts'
import type { LinkState } from '../domain/link.ts'
import { count, fields, flag, maybe, number, oneOf, passing, shape, text } from '../domain/shape.ts'
import type { Check, Checks } from '../domain/shape.ts'
import type { Outcome } from '../domain/spool.ts'
import type { ProbeStep } from '../link/probe.ts'
import type { Knock } from '../receive/intake.ts'
import type { ForwardService, ReceiveService } from './methods.ts'

/** A sentence, a path, a name in a certificate. */
const WORDS = text(256 * 1024)
const CODE = oneOf(ERRORS)
const NAME = passing(isName)
const ID = passing(isObjectId)
const UID = passing(isUid)
const FIELDS = fields(16, (value) => WORDS(value) || number(value))

const KNOCK = shape<Knock>({ listener: NAME, peer: text(PEER_CHARS), callingAe: text(AE_CHARS), calledAe: text(AE_CHARS), certificate: maybe(WORDS) })

const OUTCOME = shape<Outcome>({
  event: oneOf(['stored', 'refused', 'rejected', 'lease-lost']),
  code: maybe(CODE),
  detail: maybe(WORDS),
  status: maybe(count),
  sentAs: maybe(UID),
  hop: maybe(WORDS),
})

const LINK = shape<LinkState>({ state: oneOf(LINK_STATES), word: WORDS, sentence: WORDS, remedy: WORDS, code: maybe(CODE), since: number })

const STEP = shape<ProbeStep>({ step: oneOf(LINK_STEPS), ok: flag, millis: number, detail: WORDS, code: maybe(CODE), remedy: maybe(WORDS) })

/** For each method, what its argument must look like. */
export type Claims<Methods> = { readonly [K in keyof Methods]: Check }

type Argument<Method> = Method extends (argument: infer A) => unknown ? A : never
const of = <Method>(checks: Checks<Argument<Method>>): Check => shape(checks)

export const RECEIVE_CLAIMS: Claims<ReceiveService> = {
  settings: of<ReceiveService['settings']>({}),
  ready: of<ReceiveService['ready']>({ pid: count }),
  failed: of<ReceiveService['failed']>({ code: CODE, fields: FIELDS }),
  admit: of<ReceiveService['admit']>({ knock: KNOCK, tenant: NAME }),
  closed: of<ReceiveService['closed']>({ admission: count, how: WORDS, stores: count }),
  refused: of<ReceiveService['refused']>({ knock: KNOCK, code: CODE, fields: FIELDS }),
  slot: of<ReceiveService['slot']>({ tenant: NAME }),
  giveBack: of<ReceiveService['giveBack']>({ id: ID }),
  commit: of<ReceiveService['commit']>({ facts: (facts) => impossibleFact(facts) === undefined }),
}

export const FORWARD_CLAIMS: Claims<ForwardService> = {
  settings: of<ForwardService['settings']>({}),
  ready: of<ForwardService['ready']>({ pid: count }),
  lease: of<ForwardService['lease']>({ destination: NAME, count }),
  settle: of<ForwardService['settle']>({ id: ID, destination: NAME, outcome: OUTCOME, delayMillis: number }),
  waiting: of<ForwardService['waiting']>({ destination: NAME }),
  hold: of<ForwardService['hold']>({ destination: NAME, sopClass: UID, transferSyntax: UID, detail: WORDS }),
  link: of<ForwardService['link']>({ destination: NAME, state: LINK, associations: count }),
  testStep: of<ForwardService['testStep']>({ test: count, step: (step) => step === null || STEP(step) }),
}
