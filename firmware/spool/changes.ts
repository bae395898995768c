/**
 * Every change an instance can undergo, as a function over a View. Pure but for the view; each
 * applied twice does the same as once, because after an error of the disk it is applied again.
 * States move only by `nextState` of domain/instance.ts.
 */
import type { ObjectId } from '../domain/identifier.ts'
import { nextState } from '../domain/instance.ts'
import type { InstanceEvent, InstanceState } from '../domain/instance.ts'
import { LIMITS } from '../domain/limits.ts'
import type { Target } from '../domain/route.ts'
import type { CommitOutcome, ObjectFacts, Outcome, Receipt, Slot } from '../domain/spool.ts'
import type { Copy, StoredDelivery, StoredRow, StudyRow } from './rows.ts'
import { copiesKey, endedKey, expiryKey, graveKey, isDue, receiptKey, rowKey, studyKey } from './rows.ts'
import { changeKeys, copyOf } from './view.ts'
import type { View } from './view.ts'

const walk = (state: InstanceState, events: readonly InstanceEvent[]): InstanceState => events.reduce(nextState, state)

/** What a file keeps of its key. */
export type Sealing = Pick<Slot, 'cipher' | 'keyId' | 'wrappedKey'>

/** No route leads anywhere: the instance is kept and held under this name until one does. */
export const UNROUTED = 'unrouted'

export interface Arrival {
  readonly facts: ObjectFacts
  readonly sealing: Sealing
  readonly targets: readonly Target[]
  readonly now: number
  readonly duplicateWindowMillis: number
  /** Ids whose bytes are known to be damaged or gone: this arrival may be what replaces them. */
  readonly unusable: readonly ObjectId[]
}

export const arrivalKeys = ({ facts, unusable }: Arrival): string[] => [...settleKeys(facts), ...unusable.map(rowKey)]

export interface Arrived {
  readonly outcome: CommitOutcome
  /** Damaged instances this one replaced, and which so have ended. */
  readonly ended: readonly ObjectId[]
}

/** The bytes are durable in their file; makes them an instance, or recognises them. */
export function arrive(view: View, arrival: Arrival): Arrived {
  const { facts, targets, now } = arrival
  const there = view.get<StoredRow>(rowKey(facts.id))
  if (there) return { outcome: { kind: 'queued', version: there.version }, ended: [] }
  const live = (view.get<Copy[]>(copiesKey(facts)) ?? []).filter((copy) => !arrival.unusable.includes(copy.id))
  // Beyond the window: remembered under a clock that was wrong, and would be for years.
  const lasting = ({ until = 0 }: Copy): boolean => until > now && until <= now + arrival.duplicateWindowMillis
  const ended = (view.get<Copy[]>(endedKey(facts)) ?? []).filter(lasting)
  const known = [...live, ...ended]
  const same = known.filter((copy) => copy.digest === facts.digest && copy.transferSyntax === facts.transferSyntax)
  // A route may have been added since: what the earlier copy does not go to, this one goes to.
  const left = targets.filter(({ destination }) => !same.some((copy) => copy.to.includes(destination)))
  if (same[0] && left.length === 0) return { outcome: { kind: 'duplicate', of: same[0].id }, ended: [] }
  const replaced = arrival.unusable
    .map((id) => view.get<StoredRow>(rowKey(id)))
    .filter((row) => row !== undefined && row.digest === facts.digest && row.transferSyntax === facts.transferSyntax) as StoredRow[]
  const version = same[0]?.version ?? replaced[0]?.version ?? 1 + Math.max(0, ...known.map((copy) => copy.version))
  view.change(undefined, rowOf(view, arrival, left, version))
  return { outcome: { kind: 'queued', version }, ended: replaced.filter((row) => replace(view, row, left, facts.id, now)).map((row) => row.id) }
}

/** What was held because the disk spoilt it has come again, whole. @returns whether nothing is left of the old one */
function replace(view: View, row: StoredRow, targets: readonly Target[], by: ObjectId, now: number): boolean {
  let settled: Settled = { row, ended: false }
  for (const { destination } of targets) {
    const delivery = settled.row && deliveryTo(settled.row, destination)
    if (!settled.row || delivery?.state !== 'held') continue
    const gone: StoredDelivery = { ...delivery, state: nextState('held', 'discard'), discarded: true }
    settled = end(view, settled.row, gone, { end: 'discarded', reason: `came again as ${by}` }, { now, duplicateWindowMillis: 0 })
  }
  return settled.ended
}

