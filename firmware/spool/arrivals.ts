/**
 * The way in: a prepared file for each instance, and its row once the bytes are durable.
 */
import { Fault } from '../domain/errors.ts'
import type { ObjectId } from '../domain/identifier.ts'
import type { Log } from '../domain/log.ts'
import type { Target } from '../domain/route.ts'
import type { CommitOutcome, ObjectFacts, Slot } from '../domain/spool.ts'
import { arrivalKeys, arrive } from './changes.ts'
import type { Ending } from './changes.ts'
import type { Ledger } from './ledger.ts'
import type { Slots } from './slots.ts'
import { faultOf } from './trouble.ts'
import type { WaterGauge } from './water.ts'

export interface ArrivalsOptions {
  readonly slots: Slots
  readonly ledger: Ledger
  readonly gauge: WaterGauge
  readonly ending: () => Ending
  readonly bury: (id: ObjectId) => void
  readonly log: Log
}

export class Arrivals {
  readonly #options: ArrivalsOptions

  constructor(options: ArrivalsOptions) {
    this.#options = options
  }

  /** @throws Fault SPOOL_FULL above the high-water mark, until below the low one; DISK_FAILED */
  async slot(tenant: string): Promise<Slot> {
    const { ledger, gauge, slots } = this.#options
    if (ledger.failure) throw ledger.failure
    const water = await gauge.look(ledger.tally.bytes)
    if (water.full) throw new Fault('SPOOL_FULL', { percent: water.percent })
    try {
      return await slots.take(tenant)
    } catch (error) {
      throw faultOf(error)
    }
  }

  giveBack(id: ObjectId): void {
    const { slots, log } = this.#options
    slots.giveBack(id).catch((error: unknown) => log.warn('unlink-failed', { id, detail: (error as Error).message }))
  }

  /** See `Spool.commit`. */
  async commit(facts: ObjectFacts, targets: readonly Target[]): Promise<CommitOutcome> {
    const { slots, ledger, gauge, ending, bury, log } = this.#options
    const slot = slots.get(facts.id)
    if (!slot) return this.#committedBefore(facts)
    if (slot.tenant !== facts.tenant) throw new Error(`spool: slot ${facts.id} is not of tenant ${facts.tenant}`)
    if (targets.length === 0) {
      this.giveBack(facts.id)
      return { kind: 'refused', code: 'ROUTE_MISSING' }
    }
    const arrival = { facts, sealing: slot, targets, ...ending(), unusable: ledger.tally.unusable(facts) }
    try {
      const { outcome, ended } = await ledger.transact({ keys: arrivalKeys(arrival), impatient: true, apply: (view) => arrive(view, arrival) })
      for (const id of ended) bury(id)
      if (outcome.kind === 'duplicate') this.giveBack(facts.id)
      else {
        slots.committed(facts.id)
        gauge.add(facts.bytes)
      }
      return outcome
    } catch (error) {
      // Whether the row is there only the next opening shows. So the file stays: with a row it is
      // an instance, without one it is found complete and taken in. Either is right, since the
      // sender keeps its copy and a repetition is recognised.
      slots.committed(facts.id)
      log.warn('commit-failed', { id: facts.id, detail: (error as Error).message })
      return { kind: 'refused', code: error instanceof Fault ? error.code : 'DISK_FAILED' }
    }
  }

  /** A repetition, or a worker that outlived the supervisor which gave it the slot. */
  async #committedBefore(facts: ObjectFacts): Promise<CommitOutcome> {
    const row = await this.#options.ledger.row(facts.id).catch(() => undefined)
    if (row && row.digest === facts.digest && row.tenant === facts.tenant) return { kind: 'queued', version: row.version }
    return { kind: 'refused', code: 'SUPERVISOR_GONE' }
  }
}
