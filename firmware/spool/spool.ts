/**
 * The durable queue as the supervisor holds it: prepared slots, the index, leases, receipts.
 *
 * Write order of an instance, and what a power loss after each step leaves:
 *
 * 1. the supervisor creates empty files and syncs their folder   → empty files, removed at start
 * 2. the worker writes the object and calls fdatasync            → a complete file without a row:
 *    its trailer proves it complete, it is taken in (the sender was not answered and sends again;
 *    the repetition is recognised)
 * 3. the index batch with sync                                   → queued
 * 4. the sender is answered
 *
 * and of its end: receipt, removal of the row and a grave in one synced batch → unlink → the grave
 * is closed. A file with a grave is unlinked at start, whatever it contains.
 *
 * There is no rename and no sync of a folder between the first byte and the answer: the folder's
 * entry was durable before, and a file is complete if and only if its trailer verifies.
 */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { ErrorCode } from '../domain/errors.ts'
import { Fault } from '../domain/errors.ts'
import type { ObjectId } from '../domain/identifier.ts'
import { LIMITS } from '../domain/limits.ts'
import type { Limits } from '../domain/limits.ts'
import type { Log } from '../domain/log.ts'
import type { Target } from '../domain/route.ts'
import type { CommitOutcome, InstanceRow, Lease, ObjectFacts, Outcome, Receipt, Slot } from '../domain/spool.ts'
import { Alarms } from './alarms.ts'
import type { Alarm } from './alarms.ts'
import { UNROUTED, arrivalKeys, arrive, settle, settleKeys } from './changes.ts'
import type { Ending } from './changes.ts'
import { eraseRows, eraseTraces } from './erasure.ts'
import { ObjectFiles } from './files.ts'
import { Interventions } from './interventions.ts'
import { KeyRing } from './keys.ts'
import { Leases } from './leases.ts'
import { Ledger } from './ledger.ts'
import { listReceipts, listRows, listStudies, shown } from './listing.ts'
import type { ListQuery, Listed, ReceiptQuery, Study } from './listing.ts'
import { GONE, examine } from './reconcile.ts'
import type { StoredRow } from './rows.ts'
import { decode, rowKey } from './rows.ts'
import { Slots } from './slots.ts'
import { entriesUnder, keysUnder } from './survey.ts'
import type { WaitingContext } from './tally.ts'
import { faultOf } from './trouble.ts'
import { Upkeep } from './upkeep.ts'
import type { RowChange } from './view.ts'
import { WaterGauge } from './water.ts'
import type { Water, WaterOptions } from './water.ts'

export interface SpoolOptions {
  /** The spool's own directory; made if absent. */
  readonly directory: string
  /** Milliseconds since 1970, UTC. */
  readonly clock: { now(): number }
  readonly cipher: Slot['cipher']
  /** Where what was found without a row goes. */
  readonly targets: (listener: string, tenant: string) => readonly Target[]
  readonly water: WaterOptions
  /** How long after delivery a repetition is answered as a duplicate. */
  readonly duplicateWindowMillis: number
  readonly receiptsMillis: number
  readonly limits?: Limits
  readonly log: Log
}

export interface DestinationCounts {
  readonly queued: number
  readonly forwarding: number
  readonly held: number
  /** Plain bytes of what is queued or forwarding. */
  readonly bytes: number
  /** Arrival of the oldest that is queued or forwarding, to the minute; 0 = none. */
  readonly oldest: number
}

export interface Totals {
  readonly instances: number
  readonly bytes: number
  /** Deliveries since the index was made. */
  readonly delivered: number
  readonly deliveredBytes: number
  /** Deliveries since this process opened the spool. */
  readonly deliveredSinceStart: number
  readonly deliveredBytesSinceStart: number
}

export interface Verified {
  readonly sound: number
  readonly damaged: number
}

const UPKEEP_MILLIS = 30_000

