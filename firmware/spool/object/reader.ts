/**
 * Reads one object file for sending. Nothing is handed out that was not authenticated, and the
 * last bytes only after everything has proven sound: a damaged object never arrives complete.
 *
 * An object whose file is at most LIMITS.wholeBytes long is read by one call and verified before
 * its first byte is handed out. A larger one is read in pieces, the next one while this one is
 * being consumed, and holds two pieces in memory.
 */
import { createHash } from 'node:crypto'
import type { Hash } from 'node:crypto'
import { LIMITS } from '../../domain/limits.ts'
import { Fault } from '../../domain/errors.ts'
import type { Lease, ObjectFacts } from '../../domain/spool.ts'
import { parseEnds, readEnds } from './ends.ts'
import type { Ends, Unsound } from './ends.ts'
import { closed, faultOfReading, openToRead, readFully, sizeOf } from './file.ts'
import { SEALED_CHUNK_BYTES } from './format.ts'
import { KIND } from './seal.ts'

/** Two of them are LIMITS.readAheadBytes: the piece being consumed and the one being read. */
const PIECE_CHUNKS = Math.max(1, Math.floor(LIMITS.readAheadBytes / 2 / SEALED_CHUNK_BYTES))
const PIECE_BYTES = PIECE_CHUNKS * SEALED_CHUNK_BYTES

/** Ciphertext buffers between two objects; never handed out. */
const SPARE_BUFFERS = 8
const spare: Buffer[] = []
const borrow = (): Buffer => spare.pop() ?? Buffer.allocUnsafeSlow(LIMITS.wholeBytes)
const giveBack = (buffer: Buffer): void => {
  if (spare.length < SPARE_BUFFERS) spare.push(buffer)
}

const damaged = (detail: string): Fault => new Fault('OBJECT_DAMAGED', { detail })

const isUnsound = (ends: Ends | Unsound): ends is Unsound => 'reason' in ends

/**
 * How far an object is proven while it is read. Each chunk's tag proves its bytes and its place, and
 * the trailer their number: what is sent needs no more. The digest is a second proof, independent of
 * the cipher, for `spool verify`; it costs as much as opening the chunks.
 */
export type Proof = 'tags' | 'digest'

/** Opens the data chunks of a file in order, and at the end compares length and, if asked for, digest. */
class Unsealing {
  readonly #ends: Ends
  readonly #hash: Hash | undefined
  #counter = 1
  #bytes = 0

  constructor(ends: Ends, proof: Proof) {
    this.#ends = ends
    this.#hash = proof === 'digest' ? createHash('sha256') : undefined
  }

  /** @param sealed one sealed chunk */
  chunk(sealed: Buffer): Buffer {
    const plain = this.#ends.sealer.open(this.#counter, KIND.data, sealed)
    if (plain === undefined) throw damaged(`chunk ${this.#counter} does not open`)
    this.#counter += 1
    this.#hash?.update(plain)
    this.#bytes += plain.length
    return plain
  }

