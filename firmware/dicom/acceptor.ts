/**
 * The side that is called: one association as Storage and Verification SCP (PS3.8 7, PS3.7
 * 9.3.1 and 9.3.5, PS3.4 A and B), over an open socket.
 *
 * Messages are processed strictly in order, one at a time; a peer that sends the next before
 * our answer is made to wait by not reading its socket. Every answer is one write.
 *
 * INVARIANTS: for each sink that `store` returned, exactly one of `end` and `abort` is called,
 * once, and nothing after it; `closed` is called exactly once, last of all. Memory per
 * association: one command set, or one association PDU, and two chunks of the socket.
 */
import type { Duplex } from 'node:stream'
import { isUid } from '../domain/identifier.ts'
import { COMMAND, RESPONSE_BIT, encodeResponse, type Command } from './command.ts'
import { Connection, type End } from './connection.ts'
import type { AcceptorBounds, AcceptorHandlers, Decision, StoreAnswer, StoreSink } from './handlers.ts'
import { ABORT_REASON, Malformed } from './malformed.ts'
import { MessageReader } from './message.ts'
import { MAXIMUM_LENGTH_FLOOR, fragmentBytes, frameMessage } from './fragment.ts'
import {
  APPLICATION_CONTEXT,
  decodeAssociateRequest,
  encodeAssociateAccept,
  encodeRejection,
  type AssociateRequest,
  type ContextAnswer,
  type PduType,
  type Rejection,
} from './pdu.ts'
import { answerOther, objectionTo } from './objection.ts'
import { meaningOf } from './status.ts'
import { IMPLEMENTATION_CLASS, IMPLEMENTATION_VERSION } from './user-information.ts'

export type { AssociateRequest, ContextAnswer, ProposedContext } from './pdu.ts'
export type { Rejection as RejectReason } from './pdu.ts'
export type { AcceptorBounds, AcceptorEnd, AcceptorHandlers, Decision, StoreAnswer, StoreRequest, StoreSink } from './handlers.ts'

interface Message {
  readonly contextId: number
  readonly command: Command
  /** Undefined: nothing is answered (C-CANCEL). */
  answer: StoreAnswer | undefined
  sink: StoreSink | undefined
  /** The sink asked for a pause; `whole`: and the data set ended with that very piece. */
  draining: boolean
  whole: boolean
}

export class Acceptor {
  readonly #handlers: AcceptorHandlers
  readonly #bounds: AcceptorBounds
  readonly #connection: Connection
  readonly #messages: MessageReader
  readonly #contexts = new Map<number, { abstractSyntax: string; transferSyntax: string }>()
  #request: AssociateRequest | undefined
  #message: Message | undefined
  #fragment = 0
  #phase: 'message' | 'idle' | 'ours' = 'ours'
  #mark = 0
  #finishing: string | undefined
  #over: (() => void) | undefined
  #stores = 0
  #refusals = 0

