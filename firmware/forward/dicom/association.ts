/**
 * One association as a carrier: Storage SCU (PS3.4 B.2.1) of what the spool holds.
 */
import type { Association, AgreedContext } from '../../dicom/requestor.ts'
import { sopClassName } from '../../dicom/sop-classes.ts'
import { meaningOf, statusHex } from '../../dicom/status.ts'
import { transcode } from '../../dicom/transcode.ts'
import { transferSyntaxOf } from '../../dicom/transfer-syntaxes.ts'
import { Fault } from '../../domain/errors.ts'
import type { Lease, ObjectFacts, Outcome } from '../../domain/spool.ts'
import { outcomeOf } from '../outcome.ts'
import type { Carrier, ObjectSource } from '../outlet.ts'
import { othersOf } from './proposal.ts'
import type { ProposedContext } from './proposal.ts'

export interface CarrierTimes {
  readonly progressMillis: number
  readonly answerMillis: number
}

export class AssociationCarrier implements Carrier {
  readonly #association: Association
  readonly #proposed: readonly ProposedContext[]
  readonly #times: CarrierTimes
  readonly #hop: string
  lastSendMillis = 0
  lastWaitMillis = 0

  /** @param proposed in the order in which it was proposed, so that answers fall to their questions */
  constructor(association: Association, proposed: readonly ProposedContext[], hop: string, times: CarrierTimes) {
    this.#association = association
    this.#proposed = proposed
    this.#hop = hop
    this.#times = times
  }

  get alive(): boolean {
    return this.#association.open
  }

  readonly fits = (facts: ObjectFacts): 'yes' | 'unproposed' | { refused: string } => {
    const asIs = this.#context(facts.sopClass, [facts.transferSyntax])
    if (asIs === undefined) return 'unproposed'
    if (asIs.transferSyntax !== undefined || this.#recoded(facts)) return 'yes'
    return { refused: `${sopClassName(facts.sopClass)} in ${transferSyntaxOf(facts.transferSyntax).name}: ${asIs.words}` }
  }

  /** The context proposed with just these syntaxes, accepted or not. */
  #context(sopClass: string, syntaxes: readonly string[]): AgreedContext | undefined {
    const at = this.#proposed.findIndex(
      ({ abstractSyntax, transferSyntaxes }) =>
        abstractSyntax === sopClass && transferSyntaxes.length === syntaxes.length && syntaxes.every((uid, i) => transferSyntaxes[i] === uid),
    )
    return this.#association.contexts[at]
  }

  #recoded(facts: ObjectFacts): (AgreedContext & { transferSyntax: string }) | undefined {
    const others = othersOf(facts.transferSyntax)
    const context = others.length > 0 ? this.#context(facts.sopClass, others) : undefined
    return context?.transferSyntax === undefined ? undefined : { ...context, transferSyntax: context.transferSyntax }
  }

  async send(_lease: Lease, source: ObjectSource): Promise<Outcome> {
    const { facts } = source
    const asIs = this.#context(facts.sopClass, [facts.transferSyntax])
    const recoded = asIs?.transferSyntax === undefined ? this.#recoded(facts) : undefined
    const context = recoded ?? asIs
    if (context === undefined) throw new Error('forward: an instance that does not fit was sent')
    const data = recoded ? transcode(source, facts.transferSyntax, recoded.transferSyntax) : source
    const began = performance.now()
    try {
      const result = await this.#association.store(
        { contextId: context.id, sopClass: facts.sopClass, sopInstance: facts.sopInstance },
        data,
        this.#times,
      )
      this.lastSendMillis = result.sendMillis
      this.lastWaitMillis = performance.now() - began - result.sendMillis
      return { ...this.#judge(result.status, result.comment), ...(recoded ? { sentAs: recoded.transferSyntax } : {}) }
    } catch (error) {
      if (!(error instanceof Fault)) throw error
      return outcomeOf(error)
    }
  }

  #judge(status: number, comment: string): Outcome {
    const meaning = meaningOf(status)
    if (meaning.category === 'stored') return { event: 'stored', status, hop: this.#hop }
    const detail = `${statusHex(status)} ${meaning.text}${comment ? `: ${comment}` : ''}`
    return { event: meaning.category, status, code: meaning.category === 'refused' ? 'REFUSED' : 'REJECTED', detail, hop: this.#hop }
  }

  async close(): Promise<void> {
    await this.#association.release()
  }
}
