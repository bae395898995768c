/**
 * Every object is read and compared with what its row says. What is damaged or gone is held, so
 * that a person sees it and a repetition replaces it.
 */
import type { ObjectId } from '../domain/identifier.ts'
import type { Interventions } from './interventions.ts'
import type { Ledger } from './ledger.ts'
import type { Unsound } from './object/ends.ts'
import type { Sound } from './object/inspect.ts'
import { GONE } from './reconcile.ts'
import { keysUnder } from './survey.ts'

export interface Verified {
  readonly sound: number
  readonly damaged: number
}

/** @param look reads the whole file of an object */
export async function verifyAll(
  ledger: Ledger,
  interventions: Interventions,
  look: (id: ObjectId) => Promise<Sound | Unsound>,
  progress: (done: Verified) => void,
): Promise<Verified> {
  const done = { sound: 0, damaged: 0 }
  for await (const key of keysUnder(ledger.database, 'i/')) {
    const row = await ledger.row(key.slice(2))
    if (!row) continue
    const state = await look(row.id)
    const sound = state.kind === 'complete' && state.facts.digest === row.digest && state.facts.bytes === row.bytes
    // It may have been delivered and unlinked while it was read.
    if (sound) done.sound += 1
    else if (await ledger.row(row.id)) {
      done.damaged += 1
      const reason = state.kind === 'complete' ? 'digest' : state.reason
      await interventions.holdObject(row, reason === GONE ? 'OBJECT_MISSING' : 'OBJECT_DAMAGED', reason)
    }
    progress({ ...done })
  }
  return done
}
