/**
 * Cuts a data set into P-DATA-TF of a peer's size and hands them to the socket, without copying
 * where that pays, and without ever having more than one batch on its way.
 */
import type { Writable } from 'node:stream'
import { PDV_HEADER, PDV_LAST, dataHeader, writeDataHeader } from './fragment.ts'
import { PDU_HEADER } from './pdu.ts'

/**
 * Where a data set comes from. The buffers must stay as they are until the store is settled.
 * Empty ones are skipped.
 */
export type DataSource = AsyncIterable<Uint8Array> | Iterable<Uint8Array>

/**
 * Bytes handed to the socket at once. Large enough that a call costs little beside encrypting
 * it, small enough that "the socket took a batch" is a useful sign of life on a slow line.
 */
const BATCH_BYTES = 64 * 1024

/** Below this a header and a view per fragment cost more than copying the bytes. */
const COPY_BELOW_BYTES = 8 * 1024

export interface Batch {
  readonly parts: Buffer[]
  readonly bytes: number
  /** The data set ends with it. */
  readonly last: boolean
}

/** A batch with the NUL that makes its length even. */
export const padded = (batch: Batch): Batch => ({ ...batch, parts: [...batch.parts, Buffer.alloc(1)], bytes: batch.bytes + 1 })

/**
 * Cuts and gathers the pieces of a source to batches of `BATCH_BYTES`, and looks one piece ahead
 * to know which is the last. Only the last may be of odd length (PS3.8 9.3.5.1; DCMTK aborts
 * on an odd fragment).
 */
export class Batches {
  readonly #pull: () => Promise<IteratorResult<Uint8Array>> | IteratorResult<Uint8Array>
  readonly #close: (() => unknown) | undefined
  #ahead: Buffer | undefined
  #done = false

  constructor(source: DataSource) {
    const iterator = Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]()
    this.#pull = () => iterator.next()
    this.#close = iterator.return && (() => iterator.return?.())
  }

  /** Undefined: there was not a single byte. Throws what the source throws. */
  async first(): Promise<Batch | undefined> {
    this.#ahead = await this.#next()
    return this.#ahead === undefined ? undefined : this.next()
  }
  /** Not to be called after the last. */
  async next(): Promise<Batch> {
    let piece = this.#ahead
    if (piece === undefined) throw new Error('a data set was read beyond its end')
    const parts: Buffer[] = []
    let room = BATCH_BYTES
    while (piece !== undefined && room > 0) {
      const part: Buffer = piece.length <= room ? piece : piece.subarray(0, room)
      parts.push(part)
      room -= part.length
      piece = part.length < piece.length ? piece.subarray(part.length) : await this.#next()
    }
    this.#ahead = piece
    return { parts, bytes: BATCH_BYTES - room, last: piece === undefined }
  }
  /** The rest is not wanted. A source that fails while closing has nothing left to say. */
  async close(): Promise<void> {
    if (this.#done) return
    this.#done = true
    try {
      await this.#close?.()
    } catch {
      // The failure that made us close is the one to report.
    }
  }

  async #next(): Promise<Buffer | undefined> {
    for (;;) {
      const { done, value } = await this.#pull()
      if (done === true) {
        this.#done = true
        return undefined
      }
      if (value.length > 0) return Buffer.isBuffer(value) ? value : Buffer.from(value.buffer, value.byteOffset, value.byteLength)
    }
  }
}

/**
 * Writes one batch as P-DATA-TF of at most `fragment` bytes each, in one call to the system.
 *
 * @param lead goes out in front, in the same call (the command, before the first batch).
 * @param taken called when the socket took the last of it.
 */
export function writeBatch(
  socket: Writable,
  contextId: number,
  batch: Batch,
  fragment: number,
  lead: Buffer | undefined,
  taken?: () => void,
): void {
  socket.cork()
  if (lead !== undefined) socket.write(lead)
  if (fragment < COPY_BELOW_BYTES) socket.write(copied(contextId, batch, fragment), taken)
  else writeViews(socket, contextId, batch, fragment, taken)
  socket.uncork()
}

function writeViews(socket: Writable, contextId: number, batch: Batch, fragment: number, taken?: () => void): void {
  let left = batch.bytes
  let room = 0
  for (const part of batch.parts) {
    for (let at = 0; at < part.length; ) {
      if (room === 0) {
        room = Math.min(fragment, left)
        socket.write(dataHeader(contextId, batch.last && room === left ? PDV_LAST : 0, room))
      }
      const count = Math.min(room, part.length - at)
      const view = at === 0 && count === part.length ? part : part.subarray(at, at + count)
      at += count
      room -= count
      left -= count
      if (left === 0) socket.write(view, taken)
      else socket.write(view)
    }
  }
}

function copied(contextId: number, batch: Batch, fragment: number): Buffer {
  const whole = batch.parts.length === 1 && batch.parts[0] ? batch.parts[0] : Buffer.concat(batch.parts, batch.bytes)
  const count = Math.ceil(batch.bytes / fragment)
  const out = Buffer.allocUnsafe(batch.bytes + count * (PDU_HEADER + PDV_HEADER))
  for (let from = 0, at = 0; from < batch.bytes; from += fragment) {
    const size = Math.min(fragment, batch.bytes - from)
    const last = batch.last && from + size === batch.bytes
    writeDataHeader(out, at, contextId, last ? PDV_LAST : 0, size)
    at += PDU_HEADER + PDV_HEADER
    at += whole.copy(out, at, from, from + size)
  }
  return out
}
