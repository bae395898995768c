/**
 * Lays the object files beside the rows of the index, both in the order of their ids, and settles
 * every difference. Holds one page of either at a time.
 *
 * A file without a row was never acknowledged, or its row was lost. What is complete is taken in,
 * never deleted; what is incomplete was never acknowledged if the index is sound, and is set aside
 * if it was not. A row without a file is kept, held, and an alarm.
 */
import type { ObjectId } from '../domain/identifier.ts'
import type { Log } from '../domain/log.ts'
import type { Target } from '../domain/route.ts'
import { arrivalKeys, arrive, restore } from './changes.ts'
import type { Found, ObjectFiles } from './files.ts'
import { Index } from './index.ts'
import type { Database } from './database.ts'
import { inspect, verifyObject } from './object/inspect.ts'
import type { Sound } from './object/inspect.ts'
import type { Unsound, KeyOf } from './object/ends.ts'
import type { Old } from './recovery.ts'
import type { Meta, StoredRow } from './rows.ts'
import { after, decode, rowKey } from './rows.ts'
import { entriesUnder, paged } from './survey.ts'
import { isUnreadable } from './trouble.ts'
import { changeKeys } from './view.ts'
import { Fault } from '../domain/errors.ts'

export interface Ground {
  readonly files: ObjectFiles
  readonly keyOf: KeyOf
  readonly targets: (listener: string, tenant: string) => readonly Target[]
  readonly now: () => number
  readonly log: Log
  /** Being written by a worker, or standing ready: not an object yet. */
  readonly isSlot: (id: ObjectId) => boolean
}

/** Where two sorted streams of ids differ and agree. */
export async function* abreast<R>(files: AsyncIterator<Found>, rows: AsyncIterator<{ id: ObjectId; row: R }>): AsyncGenerator<{ found?: Found; row?: { id: ObjectId; row: R } }> {
  let file = await files.next()
  let row = await rows.next()
  while (!file.done || !row.done) {
    const fileId = file.done ? '~' : file.value.id
    const rowId = row.done ? '~' : row.value.id
    if (fileId === rowId) yield { found: file.value as Found, row: row.value as { id: ObjectId; row: R } }
    else if (fileId < rowId) yield { found: file.value as Found }
    else yield { row: row.value as { id: ObjectId; row: R } }
    if (fileId <= rowId) file = await files.next()
    if (rowId <= fileId) row = await rows.next()
  }
}

/** Reason of a file that went while it was to be looked at. */
export const GONE = 'the file is gone'

/** A disk that cannot give back the file is as bad as one that altered it, for what follows here. */
export async function examine(found: Found, keyOf: KeyOf, whole: boolean): Promise<Sound | Unsound> {
  try {
    const state = await (whole ? verifyObject : inspect)(found.path, keyOf)
    if (state.kind === 'complete' && state.facts.id !== found.id) return { kind: 'damaged', reason: 'it is a copy of another' }
    return state
  } catch (error) {
    const code = error instanceof Fault ? error.code : ((error as NodeJS.ErrnoException).code ?? String(error))
    if (code === 'ENOENT' || code === 'OBJECT_MISSING') return { kind: 'damaged', reason: GONE }
    return { kind: 'damaged', reason: error instanceof Fault ? error.message : code }
  }
}

/**
 * Takes a complete file in as an instance.
 * What it replaces has a grave then, which is seen to when all has been laid beside each other.
 * @returns false when it is a repetition of one that was delivered or that is itself whole
 */
export async function adopt(index: Index, ground: Ground, sound: Sound): Promise<boolean> {
  const { facts, preamble } = sound
  const unusable: ObjectId[] = []
  for (;;) {
    const arrival = { facts, sealing: preamble, targets: ground.targets(facts.source.listener, facts.tenant), now: ground.now(), duplicateWindowMillis: Infinity, unusable }
    const { outcome } = await index.transact({ keys: arrivalKeys(arrival), impatient: true, apply: (view) => arrive(view, arrival) })
    if (outcome.kind !== 'duplicate') {
      ground.log.warn('adopted', { id: facts.id, sopInstance: facts.sopInstance })
      return true
    }
    if (!(await isSpoilt(index.database, ground, outcome.of))) return false
    unusable.push(outcome.of)
  }
}

/** An instance that waits, and whose bytes are gone or altered: nothing may be given up because of it. */
async function isSpoilt(database: Database, { files, keyOf }: Ground, id: ObjectId): Promise<boolean> {
  if ((await database.get(rowKey(id))) === undefined) return false
  const state = await examine({ id, path: files.pathOf(id) }, keyOf, true)
  return state.kind !== 'complete'
}

/** Files examined at once while an index is made. */
const WINDOW = 64

/**
 * Fills a new index: rows that still verify in the old one go over as they are, files without one
 * are taken in by what they say of themselves. Their digests are checked when they are sent.
 */