export class Spool {
  readonly #options: SpoolOptions
  readonly #files: ObjectFiles
  readonly #keys: KeyRing
  readonly #slots: Slots
  readonly #ledger: Ledger
  readonly #leases: Leases
  readonly #interventions: Interventions
  readonly #upkeep: Upkeep
  readonly #gauge: WaterGauge
  readonly #alarms = new Alarms()
  readonly #watchers: ((destination: string) => void)[] = []
  #startedWith = { delivered: 0, deliveredBytes: 0 }
  #quarantined = 0
  #timer: NodeJS.Timeout | undefined
  #closed = false

  /**
   * Ready when index and files agree. A damaged index is made anew; that is an alarm, not an error.
   * @throws the error of the disk; Error when a tenant's key file is damaged or another process holds the index
   */
  static async open(options: SpoolOptions): Promise<Spool> {
    await mkdir(options.directory, { recursive: true, mode: 0o700 })
    const spool = new Spool(options, await ObjectFiles.open(options.directory), await KeyRing.open(join(options.directory, 'keys')))
    await spool.#ledger.open()
    const { delivered, deliveredBytes } = spool.#ledger.meta
    spool.#startedWith = { delivered, deliveredBytes }
    spool.#timer = setInterval(() => void spool.upkeep(), UPKEEP_MILLIS).unref()
    return spool
  }