  /** Takes over an open socket, of which nothing was read yet. */
  constructor(socket: Duplex, handlers: AcceptorHandlers, bounds: AcceptorBounds) {
    this.#handlers = handlers
    this.#bounds = bounds
    this.#messages = new MessageReader(
      {
        command: (contextId, command) => this.#command(contextId, command),
        data: (bytes) => this.#data(bytes),
        dataEnd: () => this.#complete(),
      },
      bounds,
    )
    this.#connection = new Connection(
      socket,
      'awaiting-request',
      {
        associate: (type, body) => this.#associate(type, body),
        fragment: (contextId, flags, bytes, whole) => this.#messages.fragment(contextId, flags, bytes, whole),
        paused: () => this.#pace(),
        ended: (end) => this.#ended(end),
        closed: (end) => handlers.closed({ ...end, stores: this.#stores, refusals: this.#refusals }),
      },
      bounds,
    )
    this.#connection.within(bounds.artimMillis, 'no association was asked for in time')
    socket.on('drain', () => this.#drained())
  }

  /** Address of the peer without port. */
  get peer(): string {
    return this.#connection.peer
  }
  /** Once the A-ASSOCIATE-RQ is in. */
  get request(): AssociateRequest | undefined {
    return this.#request
  }
  get established(): boolean {
    return this.#connection.state === 'established'
  }
  /** Bytes that came in, all together. */
  get bytesIn(): number {
    return this.#connection.reader.bytes
  }
  get stores(): number {
    return this.#stores
  }

  /** At once, with A-ABORT. */
  abort(detail: string): void {
    this.#connection.abort({ how: 'aborted', by: 'us', detail })
  }
  /**
   * After the message at hand, if there is one, is answered. Releasing is the requestor's right,
   * so between messages an A-ABORT is all an acceptor has (PS3.8 7.2, 7.3).
   *
   * @returns when it is over; the peer may still have to close the socket
   */
  finish(detail: string): Promise<void> {
    this.#finishing = detail
    if (this.#message === undefined && !this.#messages.midway) this.abort(detail)
    if (this.#connection.end !== undefined) return Promise.resolve()
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#over = resolve
    return promise
  }

  #associate(_type: PduType, body: Buffer): void {
    const rq = decodeAssociateRequest(body, this.#bounds)
    if (rq.maximumLength > 0 && rq.maximumLength < MAXIMUM_LENGTH_FLOOR) {
      throw new Malformed(`a maximum length of ${rq.maximumLength} can carry nothing`)
    }
    this.#request = rq
    this.#connection.ourTurn()
    // PS3.8 9.3.2: bit 0 is this version of the protocol.
    if ((rq.protocolVersion & 1) === 0) {
      return this.#reject({ result: 1, source: 2, reason: 2 }, 'the peer speaks another version of the protocol')
    }
    if (rq.applicationContext !== APPLICATION_CONTEXT) {
      return this.#reject({ result: 1, source: 1, reason: 2 }, 'the peer asks for another application context')
    }
    this.#handlers.request(rq).then(
      (decision) => this.#decided(rq, decision),
      (error: unknown) => this.#defect(error),
    )
  }

  #reject(rejection: Rejection, detail: string): void {
    this.#connection.reject(encodeRejection(rejection), detail)
  }

  #decided(rq: AssociateRequest, decision: Decision): void {
    if (this.#connection.state !== 'deciding') return
    if ('reject' in decision) return this.#reject(decision.reject, 'rejected by policy')
    const answers = rq.contexts.map((proposed): ContextAnswer => {
      const answer = decision.accept.find(({ id }) => id === proposed.id)
      const { id, abstractSyntax, transferSyntaxes } = proposed
      if (answer?.result !== 0) {
        // Not significant, but an item is due all the same (PS3.8 9.3.3.2).
        return { id, result: answer?.result ?? 2, transferSyntax: transferSyntaxes[0] ?? '' }
      }
      if (!transferSyntaxes.includes(answer.transferSyntax)) {
        throw new Error(`context ${id} was accepted with ${answer.transferSyntax}, which was not proposed`)
      }
      this.#contexts.set(id, { abstractSyntax, transferSyntax: answer.transferSyntax })
      return answer
    })
    this.#fragment = fragmentBytes(rq.maximumLength, this.#bounds.pduSendBytes)
    this.#connection.accept(
      encodeAssociateAccept(
        {
          applicationContext: APPLICATION_CONTEXT,
          contexts: answers,
          maximumLength: this.#bounds.pduBytes,
          implementationClass: IMPLEMENTATION_CLASS,
          implementationVersion: IMPLEMENTATION_VERSION,
          // Honest answers: one operation at a time, and we are the SCP only (PS3.7 D.3.3.3, D.3.3.4).
          ...(rq.asyncWindow && { asyncWindow: { invoked: 1, performed: 1 } }),
          roles: rq.roles.map(({ sopClass, scu }) => ({ sopClass, scu, scp: false })),
          extended: [],
          commonExtended: [],
        },
        rq.titles,
      ),
    )
    this.#next()
    this.#pace()
  }

