/**
 * Cuts a byte stream into PDUs (PS3.8 9.3.1), incrementally, with bounded memory.
 *
 * A P-DATA-TF is passed on as it arrives, each piece a view into the chunk it came in, never
 * gathered: a data set costs no memory here whatever its size and however the peer cut it. All
 * other PDUs are gathered up to their bound, in a buffer that grows with what really arrived.
 *
 * INVARIANTS: nothing is passed on after `hold` until `resume`; nothing after a `Malformed` was
 * thrown; at most one chunk is kept besides those fed while held.
 */
import type { Limits } from '../domain/limits.ts'
import { ABORT_REASON, Malformed } from './malformed.ts'
import { PDV_HEADER } from './fragment.ts'
import { PDU, PDU_HEADER, type PduType } from './pdu.ts'
import { strangerOf } from './stranger.ts'

export interface PduHandler {
  /** The header of a PDU is in: its last chance to be refused (throw `Malformed`) before its body. */
  begin(type: PduType): void
  /** A whole PDU other than P-DATA-TF. `body` is valid until this returns. */
  pdu(type: PduType, body: Buffer): void
  /**
   * A piece of a PDV: `bytes` may be empty and are valid until this returns; `whole` says that
   * the PDV ends with this piece.
   */
  fragment(contextId: number, flags: number, bytes: Buffer, whole: boolean): void
}

export type ReaderBounds = Pick<Limits, 'pduBytes' | 'associatePduBytes'>

const EMPTY: Buffer = Buffer.alloc(0)
/** First allocation for a gathered PDU: enough for most, small enough to be claimed by liars. */
const GATHER_BYTES = 2048

export class PduReader {
  readonly #handler: PduHandler
  readonly #bounds: ReaderBounds
  #expects: 'pdu-header' | 'body' | 'pdv-header' | 'fragment' = 'pdu-header'
  #first = true
  #held = false
  #queue: Buffer[] = []
  #chunk: Buffer = EMPTY
  #at = 0
  /** A header cut by a chunk's end; PDU and PDV headers are both 6 bytes. */
  readonly #header = Buffer.alloc(PDU_HEADER)
  #filled = 0
  #type: PduType = PDU.abort
  /** Bytes left of the PDU's variable field, of the PDV. */
  #pduLeft = 0
  #pdvLeft = 0
  #body: Buffer = EMPTY
  #bodyFilled = 0
  #contextId = 0
  #flags = 0
  /** Bytes fed so far. */
  bytes = 0

  constructor(handler: PduHandler, bounds: ReaderBounds) {
    this.#handler = handler
    this.#bounds = bounds
  }

  /** Inside a PDU, or with a part of a header. */
  get midway(): boolean {
    return this.#expects !== 'pdu-header' || this.#filled > 0
  }
  /** Fed but not yet passed on. */
  get waiting(): boolean {
    return this.#at < this.#chunk.length || this.#queue.length > 0
  }
  get held(): boolean {
    return this.#held
  }

  /** @throws Malformed, and whatever the handler throws; not to be used afterwards. */
  feed(chunk: Buffer): void {
    this.bytes += chunk.length
    if (this.#held || this.waiting) {
      this.#queue.push(chunk)
      return
    }
    this.#chunk = chunk
    this.#at = 0
    this.#run()
  }
  /** Called by the handler: stop after the piece just passed on. */
  hold(): void {
    this.#held = true
  }
  /** @throws as `feed` */
  resume(): void {
    this.#held = false
    this.#run()
  }
  /** The first 0–6 bytes of the stream, until they have proven to be the header of a PDU. */
  get first(): Buffer {
    return this.#first ? this.#header.subarray(0, this.#filled || Math.min(this.bytes, PDU_HEADER)) : EMPTY
  }

