/**
 * The link to one destination, as a pure function of its inputs. Each step is either not known,
 * passed, or failed; the first that failed names the state, whatever the later ones say.
 * *Connected* means A-ASSOCIATE-AC (PS3.8 9.3.3), never merely a TCP or TLS connection.
 */
import { causeOf, remedyOf, type ErrorCode } from './errors.ts'

/** In the order in which they are needed. */
export const LINK_STEPS = ['carrier', 'address', 'name', 'tcp', 'tls', 'association', 'echo'] as const
export type LinkStep = (typeof LINK_STEPS)[number]

/** Which step a code speaks of. A code that is not here says nothing about the link. */
export const LINK_CODES = {
  CABLE_UNPLUGGED: 'carrier',
  ADDRESS_MISSING: 'address',
  NAME_UNKNOWN: 'name',
  NAME_SERVER_SILENT: 'name',
  CONNECTION_REFUSED: 'tcp',
  CONNECTION_TIMEOUT: 'tcp',
  CONNECTION_RESET: 'tcp',
  HOST_UNREACHABLE: 'tcp',
  CONNECTION_FORBIDDEN: 'tcp',
  CONNECTION_FAILED: 'tcp',
  OWN_PART_MISSING: 'tls',
  OWN_PART_UNREADABLE: 'tls',
  OWN_KEY_MISMATCH: 'tls',
  OWN_CERTIFICATE_EXPIRED: 'tls',
  OWN_CERTIFICATE_EARLY: 'tls',
  OWN_CERTIFICATE_REVOKED: 'tls',
  OWN_CA_EXPIRED: 'tls',
  CLOCK_BEHIND: 'tls',
  CLOCK_AHEAD: 'tls',
  FAR_CERTIFICATE_MISSING: 'tls',
  FAR_CERTIFICATE_EXPIRED: 'tls',
  FAR_CERTIFICATE_EARLY: 'tls',
  FAR_CERTIFICATE_REVOKED: 'tls',
  FAR_CA_UNKNOWN: 'tls',
  FAR_CA_EXPIRED: 'tls',
  FAR_NAME_MISMATCH: 'tls',
  FAR_CERTIFICATE_PURPOSE: 'tls',
  FAR_CERTIFICATE_BROKEN: 'tls',
  REVOCATION_LIST_EXPIRED: 'tls',
  REVOCATION_LIST_EARLY: 'tls',
  REVOCATION_LIST_MISSING: 'tls',
  REFUSED_CA_UNKNOWN: 'tls',
  REFUSED_EXPIRED: 'tls',
  REFUSED_REVOKED: 'tls',
  REFUSED_BAD: 'tls',
  REFUSED_MISSING: 'tls',
  REFUSED_SILENTLY: 'tls',
  TLS_VERSION: 'tls',
  TLS_CIPHER: 'tls',
  TLS_SILENT: 'tls',
  TLS_CLOSED: 'tls',
  TLS_FAILED: 'tls',
  FAR_SPEAKS_PLAIN: 'tls',
  FAR_SPEAKS_TLS: 'association',
  FAR_SPEAKS_OTHER: 'association',
  ASSOCIATION_REFUSED: 'association',
  ASSOCIATION_SILENT: 'association',
  ASSOCIATION_BROKEN: 'association',
  ECHO_FAILED: 'echo',
} as const satisfies Partial<Record<ErrorCode, LinkStep>>
export type LinkCode = keyof typeof LINK_CODES

/** The step a code names, or undefined where the code is not about the link. */
export const stepOf = (code: ErrorCode): LinkStep | undefined =>
  (LINK_CODES as Partial<Record<ErrorCode, LinkStep>>)[code]

/** What is known of one step. `since` in milliseconds since 1970. */
export type LinkInput =
  | { readonly kind: 'unknown' }
  | { readonly kind: 'ok'; readonly since: number }
  | {
      readonly kind: 'failed'
      readonly since: number
      readonly code: LinkCode
      readonly fields: Readonly<Record<string, string | number>>
    }
export type LinkInputs = Readonly<Record<LinkStep, LinkInput>>