  end(): void {
    const { facts, layout } = this.#ends
    if (this.#counter !== layout.chunks + 1 || this.#bytes !== facts.bytes) throw damaged('length')
    if (this.#hash && this.#hash.digest('hex') !== facts.digest) throw damaged('digest')
  }
}

export class ObjectReader implements AsyncIterable<Buffer> {
  readonly facts: ObjectFacts
  /** The verified data set, where the object is small; the iterator gives the same buffers. */
  readonly whole: readonly Buffer[] | undefined
  readonly #ends: Ends
  readonly #proof: Proof
  #fd: number | undefined

  private constructor(ends: Ends, whole: readonly Buffer[] | undefined, fd: number | undefined, proof: Proof) {
    this.facts = ends.facts
    this.whole = whole
    this.#ends = ends
    this.#fd = fd
    this.#proof = proof
  }

  /**
   * @throws Fault OBJECT_MISSING, OBJECT_DAMAGED (the file is not what the lease says), or
   *   DISK_FAILED (it could not be tried)
   */
  static async open(lease: Pick<Lease, 'path' | 'key' | 'cipher' | 'facts'>, proof: Proof = 'digest'): Promise<ObjectReader> {
    let fd: number | undefined
    try {
      fd = await openToRead(lease.path)
      const size = await sizeOf(fd)
      const key = Buffer.from(lease.key, 'base64')
      const keyOf = (): Buffer => key
      if (size > LIMITS.wholeBytes) {
        const ends = sound(await readEnds(fd, size, keyOf), lease)
        const kept = fd
        fd = undefined
        return new ObjectReader(ends, undefined, kept, proof)
      }
      return await ObjectReader.#openWhole(fd, size, keyOf, lease, proof)
    } catch (error) {
      throw faultOfReading(error)
    } finally {
      if (fd !== undefined) void closed(fd)
    }
  }

  static async #openWhole(fd: number, size: number, keyOf: () => Buffer, lease: Pick<Lease, 'cipher' | 'facts'>, proof: Proof): Promise<ObjectReader> {
    const buffer = borrow()
    try {
      if (!(await readFully(fd, buffer, size, 0))) throw damaged('shrank while being read')
      const file = buffer.subarray(0, size)
      const ends = sound(parseEnds(file, file, size, keyOf), lease)
      const unsealing = new Unsealing(ends, proof)
      const whole: Buffer[] = []
      for (let at = ends.layout.dataAt; at < ends.layout.dataEnd; at += SEALED_CHUNK_BYTES)
        whole.push(unsealing.chunk(file.subarray(at, Math.min(at + SEALED_CHUNK_BYTES, ends.layout.dataEnd))))
      unsealing.end()
      return new ObjectReader(ends, whole, undefined, proof)
    } finally {
      giveBack(buffer)
    }
  }

  /** Plain bytes of the data set. */
  get bytes(): number {
    return this.facts.bytes
  }

  /**
   * Once per reader. Each buffer is the consumer's.
   * @throws Fault OBJECT_DAMAGED or DISK_FAILED, in any case before the last buffer
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer, void, undefined> {
    if (this.whole) {
      yield* this.whole
      return
    }
    const fd = this.#fd
    if (fd === undefined) throw new Error('object: read twice')
    this.#fd = undefined
    const { dataAt, dataEnd } = this.#ends.layout
    const unsealing = new Unsealing(this.#ends, this.#proof)
    const piece = (at: number): Promise<Piece> | undefined => (at < dataEnd ? readPiece(fd, at, Math.min(PIECE_BYTES, dataEnd - at)) : undefined)
    let next = piece(dataAt)
    try {
      for (let at = dataAt; next; ) {
        const { buffer, bytes, error } = await next
        next = undefined
        try {
          if (error) throw faultOfReading(error)
          at += bytes
          next = piece(at)
          for (let offset = 0; offset < bytes; offset += SEALED_CHUNK_BYTES) {
            const plain = unsealing.chunk(buffer.subarray(offset, Math.min(offset + SEALED_CHUNK_BYTES, bytes)))
            if (at === dataEnd && offset + SEALED_CHUNK_BYTES >= bytes) unsealing.end()
            yield plain
          }
        } finally {
          giveBack(buffer)
        }
      }
    } finally {
      // A read still under way writes into its buffer: neither buffer nor descriptor may go before.
      if (next) giveBack((await next).buffer)
      await closed(fd)
    }
  }

  /** For a reader that is not iterated to its end. */
  async close(): Promise<void> {
    const fd = this.#fd
    this.#fd = undefined
    if (fd !== undefined) await closed(fd)
  }
}

interface Piece {
  readonly buffer: Buffer
  readonly bytes: number
  readonly error?: unknown
}

/** Never rejects: a piece that is read ahead may never be waited for. */
async function readPiece(fd: number, at: number, bytes: number): Promise<Piece> {
  const buffer = borrow()
  try {
    return (await readFully(fd, buffer, bytes, at)) ? { buffer, bytes } : { buffer, bytes, error: damaged('shrank while being read') }
  } catch (error) {
    return { buffer, bytes, error }
  }
}

const FACTS = ['id', 'tenant', 'sopClass', 'sopInstance', 'transferSyntax', 'receivedAt', 'bytes', 'digest', 'study', 'series'] as const

/** @throws Fault OBJECT_DAMAGED unless the file is sound and the one the lease means */
function sound(ends: Ends | Unsound, lease: Pick<Lease, 'cipher' | 'facts'>): Ends {
  if (isUnsound(ends)) throw damaged(ends.reason)
  if (ends.preamble.cipher !== lease.cipher) throw damaged('cipher is not that of the index')
  for (const fact of FACTS) if (ends.facts[fact] !== lease.facts[fact]) throw damaged(`${fact} is not that of the index`)
  return ends
}