  private constructor(options: SpoolOptions, files: ObjectFiles, keys: KeyRing) {
    const { directory, log, targets } = options
    const now = (): number => options.clock.now()
    const bury = (id: ObjectId): void => this.#upkeep.bury(id)
    this.#options = options
    this.#files = files
    this.#keys = keys
    this.#slots = new Slots({ files, keys, cipher: options.cipher, slots: (options.limits ?? LIMITS).slots, now })
    this.#gauge = new WaterGauge(options.water, now)
    this.#ledger = new Ledger({
      directory, files, targets, now, log, bury,
      keyOf: keys.unwrap,
      isSlot: (id) => this.#slots.has(id),
      written: (changes) => this.#written(changes),
      replaced: () => this.#leases.forgetFronts(),
      missing: (row) => this.#interventions.holdObject(row, 'OBJECT_MISSING', ''),
      reconciled: () => this.#reconciled(),
    })
    this.#upkeep = new Upkeep({ ledger: this.#ledger, files, now, log, receiptsMillis: options.receiptsMillis })
    this.#leases = new Leases({
      ledger: this.#ledger,
      keys,
      pathOf: (id) => files.pathOf(id),
      now,
      unreadable: (row) => void this.#interventions.holdObject(row, 'OBJECT_DAMAGED', 'its key is gone').catch((error: unknown) => this.#ledger.readFailed(error)),
    })
    const wake = (destination: string): void => this.#wake(destination)
    this.#interventions = new Interventions({ ledger: this.#ledger, leases: this.#leases, ending: () => this.#ending(), targets, bury, wake })
  }

  // ---- arrival

  /**
   * A prepared file for one instance.
   * @throws Fault SPOOL_FULL above the high-water mark, until below the low one; DISK_FAILED
   */
  async slot(tenant: string): Promise<Slot> {
    if (this.#ledger.failure) throw this.#ledger.failure
    const water = await this.#gauge.look(this.#ledger.tally.bytes)
    if (water.full) throw new Fault('SPOOL_FULL', { percent: water.percent })
    try {
      return await this.#slots.take(tenant)
    } catch (error) {
      throw faultOf(error)
    }
  }

  /** Unused, or written to and given up: nobody may write to it any more. */
  giveBack(id: ObjectId): void {
    this.#slots.giveBack(id).catch((error: unknown) => this.#options.log.warn('unlink-failed', { id, detail: (error as Error).message }))
  }

  /**
   * The worker has the bytes on stable storage; resolves when the index has them too.
   * Safe to repeat for the same id. Never rejects for reasons of the disk: that is `refused`.
   */
  async commit(facts: ObjectFacts, targets: readonly Target[]): Promise<CommitOutcome> {
    const slot = this.#slots.get(facts.id)
    if (!slot) return this.#committedBefore(facts)
    if (slot.tenant !== facts.tenant) throw new Error(`spool: slot ${facts.id} is not of tenant ${facts.tenant}`)
    if (targets.length === 0) {
      this.giveBack(facts.id)
      return { kind: 'refused', code: 'ROUTE_MISSING' }
    }
    const arrival = { facts, sealing: slot, targets, ...this.#ending(), unusable: this.#ledger.tally.unusable(facts) }
    try {
      const { outcome, ended } = await this.#ledger.transact({ keys: arrivalKeys(arrival), impatient: true, apply: (view) => arrive(view, arrival) })
      for (const id of ended) this.#upkeep.bury(id)
      if (outcome.kind === 'duplicate') this.giveBack(facts.id)
      else {
        this.#slots.committed(facts.id)
        this.#gauge.add(facts.bytes)
      }
      return outcome
    } catch (error) {
      // Whether the row is there only the next opening shows. So the file stays: with a row it is
      // an instance, without one it is found complete and taken in. Either is right, since the
      // sender keeps its copy and a repetition is recognised.
      this.#slots.committed(facts.id)
      return { kind: 'refused', code: error instanceof Fault ? error.code : 'DISK_FAILED' }
    }
  }

  /** A repetition, or a worker that outlived the supervisor which gave it the slot. */
  async #committedBefore(facts: ObjectFacts): Promise<CommitOutcome> {
    const row = await this.#ledger.row(facts.id).catch(() => undefined)
    if (row && row.digest === facts.digest && row.tenant === facts.tenant) return { kind: 'queued', version: row.version }
    return { kind: 'refused', code: 'SUPERVISOR_GONE' }
  }

  // ---- forwarding

  /** Up to `count` leases in the order to send: priority, then study by first arrival, then arrival. */
  async lease(destination: string, count: number): Promise<Lease[]> {
    if (this.#ledger.failure) return []
    try {
      return await this.#leases.take(destination, count)
    } catch (error) {
      this.#ledger.readFailed(error)
      return []
    }
  }

  /** When the next delayed one of a destination is due, milliseconds since 1970; 0 = none is delayed. */
  async nextDue(destination: string): Promise<number> {
    if (this.#ledger.failure) return 0
    return this.#leases.nextDue(destination).catch((error: unknown) => (this.#ledger.readFailed(error), 0))
  }

  /**
   * Ends a lease. `stored`: receipt, and with the last delivery the instance is removed.
   * `refused`: queued again, not before `notBefore` (milliseconds since 1970, 0 = at once).
   * `rejected`: held. `lease-lost`: queued again, counted as an attempt.
   * @returns the facts; undefined when there was no such lease: nothing was changed
   */
  async settle(id: ObjectId, destination: string, outcome: Outcome, notBefore = 0): Promise<ObjectFacts | undefined> {
    const lease = this.#leases.get(id, destination)
    if (!lease) return undefined
    const { facts, attempts } = lease
    const settled = await this.#ledger.transact({
      keys: settleKeys(facts),
      apply: (view) => settle(view, { id, destination, attempts }, outcome, notBefore, this.#ending()),
    })
    this.#leases.release(id, destination)
    if (settled.ended) this.#upkeep.bury(id)
    // `written` told before the lease was free: what came back at once must be told again.
    if (outcome.event !== 'stored' && outcome.event !== 'rejected' && notBefore === 0) this.#wake(destination)
    return facts
  }

  /** Forgets leases without counting an attempt. */
  loseLeases(which: (lease: Lease) => boolean): void {
    for (const lease of this.#leases.all())
      if (which(lease) && this.#leases.release(lease.id, lease.destination)) this.#wake(lease.destination)
  }

  /** Called when something of a destination may be sent that could not before. */
  onQueued(callback: (destination: string) => void): void {
    this.#watchers.push(callback)
  }

  // ---- a person, or a refused presentation context

  /** Holds whatever waits for a destination in this presentation context. @returns how many */
  hold(destination: string, context: { sopClass: string; transferSyntax: string }, why: { code: ErrorCode; detail?: string }): Promise<number> {
    return this.#ledger.reading(() => this.#interventions.holdContext(destination, context, why))
  }

  /**
   * Queues held deliveries again: of one instance, of one destination, or all. A delivery of the
   * named instance that waits for its next attempt becomes due at once. @returns how many
   */
  async retry({ id, destination }: { id?: ObjectId | undefined; destination?: string | undefined }): Promise<number> {
    if (id !== undefined) return this.#ledger.reading(() => this.#interventions.ofInstance(id, destination, this.#interventions.retrying))
    let count = 0
    for (const one of destination === undefined ? this.#ledger.tally.destinations() : [destination]) count += await this.#ledger.reading(() => this.#interventions.retryHeld(one))
    return count
  }

  /** Gives up queued or held deliveries of one instance; what is being sent stays. @returns how many */
  discard(id: ObjectId, destination: string | undefined, reason: string): Promise<number> {
    return this.#ledger.reading(() => this.#interventions.ofInstance(id, destination, () => ({ kind: 'discard', reason })))
  }

  // ---- looking

  countsOf(destination: string): DestinationCounts {
    const lane = this.#ledger.tally.lane(destination)
    const forwarding = this.#leases.count(destination)
    return { queued: Math.max(0, lane.queued - forwarding), forwarding, held: lane.held, bytes: lane.bytes, oldest: this.#ledger.tally.oldest(destination) }
  }

  /** Every destination that has, or since the start had, something in the spool. */
  counts(): Record<string, DestinationCounts> {
    return Object.fromEntries(this.#ledger.tally.destinations().map((destination) => [destination, this.countsOf(destination)]))
  }

  totals(): Totals {
    const { delivered, deliveredBytes } = this.#ledger.meta
    return {
      instances: this.#ledger.tally.instances,
      bytes: this.#ledger.tally.bytes,
      delivered,
      deliveredBytes,
      deliveredSinceStart: delivered - this.#startedWith.delivered,
      deliveredBytesSinceStart: deliveredBytes - this.#startedWith.deliveredBytes,
    }
  }

  water(): Water {
    return this.#gauge.water
  }

  /** What waits for a destination, delayed and leased included, by presentation context. */
  waitingContexts(destination: string): WaitingContext[] {
    return this.#ledger.tally.contexts(destination)
  }

  /** @throws Fault while the index is being reopened */
  async list(query: ListQuery = {}): Promise<Listed> {
    return this.#ledger.reading(() => listRows(this.#ledger.database, query, this.#leases))
  }

  async show(id: ObjectId): Promise<InstanceRow | undefined> {
    const row = await this.#ledger.reading(() => this.#ledger.row(id))
    return row && shown(row, this.#leases)
  }

  /** Newest first. */
  async receipts(query: ReceiptQuery = {}): Promise<Receipt[]> {
    return this.#ledger.reading(() => listReceipts(this.#ledger.database, query))
  }

  async studies(query: { tenant?: string | undefined; limit?: number | undefined } = {}): Promise<Study[]> {
    return this.#ledger.reading(() => listStudies(this.#ledger.database, query))
  }

  /** What is needed to read objects (verify, export), in the order of ids; gives no permission to send. */
  async objects(query: { tenant?: string | undefined; after?: ObjectId | undefined; limit?: number | undefined } = {}): Promise<Lease[]> {
    const leases: Lease[] = []
    const limit = Math.min(query.limit ?? 100, LIMITS.listRows)
    for await (const [key, stored] of entriesUnder(this.#ledger.database, 'i/', query.after === undefined ? undefined : rowKey(query.after))) {
      const row = decode<StoredRow>(key, stored)
      const lease = row && (query.tenant === undefined || row.tenant === query.tenant) ? this.#leases.leaseToRead(row, '', 0) : undefined
      if (lease) leases.push(lease)
      if (leases.length >= limit) break
    }
    return leases
  }

  alarms(): Alarm[] {
    return this.#alarms.of(this.#ledger, this.water(), this.#quarantined, this.#options.clock.now())
  }

  // ---- upkeep

  /** Reads every object and compares it with its digest; holds what is damaged or gone. */
  async verify(progress: (done: Verified) => void = () => undefined): Promise<Verified> {
    const done = { sound: 0, damaged: 0 }
    for await (const id of keysUnder(this.#ledger.database, 'i/')) {
      const row = await this.#ledger.row(id.slice(2))
      if (!row || row.deliveries.some((one) => this.#leases.get(row.id, one.destination))) continue
      const state = await examine({ id: row.id, path: this.#files.pathOf(row.id) }, this.#keys.unwrap, true)
      const sound = state.kind === 'complete' && state.facts.digest === row.digest && state.facts.bytes === row.bytes
      // It may have been delivered and unlinked while it was read.
      if (sound) done.sound += 1
      else if (await this.#ledger.row(row.id)) {
        done.damaged += 1
        const reason = state.kind === 'complete' ? 'digest' : state.reason
        await this.#interventions.holdObject(row, reason === GONE ? 'OBJECT_MISSING' : 'OBJECT_DAMAGED', reason)
      }
      progress({ ...done })
    }
    return done
  }

  /** Makes the index anew from the object files and what verifies of the old one. */
  rebuild(): Promise<void> {
    return this.#ledger.rebuild()
  }

  /** Erases everything of a tenant, beginning with its key. @returns instances erased */
  async eraseTenant(tenant: string): Promise<number> {
    await this.#keys.erase(tenant)
    await this.#slots.erase(tenant)
    this.loseLeases((lease) => lease.facts.tenant === tenant)
    const count = await eraseRows(this.#ledger, tenant, (id) => this.#upkeep.bury(id))
    await eraseTraces(this.#ledger, tenant)
    await this.#upkeep.settled()
    return count
  }

  /** Unlinks, forgets and sweeps what is due; runs by itself twice a minute. */
  async upkeep(): Promise<void> {
    if (this.#ledger.failure || this.#closed) return
    try {
      await this.#upkeep.run()
      this.#quarantined = await this.#files.quarantined()
    } catch (error) {
      this.#ledger.readFailed(error)
    }
  }

  /** Finishes what was begun. Leases end; slots that were given out are settled by the next opening. */
  async close(): Promise<void> {
    this.#closed = true
    clearInterval(this.#timer)
    await this.#ledger.settled()
    if (!this.#ledger.failure) {
      await this.#upkeep.settled()
      await this.#slots.clear()
    }
    await this.#ledger.close()
  }

  // ---- what follows from a change

  #ending(): Ending {
    return { now: this.#options.clock.now(), duplicateWindowMillis: this.#options.duplicateWindowMillis }
  }

  #written(changes: readonly RowChange[]): void {
    const woken = new Set<string>()
    for (const change of changes) {
      this.#leases.written(change)
      if (change.before === undefined) for (const { destination } of change.after?.deliveries ?? []) if (destination !== UNROUTED) woken.add(destination)
    }
    for (const destination of woken) this.#wake(destination)
  }

  async #reconciled(): Promise<void> {
    this.#quarantined = await this.#files.quarantined()
    await this.#upkeep.run()
    for (const destination of this.#ledger.tally.destinations()) this.#wake(destination)
  }

  #wake(destination: string): void {
    for (const watcher of this.#watchers) watcher(destination)
  }
}
