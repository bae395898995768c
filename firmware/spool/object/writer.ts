/**
 * Writes one object file, while its bytes arrive, and says when they are on stable storage.
 *
 * INVARIANTS
 * - A byte is hashed and sealed before the call that brought it returns, or copied: the caller's
 *   buffer is never kept.
 * - One write is under way at a time; what is sealed meanwhile goes with the next.
 * - A write or fdatasync that failed is final for the file. After a failed fsync Linux may have
 *   dropped the pages and calls the next fsync a success, so a second try would prove nothing.
 */
import { createHash, randomFillSync } from 'node:crypto'
import { LIMITS } from '../../domain/limits.ts'
import type { Fault } from '../../domain/errors.ts'
import type { ObjectHeader, Slot } from '../../domain/spool.ts'
import { closed, faultOfWriting, openToWrite, synced, writeFully } from './file.ts'
import { PREFIX_BYTES, TAG_BYTES, encodeFooter, encodePreamble } from './format.ts'
import { KIND, Sealer } from './seal.ts'

/**
 * A write starts when so much is sealed and none is under way. More than a CT image (0.5 MB), which
 * so costs one call: two smaller writes cost 0.2 ms of CPU more than the overlap saves.
 */
const PIECE_BYTES = 640 * 1024

/** Chunk buffers between two objects; more than this many at once are left to the collector. */
const SPARE_BUFFERS = 32
const spare: Buffer[] = []

export class ObjectWriter {
  readonly #slot: Slot
  readonly #sealer: Sealer
  readonly #hash = createHash('sha256')
  readonly #opening: Promise<void>
  #fd: number | undefined
  #chunk: Buffer | undefined
  #filled = 0
  #counter = 1
  #bytes = 0
  /** Sealed, not yet given to the kernel. */
  #sealed: Buffer[] = []
  #sealedBytes = 0
  #writingBytes = 0
  #position = 0
  #writing: Promise<void> | undefined
  #waiting: (() => void)[] = []
  #failure: Fault | undefined
  #ended = false

  /**
   * Begins at once; a file that cannot be opened shows at `finish`.
   * @throws Error when header and slot are not of the same object: a defect of the caller
   */
  static open(slot: Slot, header: ObjectHeader): ObjectWriter {
    if (header.id !== slot.id || header.tenant !== slot.tenant) throw new Error(`object: header of ${header.id} for slot ${slot.id}`)
    return new ObjectWriter(slot, header)
  }

