/**
 * The side that calls: one association as Storage and Verification SCU (PS3.8 7, PS3.7 9.3.1
 * and 9.3.5) over an open socket.
 *
 * Failures are `Fault`s. Opening: ASSOCIATION_REFUSED (as `AssociationRejected`),
 * ASSOCIATION_SILENT, ASSOCIATION_BROKEN, FAR_SPEAKS_TLS, FAR_SPEAKS_OTHER. Sending: ASSOCIATION_LOST,
 * ASSOCIATION_ABORTED (A-ABORT of the far side), PROGRESS_STOPPED, ANSWER_MISSING; after any of them the association is over.
 *
 * INVARIANTS: one operation at a time; a data set whose source fails is never completed, the
 * association is aborted instead, so the peer cannot take a part for the whole; an answer that
 * says "stored" counts only when the last byte was sent before it came.
 */
import type { Duplex } from 'node:stream'
import { Fault, causeOf, type ErrorCode } from '../domain/errors.ts'
import type { Limits } from '../domain/limits.ts'
import { AssociationRejected, agreed, type AgreedContext, type Proposal } from './agreement.ts'
import {
  COMMAND,
  PRIORITY,
  RESPONSE_BIT,
  encodeEchoRequest,
  encodeResponse,
  encodeStoreRequest,
  type Command,
} from './command.ts'
import { Connection, type End } from './connection.ts'
import { ABORT_REASON, Malformed } from './malformed.ts'
import { MessageReader } from './message.ts'
import { MAXIMUM_LENGTH_FLOOR, fragmentBytes, frameMessage } from './fragment.ts'
import {
  APPLICATION_CONTEXT,
  PDU,
  decodeAssociateAccept,
  decodeRejection,
  encodeAssociateRequest,
  type AssociateAccept,
  type PduType,
  type ProposedContext,
} from './pdu.ts'
import { Batches, padded, writeBatch, type Batch, type DataSource } from './sending.ts'
import { VERIFICATION } from './sop-classes.ts'
import { STATUS, meaningOf } from './status.ts'
import { IMPLEMENTATION_CLASS, IMPLEMENTATION_VERSION } from './user-information.ts'

export { AssociationRejected } from './agreement.ts'
export type { AgreedContext, Proposal } from './agreement.ts'
export type { DataSource } from './sending.ts'
export type { End } from './connection.ts'

export type RequestorBounds = Pick<
  Limits,
  'pduBytes' | 'pduSendBytes' | 'associatePduBytes' | 'presentationContexts' | 'commandBytes' | 'artimMillis' | 'discardBytes'
>

export interface StoreTimes {
  /** The socket must take something of what it was given in every such span. */
  readonly progressMillis: number
  /** From the last byte taken to the answer. */
  readonly answerMillis: number
}

export interface OutgoingStore {
  readonly contextId: number
  readonly sopClass: string
  readonly sopInstance: string
  /** PS3.7 9.3.1.1: 0 medium, 1 high, 2 low. */
  readonly priority?: number
}

export interface StoreResult {
  readonly status: number
  /** Error Comment of the peer, may name a patient: for the person's eyes, not for logs. */
  readonly comment: string
  /** From the first byte handed to the socket to the last one it took; the rest was the peer's. */
  readonly sendMillis: number
}

/** Deflated Explicit VR Little Endian. */
const DEFLATED = '1.2.840.10008.1.2.1.99'

/**
 * Asks for an association over an open socket of which nothing was read yet, and waits for the
 * answer no longer than `artimMillis`.
 *
 * @throws AssociationRejected, Fault ASSOCIATION_SILENT, ASSOCIATION_BROKEN, FAR_SPEAKS_TLS,
 *   FAR_SPEAKS_OTHER; the socket is then closed
 */
export async function associate(socket: Duplex, proposal: Proposal, bounds: RequestorBounds): Promise<Association> {
  const association = new Association(socket, proposal, bounds)
  await association.established()
  return association
}

export class Association {
  /** When the socket is gone. Never rejects. */
  readonly closed: Promise<End>
  readonly #connection: Connection
  readonly #messages: MessageReader
  readonly #bounds: RequestorBounds
  readonly #proposed: readonly ProposedContext[]
  #contexts: readonly AgreedContext[] = []
  #accepted: AssociateAccept | undefined
  #fragment = 0
  #messageId = 0
  /** What the peer has to answer; undefined: nothing, any message may begin. */
  #asked: { readonly messageId: number; readonly field: number } | undefined
  #response: Command | undefined
  /** A request of the peer whose data set is being skipped. */
  #foreign: { readonly contextId: number; readonly command: Command } | undefined
  #fault: Fault | undefined
  /** What a time-out means at this point. */
  #timeout: Timeout | undefined
  #wake: (() => void) | undefined
  #busy = false

