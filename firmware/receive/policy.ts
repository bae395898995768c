/**
 * Who may come in, and with what: pure decisions over one A-ASSOCIATE-RQ.
 *
 * Refusals use the result, source and reason of PS3.8 Table 9-21.
 */
import type { AssociateRequest, ContextAnswer, RejectReason } from '../dicom/acceptor.ts'
import { isStorageClass, VERIFICATION } from '../dicom/sop-classes.ts'
import { EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, isAcceptable } from '../dicom/transfer-syntaxes.ts'
import type { ErrorCode } from '../domain/errors.ts'
import type { Peers } from './peers.ts'

/** What a listener lets in; the matching part of the configuration. */
export interface Rules {
  readonly aeTitles: readonly string[]
  readonly callers: readonly string[]
  readonly peers: Peers
  /** Common names; present: whoever shows no certificate stays outside as well. */
  readonly certificates?: readonly string[] | undefined
  readonly sopClasses: ReadonlySet<string>
  readonly transferSyntaxes: readonly string[]
}

/** Who is asking. `certificate` only on a TLS listener, after its handshake was found valid. */
export interface Caller {
  readonly peer: string
  readonly certificate?: { readonly commonName: string } | undefined
}

export interface Refusal {
  readonly code: ErrorCode
  readonly fields: Record<string, string | number>
  readonly reject: RejectReason
}

const PERMANENT = 1
const TRANSIENT = 2
const SERVICE_USER = 1
/** Service provider, presentation related function. */
const PRESENTATION = 3

export const REJECT = {
  noReason: { result: PERMANENT, source: SERVICE_USER, reason: 1 },
  callingAe: { result: PERMANENT, source: SERVICE_USER, reason: 3 },
  calledAe: { result: PERMANENT, source: SERVICE_USER, reason: 7 },
  localLimit: { result: TRANSIENT, source: PRESENTATION, reason: 2 },
} as const satisfies Record<string, RejectReason>

const refusal = (code: ErrorCode, fields: Refusal['fields'], reject: RejectReason): Refusal => ({ code, fields, reject })

const admits = (list: readonly string[], value: string): boolean => list.includes('*') || list.includes(value)

/** @returns undefined when the caller may come in. */
export function refuse(request: AssociateRequest, rules: Rules, caller: Caller): Refusal | undefined {
  if (!rules.peers.admits(caller.peer)) return refusal('PEER_UNKNOWN', { peer: caller.peer }, REJECT.noReason)
  if (rules.certificates && !(caller.certificate && rules.certificates.includes(caller.certificate.commonName)))
    return refusal('CERTIFICATE_UNKNOWN', { subject: caller.certificate?.commonName ?? '(none)' }, REJECT.noReason)
  if (!admits(rules.aeTitles, request.calledAe))
    return refusal('CALLED_AE_UNKNOWN', { called: request.calledAe, accepted: rules.aeTitles.join(', ') }, REJECT.calledAe)
  if (!admits(rules.callers, request.callingAe))
    return refusal('CALLING_AE_UNKNOWN', { calling: request.callingAe }, REJECT.callingAe)
  return undefined
}

/** Results of PS3.8 Table 9-18. */
const ACCEPTANCE = 0
const ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
const TRANSFER_SYNTAXES_NOT_SUPPORTED = 4

/**
 * Answers each proposed context on its own: a peer may propose one class several times to keep
 * each file in the syntax it is stored in.
 */
export function answerContexts(request: AssociateRequest, rules: Rules): ContextAnswer[] {
  return request.contexts.map(({ id, abstractSyntax, transferSyntaxes }): ContextAnswer => {
    const first = transferSyntaxes[0] ?? IMPLICIT_LITTLE_ENDIAN
    const known = abstractSyntax === VERIFICATION || isStorageClass(abstractSyntax) || rules.sopClasses.has(abstractSyntax)
    if (!known) return { id, result: ABSTRACT_SYNTAX_NOT_SUPPORTED, transferSyntax: first }
    const chosen = choose(transferSyntaxes, rules.transferSyntaxes)
    if (chosen === undefined) return { id, result: TRANSFER_SYNTAXES_NOT_SUPPORTED, transferSyntax: first }
    return { id, result: ACCEPTANCE, transferSyntax: chosen }
  })
}

/**
 * The first proposed syntax we can keep, except that Explicit VR wins over Implicit VR within
 * one context: explicit carries the VRs of private attributes, which implicit loses at the sender.
 */
function choose(proposed: readonly string[], privates: readonly string[]): string | undefined {
  const chosen = proposed.find((uid) => isAcceptable(uid, privates))
  return chosen === IMPLICIT_LITTLE_ENDIAN && proposed.includes(EXPLICIT_LITTLE_ENDIAN) ? EXPLICIT_LITTLE_ENDIAN : chosen
}
