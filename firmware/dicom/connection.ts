/**
 * One upper-layer connection over one open transport: socket, PDU reader, state machine and
 * ARTIM together; both sides of an association stand on it.
 *
 * INVARIANTS: `ended` is called exactly once, before `closed`, which is called exactly once when
 * the socket is gone; after `ended` nothing is passed on any more; an abort or rejection is sent
 * at most once; whatever the peer does or leaves undone after that, the socket is destroyed when
 * ARTIM expires; no socket error goes unheard.
 */
import type { Duplex } from 'node:stream'
import type { Limits } from '../domain/limits.ts'
import { ABORT_REASON, Malformed, type AbortReason } from './malformed.ts'
import { PDU, decodeAbort, encodeAbort, encodeReleaseReply, encodeReleaseRequest, type PduType } from './pdu.ts'
import { PduReader, type PduHandler } from './reader.ts'
import { abortWords, socketWords } from './reason.ts'
import { strangerOf } from './stranger.ts'
import { upperLayerStep, type UpperLayerEvent, type UpperLayerState } from './upper-layer.ts'
import { Watch } from './watch.ts'

export type EndHow = 'released' | 'rejected' | 'aborted' | 'lost' | 'timed-out' | 'malformed'

/** How an association ended. `detail` is a clause without patient data. */
export interface End {
  readonly how: EndHow
  /** Who ended it; the one who sent nonsense or fell silent counts as `peer`. */
  readonly by: 'us' | 'peer'
  readonly detail: string
  /** With `malformed`: what the peer is instead, where its first bytes tell (`strangerOf`). */
  readonly stranger?: string
}

/** What acceptor and requestor do with what comes up. Any of them may throw `Malformed`. */
export interface ConnectionUser {
  /** A-ASSOCIATE-RQ to an acceptor, -AC or -RJ to a requestor; variable field. */
  associate(type: PduType, body: Buffer): void
  /** As `PduHandler.fragment`. */
  fragment(contextId: number, flags: number, bytes: Buffer, whole: boolean): void
  /** Everything at hand was passed on; the place to set the next bound on time. */
  paused(): void
  ended(end: End): void
  closed(end: End): void
}

export type ConnectionBounds = Pick<Limits, 'pduBytes' | 'associatePduBytes' | 'artimMillis' | 'discardBytes'>

const EVENT = {
  [PDU.associateRq]: 'associate-rq',
  [PDU.associateAc]: 'associate-ac',
  [PDU.associateRj]: 'associate-rj',
  [PDU.data]: 'data',
  [PDU.releaseRq]: 'release-rq',
  [PDU.releaseRp]: 'release-rp',
  [PDU.abort]: 'abort',
} as const satisfies Record<PduType, UpperLayerEvent>

export class Connection implements PduHandler {
  readonly socket: Duplex
  readonly reader: PduReader
  /** Address of the peer without port, as the socket knew it; empty for other streams. */
  readonly peer: string
  readonly #user: ConnectionUser
  readonly #bounds: ConnectionBounds
  readonly #watch: Watch
  #state: UpperLayerState
  #waitsFor = ''
  #end: End | undefined
  #fault: Error | undefined
  #gone = false
  #discarded = 0

