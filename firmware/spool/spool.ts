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
import type { ObjectId } from '../domain/identifier.ts'
import { LIMITS } from '../domain/limits.ts'
import type { Target } from '../domain/route.ts'
import type { CommitOutcome, Lease, ObjectFacts, Outcome, Slot } from '../domain/spool.ts'
import { Arrivals } from './arrivals.ts'
import { UNROUTED, settle, settleKeys } from './changes.ts'
import type { Ending } from './changes.ts'
import { eraseRows, eraseTraces } from './erasure.ts'
import { ObjectFiles } from './files.ts'
import { Interventions } from './interventions.ts'
import { KeyRing } from './keys.ts'
import { Leases } from './leases.ts'
import { Ledger } from './ledger.ts'
import type { SpoolOptions } from './options.ts'
import { Overview } from './overview.ts'
import { examine } from './reconcile.ts'
import { Slots } from './slots.ts'
import { Upkeep } from './upkeep.ts'
import { verifyAll } from './verification.ts'
import type { Verified } from './verification.ts'
import type { RowChange } from './view.ts'
import { WaterGauge } from './water.ts'

const UPKEEP_MILLIS = 30_000

export class Spool extends Overview {
  readonly #options: SpoolOptions
  readonly #files: ObjectFiles
  readonly #keys: KeyRing
  readonly #slots: Slots
  protected readonly ledger: Ledger
  protected readonly leases: Leases
  readonly #arrivals: Arrivals
  readonly #interventions: Interventions
  readonly #upkeep: Upkeep
  protected readonly gauge: WaterGauge
  readonly #watchers: ((destination: string) => void)[] = []
  #tidying: Promise<void> = Promise.resolve()
  #timer: NodeJS.Timeout | undefined
  #closed = false

  /**
   * Ready when index and files agree. A damaged index is made anew; that is an alarm, not an error.
   * @throws the error of the disk; Error when a tenant's key file is damaged or another process holds the index
   */
  static async open(options: SpoolOptions): Promise<Spool> {
    await mkdir(options.directory, { recursive: true, mode: 0o700 })
    const spool = new Spool(options, await ObjectFiles.open(options.directory), await KeyRing.open(join(options.directory, 'keys')))
    await spool.ledger.open()
    await spool.#interventions.align().catch((error: unknown) => spool.ledger.readFailed(error))
    spool.begin()
    spool.#timer = setInterval(() => void spool.upkeep(), UPKEEP_MILLIS).unref()
    return spool
  }

  private constructor(options: SpoolOptions, files: ObjectFiles, keys: KeyRing) {
    super()
    const { directory, log, targets } = options
    const now = (): number => this.now()
    const bury = (id: ObjectId): void => this.#upkeep.bury(id)
    this.#options = options
    this.#files = files
    this.#keys = keys
    this.#slots = new Slots({ files, keys, cipher: options.cipher, slots: (options.limits ?? LIMITS).slots, now })
    this.gauge = new WaterGauge(options.water, now)
    this.ledger = new Ledger({
      directory, files, targets, now, log, bury,
      keyOf: keys.unwrap,
      isSlot: (id) => this.#slots.has(id),
      written: (changes) => this.#written(changes),
      replaced: () => this.leases.forgetFronts(),
      missing: (row) => this.#interventions.holdObject(row, 'OBJECT_MISSING', ''),
      reconciled: () => this.#reconciled(),
    })
    this.#upkeep = new Upkeep({ ledger: this.ledger, files, now, log, receiptsMillis: options.receiptsMillis })
    this.leases = new Leases({
      ledger: this.ledger,
      keys,
      pathOf: (id) => files.pathOf(id),
      now,
      unreadable: (row) => void this.#interventions.holdObject(row, 'OBJECT_DAMAGED', 'its key is gone').catch((error: unknown) => this.ledger.readFailed(error)),
    })
    this.#arrivals = new Arrivals({ slots: this.#slots, ledger: this.ledger, gauge: this.gauge, ending: () => this.#ending(), bury, log })
    const wake = (destination: string): void => this.#wake(destination)
    this.#interventions = new Interventions({ ledger: this.ledger, leases: this.leases, ending: () => this.#ending(), targets, configured: options.destinations, bury, wake })
  }

  // ---- arrival

  /**
   * A prepared file for one instance.
   * @throws Fault SPOOL_FULL above the high-water mark, until below the low one; DISK_FAILED
   */
  slot(tenant: string): Promise<Slot> {
    return this.#arrivals.slot(tenant)
  }

  /** Unused, or written to and given up: nobody may write to it any more. */
  giveBack(id: ObjectId): void {
    this.#arrivals.giveBack(id)
  }

  /**
   * The worker has the bytes on stable storage; resolves when the index has them too.
   * Safe to repeat for the same id. Never rejects for reasons of the disk: that is `refused`.
   */
  commit(facts: ObjectFacts, targets: readonly Target[]): Promise<CommitOutcome> {
    return this.#arrivals.commit(facts, targets)
  }

  // ---- forwarding

  /** Up to `count` leases in the order to send: priority, then study by first arrival, then arrival. */
  async lease(destination: string, count: number): Promise<Lease[]> {
    if (this.ledger.failure) return []
    try {
      return await this.leases.take(destination, count)
    } catch (error) {
      this.ledger.readFailed(error)
      return []
    }
  }

  /** When the next delayed one of a destination is due, milliseconds since 1970; 0 = none is delayed. */
  async nextDue(destination: string): Promise<number> {
    if (this.ledger.failure) return 0
    return this.leases.nextDue(destination).catch((error: unknown) => (this.ledger.readFailed(error), 0))
  }