export async function fillFrom(ground: Ground, made: Database, empty: Meta, old: Old | undefined): Promise<Meta> {
  const index = new Index(made, empty, {
    sync: false,
    written: () => undefined,
    trouble: () => undefined,
    reopen: () => Promise.reject(new Error('index: being made')),
  })
  try {
    const sequence = old ? await copyReceipts(old, made) : 0
    const meta: Meta = { ...empty, sequence, delivered: old?.meta?.delivered ?? 0, deliveredBytes: old?.meta?.deliveredBytes ?? 0 }
    await index.transact({ keys: [], apply: (view) => void (view.meta = { ...meta, identity: empty.identity }) })
    const window: Promise<Step>[] = []
    const drain = async (): Promise<void> => {
      // Examined side by side, entered in the order of their ids: that is the order of arrival.
      const steps = await Promise.all(window.splice(0))
      await Promise.all(steps.map((step) => step(index)))
    }
    for await (const { found, row } of abreast(ground.files.walk(), rowsOf(old))) {
      window.push(stepFor(ground, found, row?.row, old))
      if (window.length >= WINDOW) await drain()
    }
    await drain()
    return await index.transact({ keys: [], impatient: true, apply: (view) => view.meta })
  } finally {
    await index.release()
  }
}

type Step = (index: Index) => Promise<unknown>

async function stepFor(ground: Ground, found: Found | undefined, met: StoredRow | undefined, old: Old | undefined): Promise<Step> {
  const row = met ?? (found && old ? await rowIn(old, found.id) : undefined)
  if (row && (found || !old?.stale)) {
    const kept = found ? row : missing(row)
    return (index) => index.transact({ keys: changeKeys(kept), impatient: true, apply: (view) => restore(view, kept) })
  }
  if (!found || ground.isSlot(found.id)) return () => Promise.resolve()
  const state = await examine(found, ground.keyOf, false)
  if (state.kind === 'complete')
    return async (index) => {
      if (!(await adopt(index, ground, state))) await ground.files.unlink(found.id)
    }
  if (state.reason === 'empty' || state.reason === GONE) return () => ground.files.unlink(found.id)
  ground.log.warn('set-aside', { id: found.id, detail: state.reason })
  return () => ground.files.quarantine(found)
}

/** The row of a file that is gone: kept, held, an alarm. */
export const missing = (row: StoredRow): StoredRow => ({
  ...row,
  deliveries: row.deliveries.map((one) =>
    one.state === 'queued' ? { ...one, state: 'held', notBefore: 0, code: 'OBJECT_MISSING' } : one,
  ),
})

/** One row of the old index, where its block can be read. */
async function rowIn(old: Old, id: ObjectId): Promise<StoredRow | undefined> {
  try {
    const stored = await old.database.get(rowKey(id))
    return stored === undefined ? undefined : decode<StoredRow>(rowKey(id), stored)
  } catch (error) {
    if (isUnreadable(error)) return undefined
    throw error
  }
}

/**
 * The rows of the old index in order, up to the first block that cannot be read; those behind it
 * are found by their files (`rowIn`). A row behind it whose file is gone as well is not: two losses.
 */
async function* rowsOf(old: Old | undefined): AsyncGenerator<{ id: ObjectId; row: StoredRow }> {
  if (!old) return
  try {
    for await (const [key, stored] of entriesUnder(old.database, 'i/')) {
      const row = decode<StoredRow>(key, stored)
      if (row && rowKey(row.id) === key) yield { id: row.id, row }
    }
  } catch (error) {
    if (!isUnreadable(error)) throw error
  }
}

/** Everything under a prefix that can be read: from the front and, where a block stops it, from the back. */
async function* salvaged(database: Database, prefix: string): AsyncGenerator<[string, string]> {
  let last = prefix
  for (const reverse of [false, true]) {
    try {
      for await (const entry of paged(database.iterator({ gt: last, lt: after(prefix), reverse, fillCache: false }))) {
        yield entry
        if (!reverse) last = entry[0]
      }
      return
    } catch (error) {
      if (!isUnreadable(error)) throw error
    }
  }
}

/** Copies what cannot be made from files, and finds the last sequence given out. */
async function copyReceipts(old: Old, made: Database): Promise<number> {
  for (const kind of ['r/', 'd/', 'x/']) {
    const batch: { type: 'put'; key: string; value: string }[] = []
    for await (const [key, value] of salvaged(old.database, kind)) {
      if (decode(key, value) === undefined) continue
      batch.push({ type: 'put', key, value })
      if (batch.length >= WINDOW * 4) await made.batch(batch.splice(0))
    }
    await made.batch(batch)
  }
  let sequence = old.meta?.sequence ?? 0
  for await (const [key, stored] of salvaged(old.database, 'i/')) sequence = Math.max(sequence, decode<StoredRow>(key, stored)?.sequence ?? 0)
  return sequence
}
