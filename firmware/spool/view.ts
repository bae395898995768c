/**
 * What one batch will change: reads see what was read from the index and what earlier changes of
 * the same batch did; writes are kept together until the batch is written.
 */
import { LIMITS } from '../domain/limits.ts'
import type { Copy, Meta, StoredRow, StudyRow, Waiting } from './rows.ts'
import { META, copiesKey, decode, encode, isCounted, keySum, rowKey, standingKey, studyKey } from './rows.ts'

export type BatchOperation = { type: 'put'; key: string; value: string } | { type: 'del'; key: string }

/** A value that is not the one that was written: the index must be made anew. */
export class IndexDamaged extends Error {}

export interface RowChange {
  readonly before: StoredRow | undefined
  readonly after: StoredRow | undefined
}

export class View {
  readonly #stored: Map<string, string | undefined>
  readonly #values = new Map<string, unknown>()
  readonly #written = new Set<string>()
  readonly changes: RowChange[] = []
  meta: Meta

  /** @param stored what the index holds under every key the changes declared */
  constructor(stored: Map<string, string | undefined>, meta: Meta) {
    this.#stored = stored
    this.meta = meta
  }

  get dirty(): boolean {
    return this.#written.size > 0
  }

  /** Counts up with every write: tells whether a change that failed had already written. */
  get writes(): number {
    return this.#writes
  }
  #writes = 0

  /** @throws IndexDamaged */
  get<T>(key: string): T | undefined {
    if (this.#values.has(key)) return this.#values.get(key) as T | undefined
    if (!this.#stored.has(key)) throw new Error(`index: ${key} was not declared`)
    const stored = this.#stored.get(key)
    const value = stored === undefined ? undefined : decode<T>(key, stored)
    if (stored !== undefined && value === undefined) throw new IndexDamaged(`value of ${key.slice(0, 2)}`)
    this.#values.set(key, value)
    return value
  }

  /** Adds a key that is not there. */
  insert(key: string, value: unknown): void {
    this.#count(key, 1)
    this.#write(key, value)
  }

  /** Writes a key that is there, or one of a kind that is not counted. */
  replace(key: string, value: unknown): void {
    this.#write(key, value)
  }

  /** Removes a key that is there. */
  remove(key: string): void {
    this.#count(key, -1)
    this.#write(key, undefined)
  }

  #write(key: string, value: unknown): void {
    this.#writes += 1
    this.#values.set(key, value)
    this.#written.add(key)
  }

  #count(key: string, by: 1 | -1): void {
    if (!isCounted(key)) return
    const { keys, sum } = this.meta
    this.meta = { ...this.meta, keys: keys + by, sum: (sum + by * keySum(key)) >>> 0 }
  }

  /**
   * Adds (`before` undefined), changes, or removes (`after` undefined) an instance, with all keys
   * that follow from it. Adding and removing need `changeKeys` declared.
   */
  change(before: StoredRow | undefined, after: StoredRow | undefined): void {
    const row = (after ?? before) as StoredRow
    if (before && after) this.replace(rowKey(row.id), after)
    else if (after) this.insert(rowKey(row.id), after)
    else this.remove(rowKey(row.id))
    this.meta = { ...this.meta, rows: this.meta.rows + (after ? 1 : 0) - (before ? 1 : 0) }
    this.#moveStanding(before, after)
    this.#changeCopies(row, after)
    if (row.study !== '' && (!before || !after)) this.#changeStudy(row, after ? 1 : -1)
    this.changes.push({ before, after })
  }

  #moveStanding(before: StoredRow | undefined, after: StoredRow | undefined): void {
    const standing = (row: StoredRow | undefined): string[] =>
      row === undefined ? [] : row.deliveries.map((delivery) => standingKey(row, delivery)).filter((key) => key !== undefined)
    const old = standing(before)
    const now = standing(after)
    for (const key of old) if (!now.includes(key)) this.remove(key)
    for (const key of now) if (!old.includes(key)) this.insert(key, waitingOf(after as StoredRow))
  }

  #changeCopies(row: StoredRow, after: StoredRow | undefined): void {
    const key = copiesKey(row)
    const held = this.get<Copy[]>(key)
    const others = (held ?? []).filter((copy) => copy.id !== row.id)
    const copies = after ? [...others, copyOf(after)].slice(-LIMITS.versions) : others
    if (held === undefined && copies.length > 0) this.insert(key, copies)
    else if (held === undefined) return
    else if (copies.length > 0) this.replace(key, copies)
    else this.remove(key)
  }

  #changeStudy(row: StoredRow, by: 1 | -1): void {
    const key = studyKey(row)
    const held = this.get<StudyRow>(key)
    const instances = (held?.instances ?? 0) + by
    const study: StudyRow = {
      first: Math.min(held?.first ?? row.studyOrder, row.studyOrder),
      instances,
      bytes: (held?.bytes ?? 0) + by * row.bytes,
      firstAt: Math.min(held?.firstAt ?? row.receivedAt, row.receivedAt),
      lastAt: Math.max(held?.lastAt ?? row.receivedAt, row.receivedAt),
    }
    if (held === undefined) this.insert(key, study)
    else if (instances > 0) this.replace(key, study)
    else this.remove(key)
  }

  /** Everything that was written, with the meta row that vouches for it. */
  operations(): BatchOperation[] {
    const operations: BatchOperation[] = []
    for (const key of this.#written) {
      const value = this.#values.get(key)
      operations.push(value === undefined ? { type: 'del', key } : { type: 'put', key, value: encode(key, value) })
    }
    operations.push({ type: 'put', key: META, value: encode(META, this.meta) })
    return operations
  }
}

const waitingOf = ({ id, sopClass, transferSyntax }: StoredRow): Waiting => ({ id, sopClass, transferSyntax })

/** What a repetition is compared with; a destination a person discarded may be sent to again. */
export const copyOf = (row: StoredRow): Copy => ({
  id: row.id,
  version: row.version,
  digest: row.digest,
  transferSyntax: row.transferSyntax,
  to: row.deliveries.filter((delivery) => !delivery.discarded).map((delivery) => delivery.destination),
})

/** The keys a change of this instance reads. */
export const changeKeys = (of: { id: string; tenant: string; sopInstance: string; study: string }): string[] =>
  of.study === '' ? [rowKey(of.id), copiesKey(of)] : [rowKey(of.id), copiesKey(of), studyKey(of)]
