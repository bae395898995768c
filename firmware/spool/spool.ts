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
import { Fault, causeOf } from '../domain/errors.ts'
import type { ObjectId } from '../domain/identifier.ts'
import { LIMITS } from '../domain/limits.ts'
import type { Limits } from '../domain/limits.ts'
import type { Log } from '../domain/log.ts'
import type { Target } from '../domain/route.ts'
import type { CommitOutcome, InstanceRow, Lease, ObjectFacts, Outcome, Receipt, Slot } from '../domain/spool.ts'
import { UNROUTED, arrivalKeys, arrive, erase, intervene, settle, settleKeys } from './changes.ts'
import type { Ending, Intervention, Settled } from './changes.ts'
import { ObjectFiles } from './files.ts'
import { Index, faultOf, isUnreadable } from './index.ts'
import { KeyRing } from './keys.ts'
import { Leases } from './leases.ts'
import { listReceipts, listRows, listStudies, shown } from './listing.ts'
import type { ListQuery, Listed, ReceiptQuery, Study } from './listing.ts'
import { abreast, adopt, examine, fillFrom } from './reconcile.ts'
import type { Ground } from './reconcile.ts'
import { endWitness, openIndex, setAside, setAsideAt } from './recovery.ts'
import type { Opened } from './recovery.ts'
import type { StoredRow, Waiting } from './rows.ts'
import { after, decode, graveKey, heldPrefix, laterPrefix, queuePrefix, rowKey } from './rows.ts'
import { Slots } from './slots.ts'
import { entriesUnder, keysUnder } from './survey.ts'
import { Tally } from './tally.ts'
import type { WaitingContext } from './tally.ts'
import { Upkeep } from './upkeep.ts'
import { IndexDamaged, changeKeys } from './view.ts'
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

export interface Alarm {
  readonly code: ErrorCode
  readonly since: number
  readonly count: number
  readonly sentence: string
}

export interface Verified {
  readonly sound: number
  readonly damaged: number
}

const UPKEEP_MILLIS = 30_000
/** Openings that fail to read before the index counts as damaged. */
const UNREADABLE_TIMES = 3
/** An index that was made anew is told for so long. */
const DAMAGE_TOLD_MILLIS = 7 * 24 * 3_600_000

export class Spool {
  readonly #options: SpoolOptions
  readonly #files: ObjectFiles
  readonly #keys: KeyRing
  readonly #slots: Slots
  readonly #leases: Leases
  readonly #upkeep: Upkeep
  readonly #gauge: WaterGauge
  readonly #ground: Ground
  readonly #watchers: ((destination: string) => void)[] = []
  readonly #alarmSince = new Map<ErrorCode, number>()
  #index!: Index
  #tally = new Tally()
  #startedWith = { delivered: 0, deliveredBytes: 0 }
  #rebuiltAt: number[] = []
  #quarantined = 0
  #reconciling: Promise<void> = Promise.resolve()
  #timer: NodeJS.Timeout | undefined
  #closed = false
  #unreadable = 0