  #command(contextId: number, command: Command): void {
    const context = this.#contexts.get(contextId)
    if (context === undefined) throw new Malformed(`presentation context ${contextId} was not accepted`)
    if ((command.field & RESPONSE_BIT) !== 0) {
      throw new Malformed('a response to nothing we asked', ABORT_REASON.unexpectedParameter)
    }
    const message: Message = { contextId, command, answer: undefined, sink: undefined, draining: false, whole: false }
    this.#message = message
    if (command.field !== COMMAND.storeRq) {
      if (command.field !== COMMAND.cancelRq) message.answer = answerOther(command, context.abstractSyntax)
    } else {
      message.answer = objectionTo(command, context.abstractSyntax)
      if (message.answer === undefined) this.#store(message, context.transferSyntax)
    }
    if (!command.dataSet) this.#complete()
  }

  #store(message: Message, transferSyntax: string): void {
    const { messageId, sopClass, sopInstance, priority } = message.command
    const { contextId } = message
    const taken = this.#handlers.store({ contextId, messageId, sopClass, sopInstance, transferSyntax, priority })
    if (!(taken instanceof Promise)) return this.#take(message, taken)
    this.#hold()
    taken.then(
      (sink) => {
        this.#take(message, sink)
        const { end } = this.#connection
        if (end === undefined) this.#connection.resume()
        else message.sink?.abort(end.detail)
      },
      (error: unknown) => this.#defect(error),
    )
  }

  #take(message: Message, taken: StoreSink | StoreAnswer): void {
    if ('status' in taken) message.answer = taken
    else message.sink = taken
  }

  #data(bytes: Buffer): void {
    const message = this.#message
    const sink = message?.sink
    if (message === undefined || sink === undefined || sink.write(bytes)) return
    this.#hold()
    message.draining = true
    sink.drained().then(
      () => {
        message.draining = false
        if (this.#connection.end !== undefined) return
        if (message.whole) this.#complete()
        else this.#connection.resume()
      },
      (error: unknown) => this.#defect(error),
    )
  }

  #complete(): void {
    const message = this.#message
    if (message === undefined) throw new Error('a message ended that never began')
    const { sink } = message
    if (sink === undefined) return this.#answer(message, message.answer)
    message.whole = true
    if (message.draining) return
    message.sink = undefined
    this.#hold()
    sink.end().then(
      (answer) => {
        this.#answer(message, answer)
        if (!this.#connection.socket.writableNeedDrain) this.#connection.resume()
      },
      (error: unknown) => this.#defect(error),
    )
  }

  #answer(message: Message, answer: StoreAnswer | undefined): void {
    if (this.#connection.end !== undefined) return
    if (answer !== undefined) {
      const { field, messageId, sopClass, sopInstance } = message.command
      if (field === COMMAND.storeRq) {
        if (meaningOf(answer.status).category === 'stored') this.#stores++
        else this.#refusals++
      }
      const response = encodeResponse({
        field,
        messageId,
        status: answer.status,
        ...(isUid(sopClass) && { sopClass }),
        ...(isUid(sopInstance) && { sopInstance }),
        ...(answer.comment !== undefined && { comment: answer.comment }),
      })
      this.#connection.send(frameMessage(message.contextId, true, response, this.#fragment))
    }
    this.#message = undefined
    this.#next()
  }

  /** Between two messages. */
  #next(): void {
    this.#phase = 'ours'
    if (this.#finishing !== undefined) return this.abort(this.#finishing)
    if (this.#connection.socket.writableNeedDrain) {
      // Who does not read our answers is not read either, and not for ever.
      this.#hold()
      this.#connection.within(this.#bounds.slowMillis, 'the peer does not read our answers')
    } else if (this.#connection.reader.waiting) this.#yield()
  }
  /** Who asks several things in one breath waits, after each answer, until all others had their turn. */
  #yield(): void {
    this.#hold()
    setImmediate(() => {
      if (!this.#connection.socket.writableNeedDrain) this.#drained()
    })
  }
  #drained(): void {
    if (this.#connection.end === undefined && this.#message === undefined) this.#connection.resume()
  }

  #hold(): void {
    this.#connection.reader.hold()
    this.#phase = 'ours'
    this.#connection.ourTurn()
  }

  /** After each chunk: what the peer owes us next, and by when. */
  #pace(): void {
    const { reader } = this.#connection
    if (this.#connection.state !== 'established' || reader.held) return
    if (!reader.midway && !this.#messages.midway) {
      this.#phase = 'idle'
      this.#connection.within(this.#bounds.idleMillis, 'nothing came on the association for too long')
    } else if (this.#phase !== 'message') {
      this.#phase = 'message'
      this.#mark = reader.bytes
      const { slowBytes, slowMillis } = this.#bounds
      this.#connection.within(slowMillis, 'the peer stopped in the middle of a message', () => {
        const came = reader.bytes - this.#mark
        this.#mark = reader.bytes
        return came >= slowBytes ? slowMillis : 0
      })
    }
  }

  #ended(end: End): void {
    const sink = this.#message?.sink
    this.#message = undefined
    sink?.abort(end.detail)
    this.#over?.()
  }

  /** Not an expected failure: the peer gets its A-ABORT, the process the error. */
  #defect(error: unknown): void {
    this.abort('a defect of ours')
    queueMicrotask(() => {
      throw error
    })
  }
}
