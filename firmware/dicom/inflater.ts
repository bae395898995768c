/**
 * The beginning of a raw deflate stream (PS3.5 A.5), inflated synchronously and bounded.
 *
 * Node inflates streams only asynchronously, which a scanner between two socket reads cannot
 * wait for. So the compressed prefix is kept and inflated anew each time it has doubled: at
 * most twice the work of once, and almost always the first kilobyte is enough. Doubling also
 * bounds what a bomb can do, since deflate expands at most 1,032-fold.
 */
import { constants, inflateRawSync, inflateSync } from 'node:zlib'

export interface Inflated {
  /** What is new since the last time. */
  readonly bytes: Uint8Array
  readonly fault?: string
}

const FIRST_TRY_BYTES = 1024
const NOTHING = new Uint8Array(0)

export class Inflater {
  readonly #limit: number
  #kept: Uint8Array
  #has = 0
  #given = 0
  #fault: string | undefined

  /** @param limit most bytes of input kept, and about the most of output; then it is a fault. */
  constructor(limit: number) {
    this.#limit = limit
    this.#kept = new Uint8Array(Math.min(FIRST_TRY_BYTES, limit))
  }

  push(bytes: Uint8Array): Inflated {
    let fresh: Uint8Array = NOTHING
    let at = 0
    while (at < bytes.length && this.#fault === undefined) {
      const some = bytes.subarray(at, at + this.#kept.length - this.#has)
      this.#kept.set(some, this.#has)
      this.#has += some.length
      at += some.length
      if (this.#has < this.#kept.length) break
      fresh = join(fresh, this.#inflate())
      if (this.#kept.length >= this.#limit) {
        this.#fault ??= `no end of the header in ${this.#limit} deflated bytes`
        break
      }
      const wider = new Uint8Array(Math.min(this.#kept.length * 2, this.#limit))
      wider.set(this.#kept)
      this.#kept = wider
    }
    return this.#result(fresh)
  }

  end(): Inflated {
    const fresh = this.#fault === undefined && this.#has > 0 ? this.#inflate() : NOTHING
    return this.#result(fresh)
  }

  #result(bytes: Uint8Array): Inflated {
    return this.#fault === undefined ? { bytes } : { bytes, fault: this.#fault }
  }

  #inflate(): Uint8Array {
    const input = this.#kept.subarray(0, this.#has)
    const inflate = isZlib(input) ? inflateSync : inflateRawSync
    try {
      // Sync flush: a prefix, or a stream cut short, yields what it holds instead of an error.
      const all = inflate(input, { finishFlush: constants.Z_SYNC_FLUSH, maxOutputLength: this.#limit * 2 })
      const fresh = all.subarray(this.#given)
      this.#given = all.length
      if (this.#given > this.#limit) this.#fault = `no end of the header in ${this.#limit} inflated bytes`
      return fresh
    } catch (error) {
      this.#fault =
        (error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE'
          ? `no end of the header in ${this.#limit} inflated bytes`
          : `it is not a deflate stream (${(error as Error).message})`
      return NOTHING
    }
  }
}

const join = (first: Uint8Array, second: Uint8Array): Uint8Array =>
  first.length === 0 ? second : second.length === 0 ? first : Buffer.concat([first, second])

/** Some writers put the zlib header in front (RFC 1950), against PS3.5 A.5. */
const isZlib = (input: Uint8Array): boolean =>
  input.length >= 2 && input[0] === 0x78 && (input[0] * 256 + input[1]!) % 31 === 0