  /**
   * Ready when index and files agree. A damaged index is made anew; that is an alarm, not an error.
   * @throws the error of the disk; Error when a tenant's key file is damaged or another process holds the index
   */
  static async open(options: SpoolOptions): Promise<Spool> {
    await mkdir(options.directory, { recursive: true, mode: 0o700 })
    const spool = new Spool(options, await ObjectFiles.open(options.directory), await KeyRing.open(join(options.directory, 'keys')))
    const opened = await spool.#openFirst()
    spool.#startedWith = { delivered: opened.meta.delivered, deliveredBytes: opened.meta.deliveredBytes }
    spool.#index = new Index(opened.database, opened.meta, {
      sync: true,
      written: (changes) => spool.#written(changes),
      trouble: (error) => options.log.warn('index-trouble', { detail: String((error as Error).message) }),
      reopen: (broken, damaged) => spool.#reopen(broken, damaged),
    })
    spool.#adoptState(opened)
    await spool.#reconcile()
    spool.#timer = setInterval(() => void spool.upkeep(), UPKEEP_MILLIS).unref()
    return spool
  }

  private constructor(options: SpoolOptions, files: ObjectFiles, keys: KeyRing) {
    const now = (): number => options.clock.now()
    const index = (): Index => this.#index
    this.#options = options
    this.#files = files
    this.#keys = keys
    this.#slots = new Slots({ files, keys, cipher: options.cipher, slots: (options.limits ?? LIMITS).slots, now })
    this.#gauge = new WaterGauge(options.water, now)
    this.#upkeep = new Upkeep({ index, files, now, log: options.log, receiptsMillis: options.receiptsMillis })
    this.#leases = new Leases({
      index,
      tally: () => this.#tally,
      keys,
      pathOf: (id) => files.pathOf(id),
      now,
      unreadable: (id, destination) => void this.#intervene(id, destination, { kind: 'hold', code: 'OBJECT_DAMAGED', detail: 'its key is gone' }),
    })
    this.#ground = { files, keyOf: keys.unwrap, targets: options.targets, now, log: options.log, isSlot: (id) => this.#slots.has(id) }
  }

  // ---- arrival

  /**
   * A prepared file for one instance.
   * @throws Fault SPOOL_FULL above the high-water mark, until below the low one; DISK_FAILED
   */
  async slot(tenant: string): Promise<Slot> {
    if (this.#index.failure) throw this.#index.failure
    const water = await this.#gauge.look(this.#tally.bytes)
    if (water.full) throw new Fault('SPOOL_FULL', { percent: water.percent })
    try {
      return await this.#slots.take(tenant)
    } catch (error) {
      throw faultOf(error)
    }
  }

  /** Unused, or written to and given up: nobody may write to it any more. */
  giveBack(id: ObjectId): void {
    this.#slots.giveBack(id).catch((error: unknown) => this.#options.log.warn('unlink-failed', { id, detail: String((error as Error).message) }))
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
    const arrival = { facts, sealing: slot, targets, now: this.#options.clock.now(), unusable: this.#tally.unusable(facts) }
    try {
      const outcome = await this.#index.transact({ keys: arrivalKeys(arrival), impatient: true, apply: (view) => arrive(view, arrival) })
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
    const row = await this.#row(facts.id).catch(() => undefined)
    if (row && row.digest === facts.digest && row.tenant === facts.tenant) return { kind: 'queued', version: row.version }
    return { kind: 'refused', code: 'SUPERVISOR_GONE' }
  }

  // ---- forwarding

  /** Up to `count` leases in the order to send: priority, then study by first arrival, then arrival. */
  async lease(destination: string, count: number): Promise<Lease[]> {
    if (this.#index.failure) return []
    try {
      return await this.#leases.take(destination, count)
    } catch (error) {
      this.#readFailed(error)
      return []
    }
  }

  /** When the next delayed one of a destination is due, milliseconds since 1970; 0 = none is delayed. */
  async nextDue(destination: string): Promise<number> {
    if (this.#index.failure) return 0
    return this.#leases.nextDue(destination).catch((error: unknown) => (this.#readFailed(error), 0))
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
    const settled = await this.#index.transact({
      keys: settleKeys(facts),
      apply: (view) => settle(view, { id, destination, attempts }, outcome, notBefore, this.#ending()),
    })
    this.#leases.release(id, destination)
    this.#after(id, settled)
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
    const prefixes = [0, 1, 2].map((rank) => queuePrefix(destination, rank)).concat(laterPrefix(destination))
    return this.#interveneAll(destination, { kind: 'hold', ...why }, prefixes, (_key, stored) => {
      const waiting = decode<Waiting>(_key, stored)
      return waiting && waiting.sopClass === context.sopClass && waiting.transferSyntax === context.transferSyntax ? waiting.id : undefined
    })
  }

  /**
   * Queues held deliveries again: of one instance, of one destination, or all. A delivery of the
   * named instance that waits for its next attempt becomes due at once. @returns how many
   */
  async retry({ id, destination }: { id?: ObjectId | undefined; destination?: string | undefined }): Promise<number> {
    if (id !== undefined) return this.#interveneOne(id, destination, (row) => this.#retrying(row))
    let count = 0
    for (const one of destination === undefined ? this.#tally.destinations() : [destination]) count += await this.#retryAll(one)
    return count
  }

  async #retryAll(destination: string): Promise<number> {
    let count = 0
    const prefix = heldPrefix(destination)
    for await (const ids of this.#portions([prefix], (key) => key.slice(prefix.length))) {
      const done = await Promise.all(ids.map((id) => this.#interveneOne(id, destination, (row) => this.#retrying(row))))
      count += done.reduce((sum, one) => sum + one, 0)
    }
    return count
  }

  #retrying(row: StoredRow): Intervention {
    return { kind: 'retry', targets: this.#options.targets(row.source.listener, row.tenant) }
  }

  /** Gives up queued or held deliveries of one instance; what is being sent stays. @returns how many */
  discard(id: ObjectId, destination: string | undefined, reason: string): Promise<number> {
    return this.#interveneOne(id, destination, () => ({ kind: 'discard', reason }))
  }

  async #interveneOne(id: ObjectId, destination: string | undefined, what: (row: StoredRow) => Intervention): Promise<number> {
    const row = await this.#row(id)
    if (!row) return 0
    let count = 0
    for (const delivery of row.deliveries)
      if ((destination === undefined || delivery.destination === destination) && (await this.#intervene(id, delivery.destination, what(row), row))) count += 1
    return count
  }

  async #interveneAll(destination: string, what: Intervention, prefixes: readonly string[], idOf: (key: string, stored: string) => ObjectId | undefined): Promise<number> {
    let count = 0
    for await (const ids of this.#portions(prefixes, idOf)) {
      const done = await Promise.all(ids.map((id) => this.#intervene(id, destination, what)))
      count += done.filter((one) => one).length
    }
    return count
  }

  async #intervene(id: ObjectId, destination: string, what: Intervention, known?: StoredRow): Promise<boolean> {
    const done = await this.#leases.exclusively(id, destination, async () => {
      const row = known ?? (await this.#row(id))
      if (!row) return false
      const result = await this.#index.transact({ keys: settleKeys(row), apply: (view) => intervene(view, id, destination, what, this.#ending()) })
      this.#after(id, result)
      return result.done
    })
    if (done && what.kind === 'retry') this.#wake(destination)
    return done === true
  }

  async *#portions(prefixes: readonly string[], idOf: (key: string, stored: string) => ObjectId | undefined): AsyncGenerator<ObjectId[]> {
    let ids: ObjectId[] = []
    for (const prefix of prefixes)
      for await (const [key, stored] of entriesUnder(this.#index.database, prefix)) {
        const id = idOf(key, stored)
        if (id !== undefined) ids.push(id)
        if (ids.length >= LIMITS.changesPerBatch) yield ids.splice(0)
      }
    if (ids.length > 0) yield ids
    ids = []
  }

  #after(id: ObjectId, settled: Settled): void {
    if (settled.ended) this.#upkeep.bury(id)
  }

  // ---- looking

  countsOf(destination: string): DestinationCounts {
    const lane = this.#tally.lane(destination)
    const forwarding = this.#leases.count(destination)
    return { queued: Math.max(0, lane.queued - forwarding), forwarding, held: lane.held, bytes: lane.bytes, oldest: this.#tally.oldest(destination) }
  }

  /** Every destination that has, or since the start had, something in the spool. */
  counts(): Record<string, DestinationCounts> {
    return Object.fromEntries(this.#tally.destinations().map((destination) => [destination, this.countsOf(destination)]))
  }

  totals(): Totals {
    const { delivered, deliveredBytes } = this.#index.meta
    return {
      instances: this.#tally.instances,
      bytes: this.#tally.bytes,
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
    return this.#tally.contexts(destination)
  }

  /** @throws Fault while the index is being reopened */
  async list(query: ListQuery = {}): Promise<Listed> {
    return listRows(this.#index.database, query, this.#leases)
  }

  async show(id: ObjectId): Promise<InstanceRow | undefined> {
    const row = await this.#row(id)
    return row && shown(row, this.#leases)
  }

  /** Newest first. */
  async receipts(query: ReceiptQuery = {}): Promise<Receipt[]> {
    return listReceipts(this.#index.database, query)
  }

  async studies(query: { tenant?: string | undefined; limit?: number | undefined } = {}): Promise<Study[]> {
    return listStudies(this.#index.database, query)
  }

  /** What is needed to read objects (verify, export), in the order of ids; gives no permission to send. */
  async objects(query: { tenant?: string | undefined; after?: ObjectId | undefined; limit?: number | undefined } = {}): Promise<Lease[]> {
    const leases: Lease[] = []
    const limit = Math.min(query.limit ?? 100, LIMITS.listRows)
    for await (const [key, stored] of entriesUnder(this.#index.database, 'i/', query.after === undefined ? undefined : rowKey(query.after))) {
      const row = decode<StoredRow>(key, stored)
      const lease = row && (query.tenant === undefined || row.tenant === query.tenant) ? this.#leases.leaseToRead(row, '', 0) : undefined
      if (lease) leases.push(lease)
      if (leases.length >= limit) break
    }
    return leases
  }

  alarms(): Alarm[] {
    const now = this.#options.clock.now()
    const rebuilt = this.#rebuiltAt.filter((at) => now - at < DAMAGE_TOLD_MILLIS)
    const { failure } = this.#index
    const water = this.water()
    const found: (readonly [ErrorCode, number, string, (number | undefined)?])[] = [
      ['INDEX_DAMAGED', rebuilt.length, causeOf('INDEX_DAMAGED'), rebuilt[0]],
      ['OBJECT_MISSING', this.#tally.spoilt('OBJECT_MISSING'), causeOf('OBJECT_MISSING')],
      ['OBJECT_DAMAGED', this.#tally.spoilt('OBJECT_DAMAGED'), causeOf('OBJECT_DAMAGED', { detail: 'see what is held' })],
      ['FILES_SET_ASIDE', this.#quarantined, causeOf('FILES_SET_ASIDE', { count: this.#quarantined })],
      ['SPOOL_FULL', water.full || failure?.code === 'SPOOL_FULL' ? 1 : 0, causeOf('SPOOL_FULL', { percent: water.full ? water.percent : 100 })],
      ['DISK_FAILED', failure?.code === 'DISK_FAILED' ? 1 : 0, failure?.message ?? ''],
    ]
    const alarms: Alarm[] = []
    for (const [code, count, sentence, at] of found) {
      if (count === 0) this.#alarmSince.delete(code)
      else {
        const since = at ?? this.#alarmSince.get(code) ?? now
        this.#alarmSince.set(code, since)
        alarms.push({ code, count, sentence, since })
      }
    }
    return alarms
  }

  // ---- upkeep

  /** Reads every object and compares it with its digest; holds what is damaged or gone. */
  async verify(progress: (done: Verified) => void = () => undefined): Promise<Verified> {
    const done = { sound: 0, damaged: 0 }
    for await (const id of keysUnder(this.#index.database, 'i/')) {
      const row = await this.#row(id.slice(2))
      if (!row || row.deliveries.some((one) => this.#leases.get(row.id, one.destination))) continue
      const state = await examine({ id: row.id, path: this.#files.pathOf(row.id) }, this.#keys.unwrap, true)
      const sound = state.kind === 'complete' && state.facts.digest === row.digest && state.facts.bytes === row.bytes
      // It may have been delivered and unlinked while it was read.
      if (sound) done.sound += 1
      else if (await this.#row(row.id)) {
        done.damaged += 1
        await this.#holdAllOf(row, state.kind === 'complete' ? 'OBJECT_DAMAGED' : state.reason === 'ENOENT' ? 'OBJECT_MISSING' : 'OBJECT_DAMAGED', state.kind === 'complete' ? 'digest' : state.reason)
      }
      progress({ ...done })
    }
    return done
  }

  async #holdAllOf(row: StoredRow, code: 'OBJECT_MISSING' | 'OBJECT_DAMAGED', detail: string): Promise<void> {
    for (const { destination, state } of row.deliveries)
      if (state === 'queued') await this.#intervene(row.id, destination, { kind: 'hold', code, detail })
  }

  /** Makes the index anew from the object files and what verifies of the old one. */
  async rebuild(): Promise<void> {
    this.#index.report(new IndexDamaged('a person asked for it'))
    // Written by nobody but the new index.
    await this.#index.transact({ keys: [], apply: () => undefined })
    await this.#reconciling
  }

  /**
   * Erases everything of a tenant: first its key, after which no copy of its objects can be read,
   * then rows, files and receipts. @returns instances erased
   */
  async eraseTenant(tenant: string): Promise<number> {
    await this.#keys.erase(tenant)
    await this.#slots.clear(tenant)
    this.loseLeases((lease) => lease.facts.tenant === tenant)
    let count = 0
    for await (const [key, stored] of entriesUnder(this.#index.database, 'i/')) {
      const row = decode<StoredRow>(key, stored)
      if (row?.tenant !== tenant) continue
      await this.#index.transact({ keys: changeKeys(row), apply: (view) => erase(view, row) })
      this.#upkeep.bury(row.id)
      count += 1
    }
    await this.#eraseTraces(tenant)
    await this.#upkeep.settled()
    return count
  }

  async #eraseTraces(tenant: string): Promise<void> {
    const { database } = this.#index
    const erased = (keys: string[]): Promise<void> =>
      this.#index.transact({ keys: [], apply: (view) => keys.forEach((key) => view.replace(key, undefined)) })
    for (const kind of ['r/', `d/${tenant}/`]) {
      const keys: string[] = []
      for await (const [key, stored] of entriesUnder(database, kind)) {
        if (kind !== 'r/' || decode<Receipt>(key, stored)?.tenant === tenant) keys.push(key)
        if (keys.length >= LIMITS.changesPerBatch) await erased(keys.splice(0))
      }
      if (keys.length > 0) await erased(keys)
    }
    // A deletion in LevelDB only hides; compaction forgets.
    for (const kind of ['i/', 'u/', 's/', 'r/', 'd/']) await database.compactRange(kind, after(kind))
  }

  /** Unlinks, forgets and sweeps what is due; runs by itself twice a minute. */
  async upkeep(): Promise<void> {
    if (this.#index.failure || this.#closed) return
    try {
      await this.#upkeep.run()
      this.#quarantined = (await this.#files.quarantined()).length
    } catch (error) {
      this.#readFailed(error)
    }
  }

  /** Finishes what was begun. Leases end; slots that were given out are settled by the next opening. */
  async close(): Promise<void> {
    this.#closed = true
    clearInterval(this.#timer)
    await this.#reconciling.catch(() => undefined)
    if (!this.#index.failure) {
      await this.#upkeep.settled()
      await this.#slots.clear()
    }
    await this.#index.close()
    if (!this.#index.failure) await endWitness(this.#options.directory, this.#index.meta)
  }

  // ---- the index behind it

  #ending(): Ending {
    return { now: this.#options.clock.now(), duplicateWindowMillis: this.#options.duplicateWindowMillis }
  }

  async #openIndex(damaged: boolean): Promise<Opened> {
    const { directory, log, clock } = this.#options
    const distrusted = damaged || this.#unreadable >= UNREADABLE_TIMES
    try {
      const opened = await openIndex({ directory, distrusted, log, now: () => clock.now(), fill: (made, meta, old) => fillFrom(this.#ground, made, meta, old) })
      this.#unreadable = 0
      return opened
    } catch (error) {
      // Once may be the cable; a sector that stays unreadable must not keep the box from starting.
      if (isUnreadable(error)) this.#unreadable += 1
      throw error
    }
  }

  async #openFirst(): Promise<Opened> {
    while (this.#unreadable < UNREADABLE_TIMES) {
      try {
        return await this.#openIndex(false)
      } catch (error) {
        if (!isUnreadable(error)) throw error
        this.#options.log.warn('index-trouble', { detail: String((error as Error).message) })
      }
    }
    return this.#openIndex(true)
  }

  #adoptState({ tally, damage }: Opened): void {
    this.#tally = tally
    if (damage !== undefined) this.#rebuiltAt.push(this.#options.clock.now())
    this.#leases.forgetFronts()
  }

  async #reopen(broken: { close(): Promise<void> } | undefined, damaged: boolean): Promise<Opened> {
    // A handle that failed may fail to close as well, and is closed nevertheless.
    await broken?.close().catch(() => undefined)
    const opened = await this.#openIndex(damaged)
    this.#adoptState(opened)
    this.#options.log.info('index-reopened', { damaged })
    this.#reconciling = new Promise<void>((resolve) => setImmediate(resolve)).then(() => this.#reconcile())
    this.#reconciling.catch((error: unknown) => this.#readFailed(error))
    return opened
  }

  /** Lays files beside rows and settles the differences; the spool may be in use meanwhile. */
  async #reconcile(): Promise<void> {
    const ids = keysUnder(this.#index.database, 'i/')
    const rows = (async function* () {
      for await (const key of ids) yield { id: key.slice(2), row: undefined }
    })()
    for await (const { found, row } of abreast(this.#files.walk(), rows)) {
      if (found && !row) await this.#settleFile(found)
      else if (row && !found) await this.#settleRow(row.id)
    }
    if (this.#rebuiltAt.length === 0) this.#rebuiltAt = (await setAside(this.#options.directory)).map(setAsideAt)
    this.#quarantined = (await this.#files.quarantined()).length
    await this.#upkeep.run()
    for (const destination of this.#tally.destinations()) this.#wake(destination)
  }

  async #settleFile(found: { id: ObjectId; path: string }): Promise<void> {
    if (this.#slots.has(found.id)) return
    const { database } = this.#index
    const [row, grave] = await database.getMany([rowKey(found.id), graveKey(found.id)])
    if (row !== undefined) return
    if (grave !== undefined) return this.#upkeep.bury(found.id)
    const state = await examine(found, this.#keys.unwrap, true)
    if (state.kind === 'complete') {
      if (!(await adopt(this.#index, this.#ground, state))) await this.#files.unlink(found.id)
    } else if (state.kind === 'incomplete') await this.#files.unlink(found.id)
    else {
      this.#options.log.warn('set-aside', { id: found.id, detail: state.reason })
      await this.#files.quarantine(found)
    }
  }

  async #settleRow(id: ObjectId): Promise<void> {
    const row = await this.#row(id)
    if (!row || !row.deliveries.some((one) => one.state === 'queued')) return
    this.#options.log.warn('missing', { id, sopInstance: row.sopInstance })
    await this.#holdAllOf(row, 'OBJECT_MISSING', '')
  }

  /** @throws Fault while the index is being reopened */
  async #row(id: ObjectId): Promise<StoredRow | undefined> {
    const stored = await this.#index.database.get(rowKey(id))
    if (stored === undefined) return undefined
    const row = decode<StoredRow>(rowKey(id), stored)
    if (row) return row
    const damage = new IndexDamaged('a row')
    this.#readFailed(damage)
    throw faultOf(damage)
  }

  /** Reading failed: because the handle is being replaced, or it has to be. */
  #readFailed(error: unknown): void {
    if (this.#closed || this.#index.failure) return
    this.#index.report(error)
  }

  #written(changes: readonly RowChange[]): void {
    const woken = new Set<string>()
    for (const change of changes) {
      this.#tally.change(change.before, change.after)
      this.#leases.written(change)
      if (change.before === undefined) for (const { destination } of change.after?.deliveries ?? []) if (destination !== UNROUTED) woken.add(destination)
    }
    for (const destination of woken) this.#wake(destination)
  }

  #wake(destination: string): void {
    for (const watcher of this.#watchers) watcher(destination)
  }
}