function rowOf(view: View, { facts, sealing }: Arrival, targets: readonly Target[], version: number): StoredRow {
  const sequence = view.meta.sequence + 1
  view.meta = { ...view.meta, sequence }
  const study = facts.study === '' ? undefined : view.get<StudyRow>(studyKey(facts))
  const { id, tenant, sopClass, sopInstance, transferSyntax, source, receivedAt, bytes, digest, series } = facts
  return {
    id, tenant, sopClass, sopInstance, transferSyntax, source, receivedAt, bytes, digest, study: facts.study, series,
    sequence,
    version,
    studyOrder: study?.first ?? sequence,
    cipher: sealing.cipher,
    keyId: sealing.keyId,
    wrappedKey: sealing.wrappedKey,
    deliveries: deliveriesTo(targets),
  }
}

const deliveriesTo = (targets: readonly Target[]): StoredDelivery[] => {
  const state = nextState('receiving', 'durable')
  if (targets.length === 0)
    return [{ destination: UNROUTED, state: walk(state, ['leased', 'rejected']), priority: 'normal', attempts: 0, notBefore: 0, code: 'ROUTE_MISSING' }]
  return targets.map(({ destination, priority }) => ({ destination, state, priority, attempts: 0, notBefore: 0 }))
}

const withDelivery = (row: StoredRow, delivery: StoredDelivery): StoredRow => ({
  ...row,
  deliveries: row.deliveries.map((one) => (one.destination === delivery.destination ? delivery : one)),
})

const deliveryTo = (row: StoredRow, destination: string): StoredDelivery | undefined =>
  row.deliveries.find((one) => one.destination === destination)

/** The fields of a delivery that say why, cut to a bound; absent ones stay absent. */
const because = (reason: { code?: string | undefined; detail?: string | undefined }): { code?: string; detail?: string } => ({
  ...(reason.code === undefined ? {} : { code: reason.code }),
  ...(reason.detail === undefined ? {} : { detail: reason.detail.slice(0, LIMITS.reasonChars) }),
})

export interface Ending {
  readonly now: number
  readonly duplicateWindowMillis: number
}

/** What became of the instance as a whole. */
export interface Settled {
  /** undefined: it was settled already, and is gone. */
  readonly row: StoredRow | undefined
  /** All deliveries have ended; the file may be unlinked. */
  readonly ended: boolean
}

export const settleKeys = (facts: ObjectFacts): string[] => [...changeKeys(facts), endedKey(facts)]

/** @param attempts of the lease: tells whether this settlement is written already */
export function settle(view: View, of: { id: ObjectId; destination: string; attempts: number }, outcome: Outcome, notBefore: number, ending: Ending): Settled {
  const row = view.get<StoredRow>(rowKey(of.id))
  const delivery = row && deliveryTo(row, of.destination)
  if (!row || !delivery || delivery.state !== 'queued' || delivery.attempts !== of.attempts) return { row, ended: row === undefined }
  const leased = nextState(delivery.state, 'leased')
  const { destination, priority } = delivery
  const attempts = delivery.attempts + 1
  if (outcome.event === 'stored') {
    // The route's proof is the next hop's own Success: proven and released with it.
    const state = walk(leased, ['stored', 'proven', 'released'])
    return end(view, row, { destination, priority, state, attempts, notBefore: 0 }, { end: 'delivered', ...answerOf(outcome) }, ending)
  }
  const state = nextState(leased, outcome.event)
  const after = withDelivery(row, { destination, priority, state, attempts, notBefore: state === 'queued' ? notBefore : 0, ...because(outcome) })
  view.change(row, after)
  return { row: after, ended: false }
}

const answerOf = ({ hop, status, sentAs }: Outcome): Pick<Receipt, 'hop' | 'status' | 'sentAs'> => ({
  ...(hop === undefined ? {} : { hop }),
  ...(status === undefined ? {} : { status }),
  ...(sentAs === undefined ? {} : { sentAs }),
})

/** Writes the receipt of one delivery, and with the last one removes the instance. */
function end(view: View, row: StoredRow, delivery: StoredDelivery, how: Pick<Receipt, 'end' | 'hop' | 'status' | 'sentAs' | 'reason'>, ending: Ending): Settled {
  const { id, tenant, sopClass, sopInstance, study, transferSyntax, digest, bytes, version, receivedAt } = row
  const endedAt = ending.now
  const receipt: Receipt = { id, tenant, sopClass, sopInstance, study, transferSyntax, digest, bytes, version, receivedAt, endedAt, destination: delivery.destination, ...how }
  view.replace(receiptKey(endedAt, id, delivery.destination), receipt)
  if (how.end === 'delivered') view.meta = { ...view.meta, delivered: view.meta.delivered + 1, deliveredBytes: view.meta.deliveredBytes + bytes }
  const after = withDelivery(row, delivery)
  if (after.deliveries.some((one) => one.state !== 'removed')) {
    view.change(row, after)
    return { row: after, ended: false }
  }
  view.change(row, undefined)
  // Says, until the file is gone, that this file is not one whose row was lost.
  view.insert(graveKey(id), 0)
  remember(view, after, ending)
  return { row: after, ended: true }
}

