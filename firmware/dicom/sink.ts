/**
 * Output that grows as it is written and is handed on whole.
 */
export class Sink {
  #bytes: Buffer
  #at = 0

  /** @param expected bytes; a first size, not a bound. */
  constructor(expected: number) {
    this.#bytes = Buffer.allocUnsafe(expected)
  }

  /** Room for `count` bytes, to be filled by the caller at once; valid until the next call. */
  room(count: number): Buffer {
    if (this.#at + count > this.#bytes.length) {
      const wider = Buffer.allocUnsafe(Math.max(this.#bytes.length * 2, this.#at + count))
      this.#bytes.copy(wider, 0, 0, this.#at)
      this.#bytes = wider
    }
    this.#at += count
    return this.#bytes.subarray(this.#at - count, this.#at)
  }

  write(bytes: Uint8Array): void {
    this.room(bytes.length).set(bytes)
  }

  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.#at)
  }
}
