/**
 * What a peer sent that the standard does not allow, with the reason an A-ABORT gives for it,
 * and the bounded cursor every decoder here reads with.
 */
import { Fault } from '../domain/errors.ts'

/** Reason of an A-ABORT whose source is the service provider (PS3.8 9.3.8, Table 9-26). */
export const ABORT_REASON = {
  notSpecified: 0,
  unrecognizedPdu: 1,
  unexpectedPdu: 2,
  unrecognizedParameter: 4,
  unexpectedParameter: 5,
  invalidParameter: 6,
} as const
export type AbortReason = (typeof ABORT_REASON)[keyof typeof ABORT_REASON]

/**
 * Bytes that are not what PS3.8 or PS3.7 allow. `detail` is a clause without patient data that
 * completes "What arrived is not DICOM: …"; `reason` goes into the A-ABORT.
 */
export class Malformed extends Fault {
  readonly reason: AbortReason
  readonly detail: string
  constructor(detail: string, reason: AbortReason = ABORT_REASON.invalidParameter) {
    super('NOT_DICOM', { detail })
    this.name = 'Malformed'
    this.detail = detail
    this.reason = reason
  }
}

/** Reads forward through a slice; leaving it is `Malformed`, never a RangeError. */
export class Cursor {
  readonly #bytes: Buffer
  readonly #what: string
  #at = 0
  constructor(bytes: Buffer, what: string) {
    this.#bytes = bytes
    this.#what = what
  }
  get left(): number {
    return this.#bytes.length - this.#at
  }
  #step(count: number): number {
    if (count > this.left) throw new Malformed(`${this.#what} is cut short or claims more than it has`)
    const at = this.#at
    this.#at += count
    return at
  }
  u8(): number {
    return this.#bytes.readUInt8(this.#step(1))
  }
  u16(): number {
    return this.#bytes.readUInt16BE(this.#step(2))
  }
  u32(): number {
    return this.#bytes.readUInt32BE(this.#step(4))
  }
  skip(count: number): void {
    this.#step(count)
  }
  /** A view, not a copy. */
  take(count: number): Buffer {
    const at = this.#step(count)
    return this.#bytes.subarray(at, at + count)
  }
  text(count: number): string {
    const at = this.#step(count)
    return this.#bytes.toString('latin1', at, at + count)
  }
  /** A part with its own name and its own end. */
  part(count: number, what: string): Cursor {
    return new Cursor(this.take(count), what)
  }
}
