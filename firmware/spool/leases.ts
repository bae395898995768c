/**
 * Who may send what: leases are given from the queue in its order and kept in memory only. A
 * supervisor that dies forgets them, and everything is queued again.
 */
import type { ObjectId } from '../domain/identifier.ts'
import { LIMITS } from '../domain/limits.ts'
import type { Lease } from '../domain/spool.ts'
import { changeKeys } from './view.ts'
import { promote } from './changes.ts'
import type { KeyRing } from './keys.ts'
import type { Ledger } from './ledger.ts'
import type { StoredRow, Waiting } from './rows.ts'
import { after, decode, isDue, laterPrefix, laterUntil, notBeforeOf, queuePrefix, rowKey, standingKey } from './rows.ts'
import { firstOf } from './survey.ts'
import type { RowChange } from './view.ts'
import { IndexDamaged } from './view.ts'

const RANKS = [0, 1, 2]
const PAGE = 64

const nameOf = (id: ObjectId, destination: string): string => `${id} ${destination}`

export interface LeasesOptions {
  readonly ledger: Ledger
  readonly keys: KeyRing
  readonly pathOf: (id: ObjectId) => string
  readonly now: () => number
  /** The key that wraps this object's is gone: it can never be sent. */
  readonly unreadable: (row: StoredRow) => void
}

export class Leases {
  readonly #options: LeasesOptions
  readonly #leased = new Map<string, Lease>()
  /** A person or a refused context is changing these: not to be leased meanwhile. */
  readonly #busy = new Map<string, number>()
  /** Whose rows are being read, to be leased; those that change meanwhile drop out. */
  readonly #looked = new Set<string>()
  readonly #counts = new Map<string, number>()
  /**
   * No queue key is below these, by prefix. LevelDB walks over every deleted key it has not yet
   * compacted away: without a place to start, taking from the front gets slower the more was taken.
   */
  readonly #fronts = new Map<string, string>()
  /** Lowest key inserted since the last look, by prefix: what a look under way does not see. */
  readonly #inserted = new Map<string, string>()
  readonly #turns = new Map<string, Promise<unknown>>()

  constructor(options: LeasesOptions) {
    this.#options = options
  }

  get(id: ObjectId, destination: string): Lease | undefined {
    return this.#leased.get(nameOf(id, destination))
  }

  count(destination: string): number {
    return this.#counts.get(destination) ?? 0
  }

