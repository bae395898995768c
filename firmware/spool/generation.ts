/**
 * The witness beside the index: a small file that says which index belongs to these objects and
 * how often it was opened. An index that is older than its witness is a copy put back, or one
 * whose last writes are gone; one of another identity is another box's.
 *
 * The index counts up first, the witness second: so the two are equal, or the index is one ahead.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { writeDurably } from './files.ts'
import type { Meta } from './rows.ts'
import { decode, encode } from './rows.ts'

export interface Witness {
  readonly identity: string
  readonly generation: number
  /** Written at a clean end: what the index holds. Its tail cannot be cut off unnoticed then. */
  readonly end?: Pick<Meta, 'sequence' | 'keys' | 'sum'>
}

const NAME = 'generation'

/** @returns undefined when there is none, or it is damaged: either way nothing vouches for the index */
export async function readWitness(directory: string): Promise<Witness | undefined> {
  try {
    return decode<Witness>(NAME, (await readFile(join(directory, NAME), 'utf8')).trim())
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

export const writeWitness = (directory: string, { identity, generation, end }: Witness): Promise<void> =>
  writeDurably(join(directory, NAME), `${encode(NAME, { identity, generation, ...(end ? { end } : {}) })}\n`)

export function vouches({ identity, generation, end }: Witness, meta: Meta): boolean {
  if (meta.identity !== identity) return false
  // Counted up, and the power went before the witness was: it said what the index held before.
  if (meta.generation === generation + 1) return true
  return meta.generation === generation && (!end || (meta.sequence === end.sequence && meta.keys === end.keys && meta.sum === end.sum))
}
