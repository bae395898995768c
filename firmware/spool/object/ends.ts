/**
 * Both ends of an object file: preamble and header at its beginning, trailer and footer at its
 * end. Everything that can be known of a file without reading its data set.
 */
import { impossibleFact } from '../../domain/facts.ts'
import { LIMITS } from '../../domain/limits.ts'
import type { ObjectFacts, ObjectHeader, ObjectTrailer } from '../../domain/spool.ts'
import { FOOTER_BYTES, layOut, parseFooter, parsePreamble } from './format.ts'
import type { Layout, Opening, Preamble } from './format.ts'
import { readFully } from './file.ts'
import { KIND, Sealer } from './seal.ts'

export const HEAD_BYTES = LIMITS.preambleBytes + LIMITS.envelopeBytes
export const TAIL_BYTES = LIMITS.envelopeBytes + FOOTER_BYTES

/** The unwrapped data key of a file, or undefined when the key that wraps it is not there (any more). */
export type KeyOf = (preamble: Preamble) => Buffer | undefined

export interface Ends {
  readonly preamble: Preamble
  readonly facts: ObjectFacts
  readonly layout: Layout
  readonly sealer: Sealer
}

/**
 * `incomplete`: the file stops before its end was written, or was never begun. `damaged`: it was
 * complete and is not what was written. The reason names no identifiers.
 */
export interface Unsound {
  readonly kind: 'incomplete' | 'damaged'
  readonly reason: string
}

const damaged = (reason: string): Unsound => ({ kind: 'damaged', reason })
const incomplete = (reason: string): Unsound => ({ kind: 'incomplete', reason })

/**
 * @param head the first bytes of the file, at least HEAD_BYTES or all
 * @param tail the last bytes of the file, at least TAIL_BYTES or all
 */
export function parseEnds(head: Buffer, tail: Buffer, fileBytes: number, keyOf: KeyOf): Ends | Unsound {
  if (fileBytes === 0) return incomplete('empty')
  const trailerBytes = parseFooter(tail)
  // Without its footer a file never was complete, or lost its end: what matters is that nothing
  // can be promised about it. Which of the two it was, recovery decides from the index.
  if (trailerBytes === undefined) return incomplete('has no end')
  const opening = parsePreamble(head)
  if (typeof opening === 'string') return damaged(opening)
  const layout = layOut(fileBytes, opening, trailerBytes)
  if (typeof layout === 'string') return damaged(layout)
  const key = keyOf(opening.preamble)
  if (key === undefined) return damaged('its key is gone')
  return unsealEnds(head, tail, opening, layout, trailerBytes, key)
}

function unsealEnds(head: Buffer, tail: Buffer, opening: Opening, layout: Layout, trailerBytes: number, key: Buffer): Ends | Unsound {
  const { preamble } = opening
  const sealer = new Sealer(preamble.cipher, key, opening.prefix)
  const header = sealer.open(0, KIND.header, head.subarray(opening.bytes.length, layout.dataAt), opening.bytes)
  if (header === undefined) return damaged('header does not open')
  const end = tail.length - FOOTER_BYTES
  const trailer = sealer.open(layout.chunks + 1, KIND.trailer, tail.subarray(end - trailerBytes, end))
  if (trailer === undefined) return damaged('trailer does not open')
  // What opens was written by a receive worker, and is believed as little as the worker.
  const facts = { ...(jsonOf(header) as ObjectHeader), ...(jsonOf(trailer) as ObjectTrailer) }
  const impossible = impossibleFact(facts)
  if (impossible !== undefined) return damaged(`impossible: ${impossible}`)
  if (facts.id !== preamble.id || facts.tenant !== preamble.tenant) return damaged('header contradicts preamble')
  if (facts.bytes !== layout.plainBytes) return damaged('length contradicts trailer')
  return { preamble, facts, layout, sealer }
}

function jsonOf(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString())
  } catch {
    return undefined
  }
}

/** Reads and parses both ends of an open file. */
export async function readEnds(fd: number, fileBytes: number, keyOf: KeyOf): Promise<Ends | Unsound> {
  const headBytes = Math.min(HEAD_BYTES, fileBytes)
  const head = Buffer.allocUnsafe(headBytes)
  if (!(await readFully(fd, head, headBytes, 0))) return damaged('shrank while being read')
  if (fileBytes <= HEAD_BYTES) return parseEnds(head, head, fileBytes, keyOf)
  const tailBytes = Math.min(TAIL_BYTES, fileBytes)
  const tail = Buffer.allocUnsafe(tailBytes)
  if (!(await readFully(fd, tail, tailBytes, fileBytes - tailBytes))) return damaged('shrank while being read')
  return parseEnds(head, tail, fileBytes, keyOf)
}