  all(): Lease[] {
    return [...this.#leased.values()]
  }

  release(id: ObjectId, destination: string): boolean {
    if (!this.#leased.delete(nameOf(id, destination))) return false
    this.#counts.set(destination, this.count(destination) - 1)
    return true
  }

  /** Neither leased nor being changed; for the time of `work` it is being changed. @returns undefined if it was not free */
  async exclusively<T>(id: ObjectId, destination: string, work: () => Promise<T>): Promise<T | undefined> {
    const name = nameOf(id, destination)
    if (this.#leased.has(name)) return undefined
    this.#busy.set(name, (this.#busy.get(name) ?? 0) + 1)
    try {
      return await work()
    } finally {
      const left = (this.#busy.get(name) ?? 1) - 1
      if (left > 0) this.#busy.set(name, left)
      else this.#busy.delete(name)
    }
  }

  /** Must see every change that was written. */
  written({ before, after: row }: RowChange): void {
    for (const { destination } of before?.deliveries ?? []) this.#looked.delete(nameOf((before as StoredRow).id, destination))
    if (!row) return
    for (const delivery of row.deliveries) {
      const key = standingKey(row, delivery)
      if (key === undefined || !key.startsWith('q/') || (before && before.deliveries.includes(delivery))) continue
      const prefix = key.slice(0, key.lastIndexOf('/', key.lastIndexOf('/') - 1) + 1)
      const front = this.#fronts.get(prefix)
      if (front !== undefined && key < front) this.#fronts.set(prefix, key)
      const lowest = this.#inserted.get(prefix)
      if (lowest === undefined || key < lowest) this.#inserted.set(prefix, key)
    }
  }

  /** Another index is in use: what was known about places in the old one is void. */
  forgetFronts(): void {
    this.#fronts.clear()
  }

  /** In order: priority, then study by its first arrival, then arrival. One caller per destination at a time. */
  take(destination: string, count: number): Promise<Lease[]> {
    const turn = (this.#turns.get(destination) ?? Promise.resolve()).then(() => this.#take(destination, count))
    this.#turns.set(destination, turn.catch(() => undefined))
    return turn
  }

  async #take(destination: string, count: number): Promise<Lease[]> {
    await this.#promoteDue(destination)
    const leases: Lease[] = []
    for (const rank of RANKS) {
      if (leases.length >= count) break
      // Leased ones are counted as ready until they are settled.
      if ((this.#options.ledger.tally.lane(destination).ready[rank] ?? 0) > 0) await this.#takeOf(destination, rank, count, leases)
    }
    return leases
  }

  async #takeOf(destination: string, rank: number, count: number, leases: Lease[]): Promise<void> {
    const prefix = queuePrefix(destination, rank)
    const database = this.#options.ledger.database
    this.#inserted.delete(prefix)
    const iterator = database.iterator({ gte: this.#fronts.get(prefix) ?? prefix, lt: after(prefix) })
    try {
      let first = true
      while (leases.length < count) {
        const page = await iterator.nextv(PAGE)
        const [front] = page[0] ?? []
        if (first && front !== undefined) {
          const lowest = this.#inserted.get(prefix)
          this.#fronts.set(prefix, lowest !== undefined && lowest < front ? lowest : front)
        }
        first = false
        if (page.length === 0) return
        await this.#takePage(destination, page, count, leases)
      }
    } finally {
      await iterator.close()
    }
  }

  async #takePage(destination: string, page: readonly [string, string][], count: number, leases: Lease[]): Promise<void> {
    const ids: ObjectId[] = []
    for (const [key, stored] of page) {
      const waiting = decode<Waiting>(key, stored)
      if (!waiting) throw new IndexDamaged('a queue entry')
      if (this.#isFree(waiting.id, destination)) ids.push(waiting.id)
      if (ids.length + leases.length >= count) break
    }
    if (ids.length === 0) return
    for (const id of ids) this.#looked.add(nameOf(id, destination))
    const stored = await this.#options.ledger.database.getMany(ids.map(rowKey))
    for (const [at, id] of ids.entries()) {
      const text = stored[at]
      // Changed after it was read: given up, say, and the row is what it was before.
      if (!this.#looked.delete(nameOf(id, destination)) || text === undefined) continue
      const row = decode<StoredRow>(rowKey(id), text)
      if (!row) throw new IndexDamaged('a row')
      const lease = this.#leaseOf(row, destination)
      if (lease && this.#isFree(id, destination)) {
        this.#leased.set(nameOf(id, destination), lease)
        this.#counts.set(destination, this.count(destination) + 1)
        leases.push(lease)
      }
    }
  }

  #isFree(id: ObjectId, destination: string): boolean {
    const name = nameOf(id, destination)
    return !this.#leased.has(name) && !this.#busy.has(name)
  }

  #leaseOf(row: StoredRow, destination: string): Lease | undefined {
    const delivery = row.deliveries.find((one) => one.destination === destination)
    if (!delivery || delivery.state !== 'queued' || delivery.notBefore > 0) return undefined
    const lease = this.leaseToRead(row, destination, delivery.attempts)
    if (!lease) this.#options.unreadable(row)
    return lease
  }

  /** What is needed to read an object; gives no permission to send it. @returns undefined when its key is gone */
  leaseToRead(row: StoredRow, destination: string, attempts: number): Lease | undefined {
    const key = this.#options.keys.unwrap(row)
    if (!key) return undefined
    const { id, tenant, sopClass, sopInstance, transferSyntax, source, receivedAt, bytes, digest, study, series } = row
    return {
      id,
      destination,
      path: this.#options.pathOf(id),
      cipher: row.cipher,
      key: key.toString('base64'),
      facts: { id, tenant, sopClass, sopInstance, transferSyntax, source, receivedAt, bytes, digest, study, series },
      version: row.version,
      attempts,
    }
  }

  async #promoteDue(destination: string): Promise<void> {
    if (this.#options.ledger.tally.lane(destination).later === 0) return
    const now = this.#options.now()
    const { ledger } = this.#options
    const prefix = laterPrefix(destination)
    const past = { gt: prefix, lt: laterUntil(destination, now) }
    const absurd = { gt: laterUntil(destination, now + LIMITS.delayMillis), lt: after(prefix) }
    const due: [string, string][] = []
    for (const range of [past, absurd])
      due.push(...(await firstOf(ledger.database.iterator({ ...range, limit: LIMITS.changesPerBatch }), LIMITS.changesPerBatch)))
    const ids = due.map(([key, stored]) => {
      const waiting = decode<Waiting>(key, stored)
      if (!waiting) throw new IndexDamaged('a queue entry')
      return waiting.id
    })
    if (ids.length === 0) return
    const stored = await ledger.database.getMany(ids.map(rowKey))
    await Promise.all(
      ids.map(async (id, at) => {
        const row = stored[at] === undefined ? undefined : decode<StoredRow>(rowKey(id), stored[at])
        if (row) await ledger.transact({ keys: changeKeys(row), apply: (view) => promote(view, id, destination, now) })
      }),
    )
  }

  /** When the next delayed one is due, milliseconds since 1970; 0 = none is delayed. */
  async nextDue(destination: string): Promise<number> {
    if (this.#options.ledger.tally.lane(destination).later === 0) return 0
    const prefix = laterPrefix(destination)
    const [key] = await firstOf(this.#options.ledger.database.keys({ gt: prefix, lt: after(prefix), limit: 1 }), 1)
    if (key === undefined) return 0
    const now = this.#options.now()
    return isDue(notBeforeOf(key), now) ? now : notBeforeOf(key)
  }
}