  constructor(socket: Duplex, state: 'awaiting-request' | 'awaiting-answer', user: ConnectionUser, bounds: ConnectionBounds) {
    this.socket = socket
    this.#state = state
    this.#user = user
    this.#bounds = bounds
    this.reader = new PduReader(this, bounds)
    this.#watch = new Watch(() => this.#expired())
    const net = socket as { remoteAddress?: string; setNoDelay?: (on: boolean) => void }
    this.peer = net.remoteAddress ?? ''
    net.setNoDelay?.(true)
    socket.on('data', (chunk: Buffer) => this.#data(chunk))
    socket.on('end', () => this.#disconnected())
    socket.on('error', (error: Error) => {
      this.#fault ??= error
    })
    socket.on('close', () => this.#closed())
    // It may have died between being accepted and being handed in; its `close` may be past.
    if (socket.destroyed) process.nextTick(() => this.#closed())
    else if (socket.isPaused()) socket.resume()
  }

  get state(): UpperLayerState {
    return this.#state
  }
  get end(): End | undefined {
    return this.#end
  }

  /** A bound on time, in words for `End.detail`; replaces the one before. `check` as `Watch.set`. */
  within(millis: number, waitsFor: string, check?: () => number): void {
    if (this.#end !== undefined) return
    this.#waitsFor = waitsFor
    this.#watch.set(millis, check)
  }
  /** No bound on the peer: it is our turn. */
  ourTurn(): void {
    if (this.#end === undefined) this.#watch.rest()
  }

  /** False: the socket is full, `drain` will come. */
  send(bytes: Buffer): boolean {
    return this.socket.writable ? this.socket.write(bytes) : false
  }
  /** AE-7. */
  accept(answer: Buffer): void {
    this.#state = upperLayerStep(this.#state, 'accept').next
    this.send(answer)
  }
  /** AE-8: the peer is to close the transport; ARTIM sees to it. */
  reject(answer: Buffer, detail: string): void {
    this.#state = upperLayerStep(this.#state, 'reject').next
    this.send(answer)
    this.#finish({ how: 'rejected', by: 'us', detail })
  }
  /** AR-1. */
  release(): void {
    this.#state = upperLayerStep(this.#state, 'release').next
    this.send(encodeReleaseRequest())
  }
  /** AA-1, AA-8. Nothing happens when it is already over. */
  abort(end: End, source: 0 | 2 = 0, reason: AbortReason = ABORT_REASON.notSpecified): void {
    if (this.#end !== undefined) return
    this.#state = upperLayerStep(this.#state, source === 0 ? 'give-up' : 'malformed').next
    this.send(encodeAbort(source, reason))
    // The FIN lets go strangers, who would not close on reading an A-ABORT.
    this.socket.end()
    this.#finish(end)
  }

  /** Passes on what was kept while held, then reads on. */
  resume(): void {
    if (this.#end !== undefined) return
    this.#attempt(undefined)
    if (!this.reader.held && this.socket.isPaused()) this.socket.resume()
  }

  #data(chunk: Buffer): void {
    if (this.#end !== undefined) return this.#discard(chunk)
    if (this.reader.held) {
      this.reader.feed(chunk)
      this.socket.pause()
      return
    }
    this.#attempt(chunk)
  }

  /** AA-6: what still comes in is thrown away, but nobody may keep us busy with it. */
  #discard(chunk: Buffer): void {
    this.#discarded += chunk.length
    if (this.#discarded > this.#bounds.discardBytes) this.socket.destroy()
  }

  #attempt(chunk: Buffer | undefined): void {
    try {
      if (chunk === undefined) this.reader.resume()
      else this.reader.feed(chunk)
      if (this.#end === undefined) this.#user.paused()
    } catch (error) {
      if (!(error instanceof Malformed)) throw error
      const { detail, reason } = error
      this.abort({ how: 'malformed', by: 'peer', detail, ...strangerIn(this.reader.first) }, 2, reason)
    }
  }

  begin(type: PduType): void {
    // Refused before its body is gathered (AA-1, AA-8).
    if (upperLayerStep(this.#state, EVENT[type]).does === 'refuse') {
      throw new Malformed(`an ${NAMES[type]} at this point`, ABORT_REASON.unexpectedPdu)
    }
  }

  fragment(contextId: number, flags: number, bytes: Buffer, whole: boolean): void {
    this.#user.fragment(contextId, flags, bytes, whole)
  }

  pdu(type: PduType, body: Buffer): void {
    const step = upperLayerStep(this.#state, EVENT[type])
    this.#state = step.next
    switch (step.does) {
      case 'indicate':
        return this.#user.associate(type, body)
      case 'rejected':
        this.#user.associate(type, body)
        return this.#leave({ how: 'rejected', by: 'peer', detail: 'rejected' })
      case 'reply-release':
        this.send(encodeReleaseReply())
        if (step.next === 'closing') this.#finish({ how: 'released', by: 'peer', detail: 'released' })
        return
      case 'released':
        return this.#leave({ how: 'released', by: 'us', detail: 'released' })
      case 'aborted':
        this.#finish({ how: 'aborted', by: 'peer', detail: abortWords(decodeAbort(body)) })
        this.socket.destroy()
        return
      default:
        throw new Error(`upper layer: ${step.does} cannot follow ${EVENT[type]}`)
    }
  }

  /** AE-4, AR-3: we close the transport. */
  #leave(end: End): void {
    this.#finish(end)
    this.socket.end()
  }

  #disconnected(): void {
    if (this.#end === undefined) {
      this.#state = upperLayerStep(this.#state, 'disconnected').next
      const { stranger } = strangerIn(this.reader.first)
      if (stranger !== undefined) this.#finish({ how: 'malformed', by: 'peer', detail: stranger, stranger })
      else {
        const detail = this.#fault ? socketWords(this.#fault) : 'the peer closed the connection'
        this.#finish({ how: 'lost', by: 'peer', detail })
      }
    }
    this.socket.destroy()
  }

  #closed(): void {
    if (this.#gone) return
    this.#gone = true
    this.#disconnected()
    this.#watch.stop()
    const end = this.#end
    if (end === undefined) throw new Error('a connection closed without having ended')
    this.#user.closed(end)
  }

  #expired(): void {
    if (this.#end !== undefined) {
      this.socket.destroy()
      return
    }
    const end: End = { how: 'timed-out', by: 'peer', detail: this.#waitsFor }
    if (upperLayerStep(this.#state, 'expired').does === 'close') {
      // AA-2: who never asked for an association gets no PDU either.
      this.#finish(end)
      this.socket.destroy()
    } else this.abort(end)
  }

  /** From here on ARTIM bounds the peer's closing. */
  #finish(end: End): void {
    if (this.#end !== undefined) throw new Error('a connection ended twice')
    this.#end = end
    this.#watch.set(this.#bounds.artimMillis)
    // What is kept is dropped and what comes is thrown away, so that the peer's FIN is seen.
    this.reader.hold()
    if (this.socket.isPaused()) this.socket.resume()
    this.#user.ended(end)
  }
}

const strangerIn = (first: Buffer): { stranger?: string } => {
  const stranger = strangerOf(first)
  return stranger === undefined ? {} : { stranger }
}

const NAMES: Record<PduType, string> = {
  [PDU.associateRq]: 'A-ASSOCIATE-RQ',
  [PDU.associateAc]: 'A-ASSOCIATE-AC',
  [PDU.associateRj]: 'A-ASSOCIATE-RJ',
  [PDU.data]: 'P-DATA-TF',
  [PDU.releaseRq]: 'A-RELEASE-RQ',
  [PDU.releaseRp]: 'A-RELEASE-RP',
  [PDU.abort]: 'A-ABORT',
}