  /** Not for use: see `associate`. */
  constructor(socket: Duplex, proposal: Proposal, bounds: RequestorBounds) {
    const { calledAe, callingAe, contexts } = proposal
    if (contexts.length < 1 || contexts.length > 128) throw new Error(`${contexts.length} presentation contexts proposed, not 1 to 128`)
    this.#bounds = bounds
    this.#proposed = contexts.map((context, index) => ({ id: 2 * index + 1, ...context }))
    const { promise, resolve } = Promise.withResolvers<End>()
    this.closed = promise
    const foreign = (): void => this.#refuseForeign()
    this.#messages = new MessageReader(
      { command: (contextId, command) => this.#command(contextId, command), data: () => {}, dataEnd: foreign },
      bounds,
    )
    this.#connection = new Connection(
      socket,
      'awaiting-answer',
      {
        associate: (type, body) => this.#answered(type, body),
        fragment: (contextId, flags, bytes, whole) => this.#messages.fragment(contextId, flags, bytes, whole),
        paused: () => {},
        ended: (end) => this.#ended(end),
        closed: resolve,
      },
      bounds,
    )
    socket.on('drain', () => this.#wake?.())
    this.#within(bounds.artimMillis, { code: 'ASSOCIATION_SILENT', fields: { seconds: bounds.artimMillis / 1000 } })
    this.#connection.send(
      encodeAssociateRequest({
        calledAe,
        callingAe,
        applicationContext: APPLICATION_CONTEXT,
        contexts: this.#proposed,
        maximumLength: bounds.pduBytes,
        implementationClass: IMPLEMENTATION_CLASS,
        implementationVersion: IMPLEMENTATION_VERSION,
        roles: [],
        extended: [],
        commonExtended: [],
      }),
    )
  }

  /** Awaited by `associate`. */
  established(): Promise<void> {
    return this.#until(() => this.#accepted !== undefined)
  }
  /** All proposed contexts, in the order of the proposal. */
  get contexts(): readonly AgreedContext[] {
    return this.#contexts
  }
  /** Address of the peer without port. */
  get peer(): string {
    return this.#connection.peer
  }
  /** What the peer says it is: implementation version, or class UID where it leaves that out. */
  get implementation(): string {
    return this.#accepted?.implementationVersion || this.#accepted?.implementationClass || ''
  }
  /** Bytes of a data set that one PDU to this peer carries. */
  get fragmentBytes(): number {
    return this.#fragment
  }
  /** False: over, or being released; another one is needed. */
  get open(): boolean {
    return this.#connection.state === 'established'
  }
  /** How it ended, once it has; `closed` follows when the socket is gone. */
  get end(): End | undefined {
    return this.#connection.end
  }

  /**
   * Sends one data set and waits for the answer, which is returned whatever it says: see
   * `meaningOf`. One at a time.
   *
   * A peer that answers before it was sent everything: a failure is returned, and the
   * association aborted rather than the rest sent over a slow line to be thrown away (`open` is
   * false then); a "stored" is not believed.
   *
   * @param data ends or fails by itself: while it is waited for, the end of the association is
   *   not noticed.
   * @throws Fault as above; what `data` throws: before the first byte the association lives on,
   *   after it is aborted.
   */
  async store(request: OutgoingStore, data: DataSource, times: StoreTimes): Promise<StoreResult> {
    const context = this.#contexts.find(({ id }) => id === request.contextId)
    if (context?.transferSyntax === undefined) throw new Error(`presentation context ${request.contextId} was not accepted`)
    this.#begin()
    const batches = new Batches(data)
    try {
      const first = await batches.first()
      if (first === undefined) throw new Error('a data set of no bytes cannot be sent')
      return await this.#transfer(request, first, batches, times)
    } catch (error) {
      // Half a message is out: the association is of no use for another.
      if (this.#asked !== undefined) this.abort('the data set could not be read to its end')
      throw error
    } finally {
      this.#settle()
      await batches.close()
    }
  }

  async #transfer(request: OutgoingStore, first: Batch, batches: Batches, times: StoreTimes): Promise<StoreResult> {
    const { socket } = this.#connection
    const { contextId, sopClass, sopInstance, priority = PRIORITY.medium } = request
    const messageId = this.#nextId()
    const command = encodeStoreRequest({ messageId, sopClass, sopInstance, priority })
    let lead: Buffer | undefined = frameMessage(contextId, true, command, this.#fragment)
    let sendMillis = -1
    const began = performance.now()
    for (let next = first; ; next = await batches.next()) {
      const batch = next.last && next.bytes % 2 === 1 && this.#pads(contextId) ? padded(next) : next
      await this.#room(times.progressMillis)
      if (this.#response !== undefined) return this.#early(this.#response, performance.now() - began)
      this.#asked = { messageId, field: COMMAND.storeRq }
      writeBatch(socket, contextId, batch, this.#fragment, lead, !batch.last ? undefined : () => {
        sendMillis = performance.now() - began
        this.#wake?.()
      })
      lead = undefined
      if (batch.last) break
    }
    const answered = (): boolean => this.#response !== undefined
    this.#within(times.progressMillis, stopped(times.progressMillis))
    await this.#until(() => sendMillis >= 0 || answered())
    this.#within(times.answerMillis, { code: 'ANSWER_MISSING', fields: { seconds: times.answerMillis / 1000 } })
    await this.#until(answered)
    const { status, comment } = this.#conclude()
    // The answer may be here before the socket says that it took the last byte.
    return { status, comment, sendMillis: sendMillis < 0 ? performance.now() - began : sendMillis }
  }

  /** C-ECHO on an accepted context for Verification. @throws Fault as `store` */
  async echo(answerMillis: number): Promise<Omit<StoreResult, 'sendMillis'>> {
    const context = this.#contexts.find((one) => one.abstractSyntax === VERIFICATION && one.transferSyntax !== undefined)
    if (context === undefined) throw new Fault('CONTEXT_REFUSED', { what: 'C-ECHO (Verification)' })
    this.#begin()
    try {
      this.#alive()
      const messageId = this.#nextId()
      this.#asked = { messageId, field: COMMAND.echoRq }
      this.#within(answerMillis, { code: 'ANSWER_MISSING', fields: { seconds: answerMillis / 1000 } })
      this.#connection.send(frameMessage(context.id, true, encodeEchoRequest(messageId, VERIFICATION), this.#fragment))
      await this.#until(() => this.#response !== undefined)
      const { status, comment } = this.#conclude()
      return { status, comment }
    } finally {
      this.#settle()
    }
  }

  /**
   * Ends it in good order, within twice `artimMillis` whatever the peer does.
   *
   * @returns how it ended: `released`, or what came in between. Never rejects.
   */
  release(): Promise<End> {
    if (this.#busy) throw new Error('released in the middle of an operation')
    if (this.open) {
      this.#within(this.#bounds.artimMillis, { code: 'ASSOCIATION_LOST', fields: { detail: 'the release was not answered' } })
      this.#connection.release()
    }
    return this.closed
  }

  /** At once; an operation at hand fails with ASSOCIATION_LOST and this detail. */
  abort(detail: string): void {
    this.#connection.abort({ how: 'aborted', by: 'us', detail })
  }

  #answered(type: PduType, body: Buffer): void {
    if (type === PDU.associateRj) {
      this.#fault = new AssociationRejected(decodeRejection(body))
      return
    }
    const ac = decodeAssociateAccept(body, this.#bounds)
    if (ac.maximumLength > 0 && ac.maximumLength < MAXIMUM_LENGTH_FLOOR) {
      throw new Malformed(`a maximum length of ${ac.maximumLength} can carry nothing`)
    }
    this.#contexts = this.#proposed.map((proposed) => agreed(proposed, ac))
    this.#fragment = fragmentBytes(ac.maximumLength, this.#bounds.pduSendBytes)
    this.#accepted = ac
    this.#rest()
    this.#wake?.()
  }

  #command(contextId: number, command: Command): void {
    if ((command.field & RESPONSE_BIT) === 0) {
      this.#foreign = { contextId, command }
      if (!command.dataSet) this.#refuseForeign()
      return
    }
    const asked = this.#asked
    const fits =
      asked !== undefined &&
      this.#response === undefined &&
      command.respondsTo === asked.messageId &&
      command.field === (asked.field | RESPONSE_BIT) &&
      !command.dataSet
    if (!fits) throw new Malformed('a response to nothing we asked', ABORT_REASON.unexpectedParameter)
    this.#response = command
    this.#wake?.()
  }

  /** A peer that asks something of us on this association hears that it is the SCP (PS3.7 C.5). */
  #refuseForeign(): void {
    const foreign = this.#foreign
    this.#foreign = undefined
    if (foreign === undefined || foreign.command.field === COMMAND.cancelRq) return
    if (this.#connection.socket.writableNeedDrain) throw new Malformed('it asks for more and does not read our answers', ABORT_REASON.unexpectedParameter)
    const { field, messageId, sopClass, sopInstance } = foreign.command
    const response = encodeResponse({ field, messageId, status: STATUS.unrecognizedOperation, sopClass, sopInstance })
    this.#connection.send(frameMessage(foreign.contextId, true, response, this.#fragment))
  }

  /**
   * Only a deflated data set may honestly be of odd length. PS3.5 A.5 has it padded with a NUL,
   * which is no part of the compressed stream, and DCMTK aborts without it. To our own kind it
   * goes as it is, so that digests stay equal along the way. Any other odd data set is damaged,
   * and one more byte would only damage it further.
   */
  #pads(contextId: number): boolean {
    const context = this.#contexts.find(({ id }) => id === contextId)
    return context?.transferSyntax === DEFLATED && this.#accepted?.implementationClass !== IMPLEMENTATION_CLASS
  }

  /** An answer to a data set that was not sent to its end. */
  #early(response: Command, sendMillis: number): StoreResult {
    const stored = meaningOf(response.status).category === 'stored'
    this.abort('the far side answered before it had the whole image')
    if (stored) this.#alive()
    this.#asked = undefined
    return { status: response.status, comment: response.comment, sendMillis }
  }

  #conclude(): Command {
    const response = this.#response
    if (response === undefined) throw new Error('concluded without an answer')
    this.#asked = undefined
    return response
  }

  #begin(): void {
    if (this.#busy) throw new Error('a second operation on an association that has one')
    this.#busy = true
  }
  #settle(): void {
    this.#busy = false
    this.#asked = undefined
    this.#response = undefined
    this.#rest()
  }
  #nextId(): number {
    this.#messageId = (this.#messageId % 0xffff) + 1
    return this.#messageId
  }

  /** Waits until the socket has taken what it was given; counts the peer's time, not the disk's. */
  async #room(progressMillis: number): Promise<void> {
    const { socket } = this.#connection
    this.#alive()
    if (!socket.writableNeedDrain) return
    this.#within(progressMillis, stopped(progressMillis))
    await this.#until(() => !socket.writableNeedDrain || this.#response !== undefined)
    this.#rest()
  }

  #within(millis: number, timeout: Timeout): void {
    this.#timeout = timeout
    this.#connection.within(millis, causeOf(timeout.code, timeout.fields))
  }
  #rest(): void {
    this.#timeout = undefined
    this.#connection.ourTurn()
  }

  #alive(): void {
    if (this.#fault !== undefined) throw this.#fault
    if (!this.open && this.#accepted !== undefined) throw new Fault('ASSOCIATION_LOST', { detail: 'it is being released' })
  }
  /** Looks again whenever something happened; throws when the association ended meanwhile. */
  async #until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      if (this.#fault !== undefined) throw this.#fault
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    this.#wake = undefined
  }

  #ended(end: End): void {
    this.#fault ??= this.#faultOf(end)
    this.#wake?.()
  }
  #faultOf(end: End): Fault {
    if (end.how === 'timed-out' && this.#timeout !== undefined) return new Fault(this.#timeout.code, this.#timeout.fields)
    const opening = this.#accepted === undefined
    if (end.how === 'malformed') {
      const { stranger } = end
      if (stranger?.includes('TLS') === true) return new Fault('FAR_SPEAKS_TLS')
      if (stranger !== undefined) return new Fault('FAR_SPEAKS_OTHER', { what: stranger })
      if (opening) return new Fault('ASSOCIATION_BROKEN', { detail: end.detail })
      return new Fault('ASSOCIATION_LOST', { detail: `what it sent is not DICOM: ${end.detail}` })
    }
    if (!opening && end.how === 'aborted' && end.by === 'peer') return new Fault('ASSOCIATION_ABORTED', { detail: end.detail })
    return new Fault(opening ? 'ASSOCIATION_BROKEN' : 'ASSOCIATION_LOST', { detail: end.detail })
  }
}

/** A Fault in the making: a stack trace for each batch would cost as much as encrypting it. */
interface Timeout {
  readonly code: ErrorCode
  readonly fields: Record<string, string | number>
}

const stopped = (millis: number): Timeout => ({ code: 'PROGRESS_STOPPED', fields: { seconds: millis / 1000 } })
