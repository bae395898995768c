/**
 * Lossless re-encoding between the uncompressed transfer syntaxes, for a destination that does
 * not take the one an object came in. Pixel data stream through; nothing is held whole.
 *
 * CONTRACT: whether an object can be re-encoded is known for certain only after its last byte.
 * `transcode` throws a `TranscodeFault` while it is being read; what it gave out before is then
 * worthless. The caller aborts the association (the receiver drops the half object, PS3.7 9.3.1)
 * and holds the object with the fault's sentence. It must not answer for, or commit, anything
 * before the generator has returned.
 */
import { pipeline, Readable, type Transform } from 'node:stream'
import { constants, createDeflateRaw, createInflateRaw } from 'node:zlib'
import { LIMITS, type Limits } from '../domain/limits.ts'
import { loadDictionary } from './dictionary.ts'
import { type Changes, Recoder } from './recoder.ts'
import { TranscodeFault } from './transcode-fault.ts'
import { isUncompressed, transferSyntaxOf } from './transfer-syntaxes.ts'

export { TranscodeFault } from './transcode-fault.ts'
export type { Changes } from './recoder.ts'

/** Both of the four uncompressed transfer syntaxes; equal ones need no transcoding. */
export const canTranscode = (from: string, to: string): boolean => isUncompressed(from) && isUncompressed(to)

/**
 * @param source the data set in chunks of any size; a chunk may be reused after the next is asked for.
 * @param from transfer syntax UID the object came in; see `canTranscode`.
 * @param to transfer syntax UID it shall leave in.
 * @returns chunks of about the size of the source's; at the end, what was changed.
 * @throws TranscodeFault when it cannot be read or not be re-encoded without loss; whatever the
 *   source throws is passed on.
 */
export async function* transcode(
  source: AsyncIterable<Uint8Array>,
  from: string,
  to: string,
  limits: Pick<Limits, 'headerNesting'> = LIMITS,
): AsyncGenerator<Uint8Array, Changes> {
  if (!canTranscode(from, to)) throw new Error(`transcode: not between ${from} and ${to}`)
  const [before, after] = [transferSyntaxOf(from), transferSyntaxOf(to)]
  const changes: Changes = { groupLengths: 0, lengths: 0, unknown: 0 }
  let stream = before.deflated ? through(source, createInflateRaw()) : source
  // Explicit Little Endian and Deflated are the same data set (PS3.5 A.5).
  if (before.explicit !== after.explicit || before.bigEndian !== after.bigEndian) {
    const recoder = new Recoder(before, after, await loadDictionary(), limits)
    stream = recode(stream, recoder, changes)
  }
  yield* after.deflated ? even(through(stream, createDeflateRaw({ level: constants.Z_BEST_SPEED }))) : stream
  return changes
}

async function* recode(
  source: AsyncIterable<Uint8Array>,
  recoder: Recoder,
  changes: Changes,
): AsyncGenerator<Uint8Array> {
  for await (const bytes of source) {
    const out = recoder.push(bytes)
    if (out.length > 0) yield out
  }
  recoder.end()
  Object.assign(changes, recoder.changes)
}

async function* through(source: AsyncIterable<Uint8Array>, zlib: Transform): AsyncGenerator<Uint8Array> {
  // zlib works in another thread while the source goes on, so it gets bytes of its own.
  async function* copies(): AsyncGenerator<Buffer> {
    for await (const bytes of source) yield Buffer.from(bytes)
  }
  // The error reaches the reader through the last stream.
  pipeline(Readable.from(copies(), { highWaterMark: 1 }), zlib, () => undefined)
  try {
    for await (const bytes of zlib) yield bytes as Buffer
  } catch (error) {
    if (!String((error as NodeJS.ErrnoException).code).startsWith('Z_')) throw error
    throw new TranscodeFault(`it is not a whole deflate stream (${(error as Error).message})`)
  }
}

/** PS3.5 A.5: a NUL where the deflated bytes are odd in number. */
async function* even(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let bytes = 0
  for await (const each of source) {
    bytes += each.length
    yield each
  }
  if (bytes % 2 !== 0) yield Uint8Array.of(0)
}
