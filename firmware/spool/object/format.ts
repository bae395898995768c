/**
 * The object file, byte for byte. Numbers are big-endian.
 *
 * ```
 * preamble   0  8  magic 'SALLYOBJ'
 *            8  2  format version, 1
 *           10  2  length of the JSON below
 *           12  4  length of the header chunk, tag included
 *           16  7  nonce prefix, random
 *           23  1  zero
 *           24     JSON: id, tenant, cipher, keyId, wrappedKey
 * header chunk     ObjectHeader as JSON, sealed; the preamble is its additional data
 * data chunks      64 KiB of the data set each, the last one shorter, sealed
 * trailer chunk    ObjectTrailer as JSON, sealed
 * footer     0  4  length of the trailer chunk, tag included
 *            4  8  magic 'SALLYEND'
 * ```
 *
 * The chunks are the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár 2015): the nonce is
 * prefix (7) ‖ counter (4) ‖ kind (1), the kind of the last chunk being its own. A chunk that is
 * altered, left out, moved, taken from another file (every file has its own key), or followed by
 * none fails to open. UIDs and AE titles are only inside sealed chunks.
 */
import type { Slot } from '../../domain/spool.ts'
import { LIMITS } from '../../domain/limits.ts'

export const MAGIC = Buffer.from('SALLYOBJ')
export const END_MAGIC = Buffer.from('SALLYEND')
export const FORMAT_VERSION = 1
export const FIXED_BYTES = 24
export const FOOTER_BYTES = 12
export const TAG_BYTES = 16
export const PREFIX_BYTES = 7
export const SEALED_CHUNK_BYTES = LIMITS.chunkBytes + TAG_BYTES

export type Cipher = Slot['cipher']

/** What a file says of itself in plain, enough to find the key. */
export interface Preamble {
  readonly id: string
  readonly tenant: string
  readonly cipher: Cipher
  readonly keyId: string
  readonly wrappedKey: string
}

export interface Opening {
  readonly preamble: Preamble
  /** The preamble as it stands in the file: additional data of the header chunk. */
  readonly bytes: Buffer
  readonly prefix: Buffer
  readonly headerBytes: number
}

/** @param headerBytes length of the sealed header chunk */
export function encodePreamble(preamble: Preamble, prefix: Buffer, headerBytes: number): Buffer {
  const json = Buffer.from(
    JSON.stringify({
      id: preamble.id,
      tenant: preamble.tenant,
      cipher: preamble.cipher,
      keyId: preamble.keyId,
      wrappedKey: preamble.wrappedKey,
    }),
  )
  const bytes = Buffer.alloc(FIXED_BYTES + json.length)
  MAGIC.copy(bytes, 0)
  bytes.writeUInt16BE(FORMAT_VERSION, 8)
  bytes.writeUInt16BE(json.length, 10)
  bytes.writeUInt32BE(headerBytes, 12)
  prefix.copy(bytes, 16)
  json.copy(bytes, FIXED_BYTES)
  return bytes
}

/** @returns a reason (text) when the bytes do not begin with a preamble */
export function parsePreamble(head: Buffer): Opening | string {
  if (head.length < FIXED_BYTES) return 'shorter than a preamble'
  if (!head.subarray(0, 8).equals(MAGIC)) return 'does not begin as an object file'
  if (head.readUInt16BE(8) !== FORMAT_VERSION) return `format version ${head.readUInt16BE(8)}`
  const end = FIXED_BYTES + head.readUInt16BE(10)
  const headerBytes = head.readUInt32BE(12)
  if (end > LIMITS.preambleBytes || headerBytes > LIMITS.envelopeBytes || headerBytes < TAG_BYTES) return 'impossible lengths'
  if (head.length < end) return 'ends inside the preamble'
  let preamble: Preamble
  try {
    preamble = JSON.parse(head.toString('utf8', FIXED_BYTES, end)) as Preamble
  } catch {
    return 'preamble is not readable'
  }
  if (preamble.cipher !== 'aes-256-gcm' && preamble.cipher !== 'chacha20-poly1305') return 'unknown cipher'
  for (const field of [preamble.id, preamble.tenant, preamble.keyId, preamble.wrappedKey])
    if (typeof field !== 'string') return 'preamble lacks a field'
  return { preamble, bytes: head.subarray(0, end), prefix: head.subarray(16, 16 + PREFIX_BYTES), headerBytes }
}

export function encodeFooter(trailerBytes: number): Buffer {
  const bytes = Buffer.alloc(FOOTER_BYTES)
  bytes.writeUInt32BE(trailerBytes, 0)
  END_MAGIC.copy(bytes, 4)
  return bytes
}

/**
 * @param tail the last bytes of a file
 * @returns length of the sealed trailer; undefined when the file does not end as an object does
 */
export function parseFooter(tail: Buffer): number | undefined {
  if (tail.length < FOOTER_BYTES) return undefined
  const footer = tail.subarray(tail.length - FOOTER_BYTES)
  return footer.subarray(4).equals(END_MAGIC) ? footer.readUInt32BE(0) : undefined
}

/** Where everything is, once both ends are known. */
export interface Layout {
  readonly dataAt: number
  readonly dataEnd: number
  readonly chunks: number
  /** Plain bytes of the data set that fit exactly; the trailer must say the same. */
  readonly plainBytes: number
}

/** @returns a reason (text) when the lengths contradict each other */
export function layOut(fileBytes: number, opening: Opening, trailerBytes: number): Layout | string {
  const dataAt = opening.bytes.length + opening.headerBytes
  const dataEnd = fileBytes - FOOTER_BYTES - trailerBytes
  if (trailerBytes < TAG_BYTES || trailerBytes > LIMITS.envelopeBytes || dataEnd < dataAt) return 'lengths contradict each other'
  const sealed = dataEnd - dataAt
  const chunks = Math.ceil(sealed / SEALED_CHUNK_BYTES)
  const last = sealed - (chunks - 1) * SEALED_CHUNK_BYTES
  if (chunks > 0 && last <= TAG_BYTES) return 'the last chunk is too short'
  return { dataAt, dataEnd, chunks, plainBytes: sealed - chunks * TAG_BYTES }
}
