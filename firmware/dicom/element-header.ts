/**
 * The header of one data element: tag, VR, length (PS3.5 7.1.2, 7.1.3), as written by the
 * standard and by those who did not quite follow it.
 */
import type { Encoding } from './sniff.ts'
import { looksLikeVr, vrOfCode } from './vr.ts'

/** Tag and a 16-bit VR and length, or tag and an implicit length. */
export const SHORT_HEADER_BYTES = 8
/** With two reserved bytes and a 32-bit length. */
export const LONG_HEADER_BYTES = 12

/** Gathers the header from chunks cut anywhere; one instance serves all elements in turn. */
export class ElementHeader {
  readonly bytes = new Uint8Array(LONG_HEADER_BYTES)
  /** Bytes gathered; back to 0 after `read`. */
  has = 0

  tag = 0
  /** Code of the two letters as they stand; 0 where there are none (implicit, items). */
  vr = 0
  length = 0

  /** Takes what is missing to `size`; says how many bytes it took. */
  gather(bytes: Uint8Array, at: number, size: number): number {
    const from = at
    while (this.has < size && at < bytes.length) this.bytes[this.has++] = bytes[at++]!
    return at - from
  }

  /** The two bytes after the tag, read as a VR whatever they are. Needs 8 bytes. */
  get vrCode(): number {
    return (this.bytes[4]! << 8) | this.bytes[5]!
  }

  group(encoding: Encoding): number {
    return this.#u16(0, encoding.bigEndian)
  }

  /** Size of the whole header, told from its first 8 bytes (PS3.5 Tables 7.1-1 to 7.1-3). */
  size(encoding: Encoding): number {
    if (!encoding.explicit || this.group(encoding) === 0xfffe) return SHORT_HEADER_BYTES
    const vr = vrOfCode(this.vrCode)
    // A VR of a later edition has a 32-bit length (PS3.5 7.1.2).
    const long = vr === undefined ? looksLikeVr(this.vrCode) : vr.long
    return long ? LONG_HEADER_BYTES : SHORT_HEADER_BYTES
  }

  /** Sets tag, vr and length from the gathered bytes, and makes room for the next header. */
  read(encoding: Encoding): void {
    const big = encoding.bigEndian
    const group = this.#u16(0, big)
    this.tag = group * 0x10000 + this.#u16(2, big)
    this.vr = 0
    if (!encoding.explicit || group === 0xfffe) {
      this.length = this.#u32(4, big)
    } else if (this.has === LONG_HEADER_BYTES) {
      this.vr = this.vrCode
      this.length = this.#u32(8, big)
    } else if (vrOfCode(this.vrCode) !== undefined || this.#isStandIn()) {
      this.vr = this.vrCode
      this.length = this.#u16(6, big)
    } else {
      // No VR at all but the low half of an implicit length: some leave it out of an element.
      this.length = this.#u32(4, big)
    }
    this.has = 0
  }

  /** What old writers put where they knew no VR: `??`, `--`, two spaces or two zeros. */
  #isStandIn(): boolean {
    const first = this.bytes[4]
    return first === this.bytes[5] && (first === 0x3f || first === 0x2d || first === 0x20 || first === 0)
  }

  #u16(at: number, big: boolean): number {
    return big ? (this.bytes[at]! << 8) | this.bytes[at + 1]! : this.bytes[at]! | (this.bytes[at + 1]! << 8)
  }

  #u32(at: number, big: boolean): number {
    return big
      ? this.#u16(at, big) * 0x10000 + this.#u16(at + 2, big)
      : this.#u16(at, big) + this.#u16(at + 2, big) * 0x10000
  }
}