/** One state for each step that can fail first, one for not tried, one for under way, one for good. */
export const LINK_STATES = {
  'no-carrier': { blames: 'carrier', word: 'Cable unplugged' },
  'no-address': { blames: 'address', word: 'No network address' },
  'no-name': { blames: 'name', word: 'Name not found' },
  'no-tcp': { blames: 'tcp', word: 'Not reachable' },
  'no-tls': { blames: 'tls', word: 'Not trusted' },
  'no-association': { blames: 'association', word: 'Not accepted' },
  'no-echo': { blames: 'echo', word: 'Does not answer' },
  unknown: { blames: null, word: 'Not tried yet' },
  connecting: { blames: null, word: 'Connecting' },
  connected: { blames: null, word: 'Connected' },
} as const satisfies Record<string, { blames: LinkStep | null; word: string }>
export type LinkStateName = keyof typeof LINK_STATES

const SENTENCES = {
  unknown: 'Nothing was sent there yet.',
  connecting: 'The far side is being called.',
  connected: 'The far side takes images.',
} as const

/** What the page, the lamp, the log and the metrics show of one destination. */
export interface LinkState {
  readonly state: LinkStateName
  /** One or two words for a table. */
  readonly word: string
  /** What is so, in one sentence. */
  readonly sentence: string
  /** What a person can do; empty where nothing is to be done. */
  readonly remedy: string
  readonly code?: LinkCode
  /** Milliseconds since 1970; 0 while nothing is known. */
  readonly since: number
}

const FAILED = Object.fromEntries(
  Object.entries(LINK_STATES).flatMap(([name, state]) => (state.blames === null ? [] : [[state.blames, name]])),
) as Record<LinkStep, LinkStateName>

export const NOTHING_KNOWN: LinkInputs = {
  carrier: { kind: 'unknown' },
  address: { kind: 'unknown' },
  name: { kind: 'unknown' },
  tcp: { kind: 'unknown' },
  tls: { kind: 'unknown' },
  association: { kind: 'unknown' },
  echo: { kind: 'unknown' },
}

/** The state that these inputs make. Pure. */
export function linkState(inputs: LinkInputs): LinkState {
  let since = 0
  for (const step of LINK_STEPS) {
    const input = inputs[step]
    if (input.kind === 'failed') {
      const state = FAILED[step]
      return {
        state,
        word: LINK_STATES[state].word,
        sentence: causeOf(input.code, { ...input.fields }),
        remedy: remedyOf(input.code, { ...input.fields }),
        code: input.code,
        since: input.since,
      }
    }
    if (input.kind === 'ok') since = Math.max(since, input.since)
  }
  const { association } = inputs
  if (association.kind === 'ok') {
    return {
      state: 'connected',
      word: LINK_STATES.connected.word,
      sentence: SENTENCES.connected,
      remedy: '',
      since: association.since,
    }
  }
  const state = LINK_STEPS.some((step) => inputs[step].kind === 'ok') ? 'connecting' : 'unknown'
  return { state, word: LINK_STATES[state].word, sentence: SENTENCES[state], remedy: '', since }
}

/**
 * Inputs after `step` was seen to pass: it and every step before it hold now. A step that held
 * already keeps its `since`. Later steps are left as they are.
 */
export function passed(inputs: LinkInputs, step: LinkStep, at: number): LinkInputs {
  const next: Record<LinkStep, LinkInput> = { ...inputs }
  for (const each of LINK_STEPS) {
    if (next[each].kind !== 'ok') next[each] = { kind: 'ok', since: at }
    if (each === step) break
  }
  return next
}

/**
 * Inputs after `code` was met: the step it names has failed, and what comes after it is unknown
 * again. Name resolution and everything after it can only have been tried by passing the steps
 * before, so those hold now; cable and address are seen by themselves and are left alone.
 * The same code again keeps its `since`.
 */
export function failed(
  inputs: LinkInputs,
  code: LinkCode,
  fields: Readonly<Record<string, string | number>>,
  at: number,
): LinkInputs {
  const step = LINK_CODES[code]
  const index = LINK_STEPS.indexOf(step)
  const next: Record<LinkStep, LinkInput> = { ...inputs }
  const held = next[step]
  next[step] = { kind: 'failed', code, fields, since: held.kind === 'failed' && held.code === code ? held.since : at }
  for (const each of LINK_STEPS.slice(index + 1)) next[each] = { kind: 'unknown' }
  for (const each of LINK_STEPS.slice(LINK_STEPS.indexOf('name'), index)) {
    if (next[each].kind !== 'ok') next[each] = { kind: 'ok', since: at }
  }
  return next
}