/** For the window after delivery a repetition is still a duplicate. */
function remember(view: View, row: StoredRow, { now, duplicateWindowMillis }: Ending): void {
  const copy = copyOf(row)
  if (copy.to.length === 0 || duplicateWindowMillis <= 0) return
  const until = now + duplicateWindowMillis
  const others = (view.get<Copy[]>(endedKey(row)) ?? []).filter((one) => one.id !== row.id && (one.until ?? 0) > now)
  view.replace(endedKey(row), [...others, { ...copy, until }].slice(-LIMITS.versions))
  view.replace(expiryKey(until, row), 0)
}

/** A person, or a refused presentation context, changes a delivery nobody holds a lease on. */
export type Intervention =
  | { readonly kind: 'hold'; readonly code: string; readonly detail?: string | undefined }
  /** `targets`: where it may go instead, if its own destination is not there (any more). */
  | { readonly kind: 'retry'; readonly targets?: readonly Target[] | undefined }
  | { readonly kind: 'discard'; readonly reason: string }

/** @returns whether there was anything to do, and what became of the instance */
export function intervene(view: View, id: ObjectId, destination: string, what: Intervention, ending: Ending): Settled & { done: boolean } {
  const row = view.get<StoredRow>(rowKey(id))
  const delivery = row && deliveryTo(row, destination)
  if (!row || !delivery) return { row, ended: false, done: false }
  const untouched = { row, ended: false, done: false }
  if (what.kind === 'discard') {
    if (delivery.state !== 'held' && delivery.state !== 'queued') return untouched
    const state = nextState(delivery.state, 'discard')
    const { attempts, priority } = delivery
    const gone: StoredDelivery = { destination, priority, state, attempts, notBefore: 0, discarded: true }
    return { ...end(view, row, gone, { end: 'discarded', reason: what.reason.slice(0, LIMITS.reasonChars) }, ending), done: true }
  }
  const after = what.kind === 'hold' ? held(row, delivery, what) : retried(row, delivery, what.targets)
  if (!after) return untouched
  view.change(row, after)
  return { row: after, ended: false, done: true }
}

function held(row: StoredRow, delivery: StoredDelivery, why: { code: string; detail?: string | undefined }): StoredRow | undefined {
  if (delivery.state !== 'queued') return undefined
  const state = walk(delivery.state, ['leased', 'rejected'])
  return withDelivery(row, { ...delivery, state, notBefore: 0, ...because(why) })
}

function retried(row: StoredRow, delivery: StoredDelivery, targets: readonly Target[] | undefined): StoredRow | undefined {
  const { destination, priority, attempts } = delivery
  if (targets && delivery.state === 'held') {
    const added = targets.filter((target) => !deliveryTo(row, target.destination))
    if (added.length === 0) return undefined
    return { ...row, deliveries: [...row.deliveries.filter((one) => one !== delivery), ...deliveriesTo(added)] }
  }
  if (delivery.state === 'held') return withDelivery(row, { destination, priority, attempts, notBefore: 0, state: nextState(delivery.state, 'retry') })
  // One that waits for its next attempt is due now.
  if (delivery.state === 'queued' && delivery.notBefore > 0) return withDelivery(row, { ...delivery, notBefore: 0 })
  return undefined
}

/** A delayed delivery has become due. */
export function promote(view: View, id: ObjectId, destination: string, now: number): void {
  const row = view.get<StoredRow>(rowKey(id))
  const delivery = row && deliveryTo(row, destination)
  if (!row || !delivery || delivery.state !== 'queued' || delivery.notBefore === 0 || !isDue(delivery.notBefore, now)) return
  view.change(row, withDelivery(row, { ...delivery, notBefore: 0 }))
}

/** The window after delivery is over. */
export function expire(view: View, key: string, endedRowKey: string, now: number): void {
  view.replace(key, undefined)
  const copies = view.get<Copy[]>(endedRowKey)
  if (!copies) return
  const left = copies.filter((copy) => (copy.until ?? 0) > now)
  view.replace(endedRowKey, left.length > 0 ? left : undefined)
}

/** A row as it was written before, into an index that is being made anew. */
export function restore(view: View, row: StoredRow): void {
  if (view.get<StoredRow>(rowKey(row.id))) return
  view.change(undefined, row)
  view.meta = { ...view.meta, sequence: Math.max(view.meta.sequence, row.sequence) }
}

/** The tenant is erased: no receipt, nothing to remember. */
export function erase(view: View, row: StoredRow): void {
  const there = view.get<StoredRow>(rowKey(row.id))
  if (!there) return
  view.change(there, undefined)
  view.insert(graveKey(row.id), 0)
}
