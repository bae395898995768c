/**
 * Changes the byte order of a value that arrives in pieces (PS3.5 7.3).
 */
import type { Sink } from './sink.ts'
import type { Vr } from './vr.ts'

/** INVARIANT: between two values no byte is kept, since a value is whole units (the caller checks). */
export class Swapper {
  #unit: Vr['unit'] = 1
  /** The beginning of a unit that a piece's end has cut. */
  readonly #cut = Buffer.alloc(8)
  #cutHas = 0

  /** @param unit bytes swapped together; 1 copies. */
  begin(unit: Vr['unit']): void {
    this.#unit = unit
  }

  /** Whole units are copied and swapped in place, by machine code; a cut one waits. */
  write(bytes: Uint8Array, sink: Sink): void {
    const unit = this.#unit
    if (unit === 1) return sink.write(bytes)
    let at = 0
    if (this.#cutHas > 0) {
      while (this.#cutHas < unit && at < bytes.length) this.#cut[this.#cutHas++] = bytes[at++]!
      if (this.#cutHas < unit) return
      sink.write(this.#cut.subarray(0, unit).reverse())
    }
    this.#cutHas = (bytes.length - at) % unit
    const whole = bytes.subarray(at, bytes.length - this.#cutHas)
    this.#cut.set(bytes.subarray(bytes.length - this.#cutHas))
    if (whole.length === 0) return
    const room = sink.room(whole.length)
    room.set(whole)
    if (unit === 2) room.swap16()
    else if (unit === 4) room.swap32()
    else room.swap64()
  }
}