  #run(): void {
    while (!this.#held) {
      if (this.#at === this.#chunk.length) {
        const next = this.#queue.shift()
        if (next === undefined) {
          this.#chunk = EMPTY
          this.#at = 0
          return
        }
        this.#chunk = next
        this.#at = 0
        continue
      }
      switch (this.#expects) {
        case 'pdu-header':
          this.#pduHeader()
          break
        case 'pdv-header':
          this.#pdvHeader()
          break
        case 'fragment':
          this.#fragment()
          break
        case 'body':
          this.#gather()
          break
      }
    }
  }

  /** True when `#header` holds 6 bytes. */
  #fill(): boolean {
    const count = Math.min(PDU_HEADER - this.#filled, this.#chunk.length - this.#at)
    this.#chunk.copy(this.#header, this.#filled, this.#at, this.#at + count)
    this.#at += count
    this.#filled += count
    if (this.#filled < PDU_HEADER) return false
    this.#filled = 0
    return true
  }

  #pduHeader(): void {
    if (!this.#fill()) return
    const type = this.#header.readUInt8(0)
    const length = this.#header.readUInt32BE(2)
    const known = type >= PDU.associateRq && type <= PDU.abort
    if (this.#first && (!known || this.#header[1] !== 0)) {
      const stranger = strangerOf(this.#header)
      if (stranger !== undefined) throw new Malformed(stranger, ABORT_REASON.unrecognizedPdu)
    }
    if (!known) throw new Malformed(`PDU type ${hex(type)} does not exist`, ABORT_REASON.unrecognizedPdu)
    this.#type = type as PduType
    this.#measure(length)
    this.#first = false
    this.#handler.begin(this.#type)
    this.#pduLeft = length
    if (type === PDU.data) {
      this.#expects = 'pdv-header'
      return
    }
    this.#body = EMPTY
    this.#bodyFilled = 0
    this.#expects = 'body'
  }

  /** PS3.8 9.3.2–9.3.8: what the length field may say. */
  #measure(length: number): void {
    const type = this.#type
    if (type === PDU.data) {
      // D.1: Maximum Length counts the variable field, i.e. what this length field says.
      if (length > this.#bounds.pduBytes) throw new Malformed(`a P-DATA-TF of ${length} bytes is longer than agreed`)
      if (length < PDV_HEADER) throw new Malformed(`a P-DATA-TF of ${length} bytes holds nothing`)
    } else if (type === PDU.associateRq || type === PDU.associateAc) {
      if (length > this.#bounds.associatePduBytes - PDU_HEADER) {
        const stranger = this.#first ? strangerOf(this.#header) : undefined
        throw new Malformed(stranger ?? `an association PDU of ${length} bytes is too long`)
      }
      if (length < 68) throw new Malformed(`an association PDU of ${length} bytes is too short`)
    } else if (length !== 4) {
      const stranger = this.#first ? strangerOf(this.#header) : undefined
      throw new Malformed(stranger ?? `a PDU of type ${hex(type)} has 4 bytes, not ${length}`)
    }
  }

  #pdvHeader(): void {
    // Checked before the header is gathered: a remainder of 1–5 bytes is no PDV.
    if (this.#pduLeft < PDV_HEADER) throw new Malformed('a P-DATA-TF ends inside a PDV header')
    if (!this.#fill()) return
    const length = this.#header.readUInt32BE(0)
    this.#pduLeft -= PDV_HEADER
    if (length < 2) throw new Malformed(`a PDV of ${length} bytes has no header`)
    if (length - 2 > this.#pduLeft) throw new Malformed('a PDV is longer than the P-DATA-TF around it')
    this.#contextId = this.#header.readUInt8(4)
    this.#flags = this.#header.readUInt8(5)
    this.#pdvLeft = length - 2
    if (this.#pdvLeft > 0) {
      this.#expects = 'fragment'
      return
    }
    this.#expects = this.#pduLeft > 0 ? 'pdv-header' : 'pdu-header'
    this.#handler.fragment(this.#contextId, this.#flags, EMPTY, true)
  }

  #fragment(): void {
    const count = Math.min(this.#pdvLeft, this.#chunk.length - this.#at)
    const bytes = this.#chunk.subarray(this.#at, this.#at + count)
    this.#at += count
    this.#pdvLeft -= count
    this.#pduLeft -= count
    const whole = this.#pdvLeft === 0
    if (whole) this.#expects = this.#pduLeft > 0 ? 'pdv-header' : 'pdu-header'
    this.#handler.fragment(this.#contextId, this.#flags, bytes, whole)
  }

  #gather(): void {
    const count = Math.min(this.#pduLeft, this.#chunk.length - this.#at)
    const piece = this.#chunk.subarray(this.#at, this.#at + count)
    this.#at += count
    this.#pduLeft -= count
    let body = piece
    if (this.#bodyFilled > 0 || this.#pduLeft > 0) {
      const whole = this.#bodyFilled + count + this.#pduLeft
      if (this.#bodyFilled + count > this.#body.length) {
        const grown = Buffer.allocUnsafe(Math.min(whole, Math.max(GATHER_BYTES, 2 * (this.#bodyFilled + count))))
        this.#body.copy(grown, 0, 0, this.#bodyFilled)
        this.#body = grown
      }
      piece.copy(this.#body, this.#bodyFilled)
      this.#bodyFilled += count
      if (this.#pduLeft > 0) return
      body = this.#body.subarray(0, this.#bodyFilled)
    }
    this.#body = EMPTY
    this.#bodyFilled = 0
    this.#expects = 'pdu-header'
    this.#handler.pdu(this.#type, body)
  }
}

const hex = (type: number): string => `${type.toString(16).padStart(2, '0')}H`