  /**
   * Ends a lease. `stored`: receipt, and with the last delivery the instance is removed.
   * `refused`: queued again, not before `notBefore` (milliseconds since 1970, 0 = at once).
   * `rejected`: held. `lease-lost`: queued again, counted as an attempt.
   * @returns the facts; undefined when there was no such lease: nothing was changed
   */
  async settle(id: ObjectId, destination: string, outcome: Outcome, notBefore = 0): Promise<ObjectFacts | undefined> {
    const lease = this.leases.get(id, destination)
    if (!lease) return undefined
    const { facts, attempts } = lease
    const settled = await this.ledger.transact({
      keys: settleKeys(facts),
      apply: (view) => settle(view, { id, destination, attempts }, outcome, notBefore, this.#ending()),
    })
    this.leases.release(id, destination)
    if (settled.ended) this.#upkeep.bury(id)
    // `written` told before the lease was free: what came back at once must be told again.
    if (outcome.event !== 'stored' && outcome.event !== 'rejected' && notBefore === 0) this.#wake(destination)
    return facts
  }

  /** Forgets leases without counting an attempt. */
  loseLeases(which: (lease: Lease) => boolean): void {
    for (const lease of this.leases.all())
      if (which(lease) && this.leases.release(lease.id, lease.destination)) this.#wake(lease.destination)
  }

  /** Called when something of a destination may be sent that could not before. */
  onQueued(callback: (destination: string) => void): void {
    this.#watchers.push(callback)
  }

  // ---- a person, or a refused presentation context

  /** Holds whatever waits for a destination in this presentation context. @returns how many */
  hold(destination: string, context: { sopClass: string; transferSyntax: string }, why: { code: ErrorCode; detail?: string }): Promise<number> {
    return this.ledger.reading(() => this.#interventions.holdContext(destination, context, why))
  }

  /**
   * Queues held deliveries again: of one instance, of one destination, or all. A delivery of the
   * named instance that waits for its next attempt becomes due at once. @returns how many
   */
  async retry({ id, destination }: { id?: ObjectId | undefined; destination?: string | undefined }): Promise<number> {
    if (id !== undefined) return this.ledger.reading(() => this.#interventions.ofInstance(id, destination, this.#interventions.retrying))
    let count = 0
    for (const one of destination === undefined ? this.ledger.tally.destinations() : [destination]) count += await this.ledger.reading(() => this.#interventions.retryHeld(one))
    return count
  }

  /** Gives up queued or held deliveries of one instance; what is being sent stays. @returns how many */
  discard(id: ObjectId, destination: string | undefined, reason: string): Promise<number> {
    return this.ledger.reading(() => this.#interventions.ofInstance(id, destination, () => ({ kind: 'discard', reason })))
  }

  // ---- upkeep

  /** Reads every object and compares it with its digest; holds what is damaged or gone, unless it is being sent. */
  verify(progress: (done: Verified) => void = () => undefined): Promise<Verified> {
    return this.ledger.reading(() => verifyAll(this.ledger, this.#interventions, (id) => examine({ id, path: this.#files.pathOf(id) }, this.#keys.unwrap, true), progress))
  }

  /** Makes the index anew from the object files and what verifies of the old one. */
  rebuild(): Promise<void> {
    return this.ledger.rebuild()
  }

  /** Erases everything of a tenant, beginning with its key. @returns instances erased */
  async eraseTenant(tenant: string): Promise<number> {
    await this.#keys.erase(tenant)
    await this.#slots.erase(tenant)
    this.loseLeases((lease) => lease.facts.tenant === tenant)
    const count = await this.ledger.reading(() => eraseRows(this.ledger, tenant, (id) => this.#upkeep.bury(id)))
    await this.ledger.reading(() => eraseTraces(this.ledger, tenant))
    await this.#upkeep.settled()
    return count
  }

  /** Unlinks, forgets and sweeps what is due; runs by itself twice a minute. */
  upkeep(): Promise<void> {
    this.#tidying = this.#tidying.then(() => this.#tidy())
    return this.#tidying
  }

  async #tidy(): Promise<void> {
    if (this.ledger.failure || this.#closed) return
    try {
      await this.#upkeep.run()
      this.quarantined = await this.#files.quarantined()
    } catch (error) {
      this.ledger.readFailed(error)
    }
  }

  /** Finishes what was begun. Leases end; slots that were given out are settled by the next opening. */
  async close(): Promise<void> {
    this.#closed = true
    clearInterval(this.#timer)
    await this.#tidying
    await this.ledger.settled()
    if (!this.ledger.failure) {
      await this.#upkeep.settled()
      await this.#slots.clear()
    }
    await this.ledger.close()
  }

  // ---- what follows from a change

  protected now(): number {
    return this.#options.clock.now()
  }

  #ending(): Ending {
    return { now: this.now(), duplicateWindowMillis: this.#options.duplicateWindowMillis }
  }

  #written(changes: readonly RowChange[]): void {
    const woken = new Set<string>()
    for (const change of changes) {
      this.leases.written(change)
      if (change.before === undefined) for (const { destination } of change.after?.deliveries ?? []) if (destination !== UNROUTED) woken.add(destination)
    }
    for (const destination of woken) this.#wake(destination)
  }

  async #reconciled(): Promise<void> {
    this.quarantined = await this.#files.quarantined()
    await this.#upkeep.run()
    for (const destination of this.ledger.tally.destinations()) this.#wake(destination)
  }

  #wake(destination: string): void {
    for (const watcher of this.#watchers) watcher(destination)
  }
}
