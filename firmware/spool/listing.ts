/**
 * What a person may look at: instances, receipts, studies. Each answer is bounded.
 */
import type { ObjectId } from '../domain/identifier.ts'
import type { InstanceState } from '../domain/instance.ts'
import { LIMITS } from '../domain/limits.ts'
import type { Delivery, InstanceRow, Receipt } from '../domain/spool.ts'
import type { Database } from './database.ts'
import type { StoredRow, StudyRow } from './rows.ts'
import { after as afterPrefix, decode, heldPrefix, instanceOf, receiptKey, rowKey } from './rows.ts'
import { entriesUnder, paged } from './survey.ts'

export interface ListQuery {
  readonly state?: InstanceState | undefined
  readonly destination?: string | undefined
  readonly tenant?: string | undefined
  /** Goes on after this one. */
  readonly after?: ObjectId | undefined
  /** At most LIMITS.listRows. */
  readonly limit?: number | undefined
}

/** Which deliveries are leased, and so `forwarding`, is not in the index. */
export interface Leased {
  get(id: ObjectId, destination: string): unknown
  all(): readonly { readonly id: ObjectId }[]
}

export function shown(row: StoredRow, leased: Leased): InstanceRow {
  const isLeased = (one: Delivery): boolean => one.state === 'queued' && leased.get(row.id, one.destination) !== undefined
  return instanceOf({ ...row, deliveries: row.deliveries.map((one) => (isLeased(one) ? { ...one, state: 'forwarding' } : one)) })
}

const clamp = (limit: number | undefined): number => Math.max(1, Math.min(limit ?? 100, LIMITS.listRows))

export interface Listed {
  readonly rows: readonly InstanceRow[]
  /** Where to go on `after`; undefined at the end. */
  readonly next: ObjectId | undefined
}

/** In the order of ids. */
export async function listRows(database: Database, query: ListQuery, leased: Leased): Promise<Listed> {
  const limit = clamp(query.limit)
  const rows: InstanceRow[] = []
  for await (const row of candidates(database, query, leased)) {
    const instance = shown(row, leased)
    if (matches(instance, query)) rows.push(instance)
    if (rows.length >= limit) return { rows, next: row.id }
  }
  return { rows, next: undefined }
}

async function* candidates(database: Database, query: ListQuery, leased: Leased): AsyncGenerator<StoredRow> {
  const ids = idsOf(database, query, leased)
  if (ids) {
    for await (const id of ids) {
      const stored = await database.get(rowKey(id))
      const row = stored === undefined ? undefined : decode<StoredRow>(rowKey(id), stored)
      if (row) yield row
    }
    return
  }
  const from = rowKey(query.after ?? '')
  for await (const [key, stored] of paged(database.iterator({ gt: from, lt: afterPrefix('i/'), fillCache: false }))) {
    const row = decode<StoredRow>(key, stored)
    if (row) yield row
  }
}

/** Where it is known which to look at: a page that asks every second must not read all rows. */
function idsOf(database: Database, query: ListQuery, leased: Leased): AsyncIterable<ObjectId> | Iterable<ObjectId> | undefined {
  const beyond = query.after ?? ''
  if (query.state === 'forwarding') return [...new Set(leased.all().map((lease) => lease.id))].filter((id) => id > beyond).sort()
  if (query.state === 'held' && query.destination !== undefined) return heldIds(database, heldPrefix(query.destination), beyond)
  return undefined
}

async function* heldIds(database: Database, prefix: string, beyond: ObjectId): AsyncGenerator<ObjectId> {
  for await (const key of paged(database.keys({ gt: prefix + beyond, lt: afterPrefix(prefix) }))) yield key.slice(prefix.length)
}

const matches = (row: InstanceRow, query: ListQuery): boolean =>
  (query.tenant === undefined || row.tenant === query.tenant) &&
  row.deliveries.some(
    (one) => (query.destination === undefined || one.destination === query.destination) && (query.state === undefined || one.state === query.state),
  )

export interface ReceiptQuery {
  readonly tenant?: string | undefined
  readonly destination?: string | undefined
  readonly sopInstance?: string | undefined
  /** Goes on with older ones after this one. */
  readonly after?: Pick<Receipt, 'endedAt' | 'id' | 'destination'> | undefined
  /** At most LIMITS.listRows. */
  readonly limit?: number | undefined
}

/** Newest first; a search looks at the newest LIMITS.searchedRows after `after`. */
export async function listReceipts(database: Database, query: ReceiptQuery): Promise<Receipt[]> {
  const limit = clamp(query.limit)
  const receipts: Receipt[] = []
  const before = query.after ? receiptKey(query.after.endedAt, query.after.id, query.after.destination) : afterPrefix('r/')
  let looked = 0
  for await (const [key, stored] of paged(database.iterator({ gt: 'r/', lt: before, reverse: true, fillCache: false }))) {
    const receipt = decode<Receipt>(key, stored)
    const wanted =
      receipt &&
      (query.tenant === undefined || receipt.tenant === query.tenant) &&
      (query.destination === undefined || receipt.destination === query.destination) &&
      (query.sopInstance === undefined || receipt.sopInstance === query.sopInstance)
    if (wanted) receipts.push(receipt)
    if (receipts.length >= limit || (looked += 1) >= LIMITS.searchedRows) break
  }
  return receipts
}

export interface Study extends Omit<StudyRow, 'first'> {
  readonly tenant: string
  readonly study: string
}

export interface StudyQuery {
  readonly tenant?: string | undefined
  /** At most LIMITS.listRows. */
  readonly limit?: number | undefined
}

/** Studies of which something is in the spool, by tenant and UID. */
export async function listStudies(database: Database, query: StudyQuery): Promise<Study[]> {
  const studies: Study[] = []
  const limit = clamp(query.limit)
  for await (const [key, stored] of entriesUnder(database, query.tenant === undefined ? 's/' : `s/${query.tenant}/`)) {
    const row = decode<StudyRow>(key, stored)
    if (!row) continue
    const [, tenant = '', study = ''] = key.split('/')
    const { instances, bytes, firstAt, lastAt } = row
    studies.push({ tenant, study, instances, bytes, firstAt, lastAt })
    if (studies.length >= limit) break
  }
  return studies
}
