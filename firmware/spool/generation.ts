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

export const writeWitness = (directory: string, { identity, generation }: Witness): Promise<void> =>
  writeDurably(join(directory, NAME), `${encode(NAME, { identity, generation })}\n`)

export const vouches = (witness: Witness, meta: Meta): boolean =>
  meta.identity === witness.identity && (meta.generation === witness.generation || meta.generation === witness.generation + 1)
