/**
 * Erasing a tenant: its key first, after which no copy of its objects can be read anywhere; then
 * rows, files, receipts, and what LevelDB keeps of deleted rows.
 */
import type { ObjectId } from '../domain/identifier.ts'
import { LIMITS } from '../domain/limits.ts'
import type { Receipt } from '../domain/spool.ts'
import { erase } from './changes.ts'
import type { Ledger } from './ledger.ts'
import type { StoredRow } from './rows.ts'
import { after, decode } from './rows.ts'
import { entriesUnder } from './survey.ts'
import { changeKeys } from './view.ts'

/** @returns instances erased */
export async function eraseRows(ledger: Ledger, tenant: string, bury: (id: ObjectId) => void): Promise<number> {
  let count = 0
  for await (const [key, stored] of entriesUnder(ledger.database, 'i/')) {
    const row = decode<StoredRow>(key, stored)
    if (row?.tenant !== tenant) continue
    await ledger.transact({ keys: changeKeys(row), apply: (view) => erase(view, row) })
    bury(row.id)
    count += 1
  }
  return count
}

export async function eraseTraces(ledger: Ledger, tenant: string): Promise<void> {
  const erased = (keys: string[]): Promise<void> => ledger.transact({ keys: [], apply: (view) => keys.forEach((key) => view.replace(key, undefined)) })
  const keys: string[] = []
  for (const kind of ['r/', `d/${tenant}/`]) {
    for await (const [key, stored] of entriesUnder(ledger.database, kind)) {
      if (kind !== 'r/' || decode<Receipt>(key, stored)?.tenant === tenant) keys.push(key)
      if (keys.length >= LIMITS.changesPerBatch) await erased(keys.splice(0))
    }
    await erased(keys.splice(0))
  }
  // A deletion in LevelDB only hides; compaction forgets.
  for (const kind of ['i/', 'u/', 's/', 'r/', 'd/']) await ledger.database.compactRange(kind, after(kind))
}