  private constructor(slot: Slot, header: ObjectHeader) {
    this.#slot = slot
    // Random even though the key is of this file alone: a second file under one key and nonce would betray both.
    const prefix = randomFillSync(Buffer.alloc(PREFIX_BYTES))
    this.#sealer = new Sealer(slot.cipher, Buffer.from(slot.key, 'base64'), prefix)
    const plain = Buffer.from(JSON.stringify(header))
    const preamble = encodePreamble(slot, prefix, plain.length + TAG_BYTES)
    if (preamble.length > LIMITS.preambleBytes || plain.length + TAG_BYTES > LIMITS.envelopeBytes)
      throw new Error(`object: header of ${plain.length} bytes`)
    this.#sealed.push(preamble)
    this.#sealer.seal(0, KIND.header, plain, this.#sealed, preamble)
    this.#sealedBytes = preamble.length + plain.length + TAG_BYTES
    this.#opening = openToWrite(slot.path).then(
      (fd) => {
        this.#fd = fd
        this.#pump()
      },
      (error: unknown) => this.#fail(error),
    )
  }

  /** Set once the disk has refused; the caller may go on writing, nothing is kept. */
  get failure(): Fault | undefined {
    return this.#failure
  }

  /**
   * @param bytes of the data set; used only during the call
   * @returns false when more than LIMITS.writeAheadBytes are on their way to the disk: wait for `drained`
   */
  write(bytes: Buffer): boolean {
    if (this.#ended) throw new Error(`object: write after the end of ${this.#slot.id}`)
    if (this.#failure) return true
    this.#hash.update(bytes)
    this.#bytes += bytes.length
    let at = 0
    while (at < bytes.length) {
      const room = LIMITS.chunkBytes - this.#filled
      if (this.#filled === 0 && bytes.length - at >= LIMITS.chunkBytes) {
        this.#seal(bytes.subarray(at, at + LIMITS.chunkBytes))
        at += LIMITS.chunkBytes
        continue
      }
      this.#chunk ??= spare.pop() ?? Buffer.allocUnsafeSlow(LIMITS.chunkBytes)
      const count = Math.min(room, bytes.length - at)
      bytes.copy(this.#chunk, this.#filled, at, at + count)
      this.#filled += count
      at += count
      if (this.#filled === LIMITS.chunkBytes) {
        this.#seal(this.#chunk)
        this.#filled = 0
      }
    }
    return !this.#ahead
  }

  get #ahead(): boolean {
    return this.#sealedBytes + this.#writingBytes > LIMITS.writeAheadBytes
  }

  #seal(plain: Buffer): void {
    this.#sealer.seal(this.#counter++, KIND.data, plain, this.#sealed)
    this.#sealedBytes += plain.length + TAG_BYTES
    if (this.#sealedBytes >= PIECE_BYTES) this.#pump()
  }

  #pump(): void {
    if (this.#writing || this.#fd === undefined || this.#failure || this.#sealed.length === 0) return
    if (!this.#ended && this.#sealedBytes < PIECE_BYTES) return
    const buffers = this.#sealed
    const bytes = this.#sealedBytes
    this.#sealed = []
    this.#sealedBytes = 0
    this.#writingBytes = bytes
    this.#writing = writeFully(this.#fd, buffers, this.#position).then(
      () => {
        this.#position += bytes
        this.#writing = undefined
        this.#writingBytes = 0
        this.#pump()
        if (!this.#ahead) this.#wake()
      },
      (error: unknown) => {
        this.#writing = undefined
        this.#fail(error)
      },
    )
  }

  #fail(error: unknown): void {
    this.#failure ??= faultOfWriting(error)
    this.#sealed = []
    this.#sealedBytes = this.#writingBytes = 0
    this.#wake()
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve()
  }

  /** Resolves when `write` may go on; also after a failure, which `finish` tells. */
  drained(): Promise<void> {
    return this.#ahead ? new Promise((resolve) => this.#waiting.push(resolve)) : Promise.resolve()
  }

  /**
   * Resolves when the complete file is on stable storage.
   * @returns plain bytes and their SHA-256, lower-case hex
   * @throws Fault SPOOL_FULL or DISK_FAILED; the slot must be given back
   */
  async finish(found: { study: string; series: string }): Promise<{ bytes: number; digest: string }> {
    if (this.#ended) throw new Error(`object: second end of ${this.#slot.id}`)
    if (this.#filled > 0 && this.#chunk && !this.#failure) {
      this.#sealer.seal(this.#counter++, KIND.data, this.#chunk.subarray(0, this.#filled), this.#sealed)
    }
    this.#ended = true
    this.#returnChunk()
    const digest = this.#hash.digest('hex')
    const bytes = this.#bytes
    const trailer = Buffer.from(JSON.stringify({ bytes, digest, study: found.study, series: found.series }))
    this.#sealer.seal(this.#counter, KIND.trailer, trailer, this.#sealed)
    this.#sealed.push(encodeFooter(trailer.length + TAG_BYTES))
    this.#sealedBytes = this.#sealed.reduce((sum, buffer) => sum + buffer.length, 0)
    await this.#settled()
    if (!this.#failure && this.#fd !== undefined) await synced(this.#fd).catch((error: unknown) => this.#fail(error))
    void this.#close()
    if (this.#failure) throw this.#failure
    return { bytes, digest }
  }

  /** Stops; resolves when nothing touches the file any more. The slot must be given back. */
  async abandon(): Promise<void> {
    this.#ended = true
    this.#returnChunk()
    this.#sealed = []
    this.#sealedBytes = 0
    this.#wake()
    await this.#settled()
    await this.#close()
  }

  async #settled(): Promise<void> {
    await this.#opening
    this.#pump()
    while (this.#writing) await this.#writing
  }

  async #close(): Promise<void> {
    const fd = this.#fd
    this.#fd = undefined
    if (fd !== undefined) await closed(fd)
  }

  #returnChunk(): void {
    if (this.#chunk && spare.length < SPARE_BUFFERS) spare.push(this.#chunk)
    this.#chunk = undefined
    this.#filled = 0
  }
}
