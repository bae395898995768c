/**
 * What a requestor proposes and what became of it.
 */
import { Fault } from '../domain/errors.ts'
import type { AssociateAccept, ContextResult, ProposedContext, Rejection } from './pdu.ts'
import { contextWords, rejectionWords } from './reason.ts'

export interface Proposal {
  /** 1–16 characters each, see `isAeTitle`. */
  readonly calledAe: string
  readonly callingAe: string
  /** 1–128; ids 1, 3, 5 … are given in this order. */
  readonly contexts: readonly { readonly abstractSyntax: string; readonly transferSyntaxes: readonly string[] }[]
}

/** What became of one proposed context. */
export interface AgreedContext {
  readonly id: number
  readonly abstractSyntax: string
  /** Undefined: not accepted. */
  readonly transferSyntax: string | undefined
  readonly result: ContextResult
  /** `result` in words, e.g. for the history of a delivery. */
  readonly words: string
}

/** The far side said no; `permanent` when it says so (result 1, PS3.8 Table 9-21). */
export class AssociationRejected extends Fault {
  readonly rejection: Rejection
  constructor(rejection: Rejection) {
    super('ASSOCIATION_REFUSED', { detail: rejectionWords(rejection) })
    this.name = 'AssociationRejected'
    this.rejection = rejection
  }
  get permanent(): boolean {
    return this.rejection.result === 1
  }
}

/** What an AC says about one proposal; what it leaves out or answers amiss is not accepted. */
export function agreed(proposed: ProposedContext, ac: AssociateAccept): AgreedContext {
  const { id, abstractSyntax, transferSyntaxes } = proposed
  const answer = ac.contexts.find((one) => one.id === id)
  if (answer === undefined) {
    return { id, abstractSyntax, transferSyntax: undefined, result: 2, words: 'the far side did not answer it' }
  }
  const { result, transferSyntax } = answer
  if (result !== 0) return { id, abstractSyntax, transferSyntax: undefined, result, words: contextWords(result) }
  if (transferSyntaxes.includes(transferSyntax)) return { id, abstractSyntax, transferSyntax, result, words: contextWords(0) }
  return { id, abstractSyntax, transferSyntax: undefined, result: 4, words: 'the far side chose a transfer syntax we did not offer' }
}
