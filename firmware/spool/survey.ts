/**
 * Reads the whole index once, at open: counts what the status shows, and finds out whether every
 * key that was written is there and every row is what was written. About 0.5 s for 100,000 rows.
 */
import type { Database, Iterating } from './database.ts'
import type { Meta, StoredRow } from './rows.ts'
import { COUNTED_KINDS, after, decode, keySum } from './rows.ts'
import { Tally } from './tally.ts'
import { IndexDamaged } from './view.ts'

const PAGE = 1000

/** In pages: one crossing into LevelDB for many keys, and the event loop breathes between them. */
export async function* paged<T>(iterator: Iterating<T>): AsyncGenerator<T> {
  try {
    for (let page = await iterator.nextv(PAGE); page.length > 0; page = await iterator.nextv(PAGE)) yield* page
  } finally {
    await iterator.close()
  }
}

/** The first so many of a range. */
export async function firstOf<T>(iterator: Iterating<T>, count: number): Promise<T[]> {
  try {
    return await iterator.nextv(count)
  } finally {
    await iterator.close()
  }
}

/** All keys under a prefix, in order. */
export const keysUnder = (database: Database, prefix: string): AsyncGenerator<string> =>
  paged(database.keys({ gt: prefix, lt: after(prefix), fillCache: false }))

/** All entries under a prefix, in order, from `beyond` on. */
export const entriesUnder = (database: Database, prefix: string, beyond = prefix): AsyncGenerator<[string, string]> =>
  paged(database.iterator({ gt: beyond, lt: after(prefix), fillCache: false }))

/** @throws IndexDamaged */
export async function survey(database: Database, meta: Meta): Promise<Tally> {
  const tally = new Tally()
  let keys = 0
  let sum = 0
  const count = (key: string): void => {
    keys += 1
    sum = (sum + keySum(key)) >>> 0
  }
  for (const kind of COUNTED_KINDS) {
    // Without generators: this loop is what a start waits for.
    if (kind === 'i/') {
      const iterator = database.iterator({ gt: kind, lt: after(kind), fillCache: false })
      for (let page = await iterator.nextv(PAGE); page.length > 0; page = await iterator.nextv(PAGE))
        for (const [key, stored] of page) {
          count(key)
          const row = decode<StoredRow>(key, stored)
          if (row === undefined) throw new IndexDamaged('a row')
          tally.change(undefined, row)
        }
      await iterator.close()
    } else {
      const iterator = database.keys({ gt: kind, lt: after(kind), fillCache: false })
      for (let page = await iterator.nextv(PAGE); page.length > 0; page = await iterator.nextv(PAGE)) for (const key of page) count(key)
      await iterator.close()
    }
  }
  if (keys !== meta.keys || sum !== meta.sum || tally.instances !== meta.rows) throw new IndexDamaged(`${keys} keys where ${meta.keys} were written`)
  return tally
}
