/**
 * Tells what an object file is, without a lease: for recovery, rebuild and verification.
 */
import type { ObjectFacts } from '../../domain/spool.ts'
import { Fault } from '../../domain/errors.ts'
import { readEnds } from './ends.ts'
import type { KeyOf, Unsound } from './ends.ts'
import { closed, openToRead, sizeOf } from './file.ts'
import type { Preamble } from './format.ts'
import { ObjectReader } from './reader.ts'

export interface Sound {
  readonly kind: 'complete'
  readonly preamble: Preamble
  readonly facts: ObjectFacts
  /** Bytes of the file. */
  readonly size: number
}

/**
 * Reads preamble, header and trailer only.
 * @throws the error of the file system when the file cannot be read
 */
export async function inspect(path: string, keyOf: KeyOf): Promise<Sound | Unsound> {
  const fd = await openToRead(path)
  try {
    const size = await sizeOf(fd)
    const ends = await readEnds(fd, size, keyOf)
    return 'reason' in ends ? ends : { kind: 'complete', preamble: ends.preamble, facts: ends.facts, size }
  } finally {
    await closed(fd)
  }
}

/**
 * Reads everything and compares length and digest.
 * @throws the error of the file system, or Fault DISK_FAILED, when the file cannot be read
 */
export async function verifyObject(path: string, keyOf: KeyOf): Promise<Sound | Unsound> {
  const found = await inspect(path, keyOf)
  if (found.kind !== 'complete') return found
  const key = keyOf(found.preamble) as Buffer
  try {
    const lease = { path, key: key.toString('base64'), cipher: found.preamble.cipher, facts: found.facts }
    for await (const _ of await ObjectReader.open(lease)) void _
    return found
  } catch (error) {
    if (error instanceof Fault && error.code === 'OBJECT_DAMAGED') return { kind: 'damaged', reason: String(error.fields['detail']) }
    throw error
  }
}
