/**
 * What can be seen of a spool: counts that are kept along, and pages read from the index.
 */
import type { ObjectId } from '../domain/identifier.ts'
import { LIMITS } from '../domain/limits.ts'
import type { InstanceRow, Lease, Receipt } from '../domain/spool.ts'
import { Alarms } from './alarms.ts'
import type { Alarm } from './alarms.ts'
import type { Leases } from './leases.ts'
import type { Ledger } from './ledger.ts'
import { listReceipts, listRows, listStudies, shown } from './listing.ts'
import type { ListQuery, Listed, ReceiptQuery, Study, StudyQuery } from './listing.ts'
import type { StoredRow } from './rows.ts'
import { decode, rowKey } from './rows.ts'
import { entriesUnder } from './survey.ts'
import type { WaitingContext } from './tally.ts'
import type { Water, WaterGauge } from './water.ts'

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

export interface ObjectQuery {
  readonly tenant?: string | undefined
  readonly after?: ObjectId | undefined
  /** At most LIMITS.listRows. */
  readonly limit?: number | undefined
}

/** The part of a spool that changes nothing. */
export abstract class Overview {
  protected abstract readonly ledger: Ledger
  protected abstract readonly leases: Leases
  protected abstract readonly gauge: WaterGauge
  /** Files set aside. */
  protected quarantined = 0
  /** Milliseconds since 1970. */
  protected abstract now(): number
  readonly #alarms = new Alarms()
  #startedWith = { delivered: 0, deliveredBytes: 0 }

  /** What was delivered up to now was delivered before this process. */
  protected begin(): void {
    const { delivered, deliveredBytes } = this.ledger.meta
    this.#startedWith = { delivered, deliveredBytes }
  }

  countsOf(destination: string): DestinationCounts {
    const lane = this.ledger.tally.lane(destination)
    const forwarding = this.leases.count(destination)
    return { queued: Math.max(0, lane.queued - forwarding), forwarding, held: lane.held, bytes: lane.bytes, oldest: this.ledger.tally.oldest(destination) }
  }

  /** Every destination that has, or since the start had, something in the spool. */
  counts(): Record<string, DestinationCounts> {
    return Object.fromEntries(this.ledger.tally.destinations().map((destination) => [destination, this.countsOf(destination)]))
  }

  totals(): Totals {
    const { delivered, deliveredBytes } = this.ledger.meta
    return {
      instances: this.ledger.tally.instances,
      bytes: this.ledger.tally.bytes,
      delivered,
      deliveredBytes,
      deliveredSinceStart: delivered - this.#startedWith.delivered,
      deliveredBytesSinceStart: deliveredBytes - this.#startedWith.deliveredBytes,
    }
  }

  water(): Water {
    return this.gauge.water
  }

  /** What waits for a destination, delayed and leased included, by presentation context. */
  waitingContexts(destination: string): WaitingContext[] {
    return this.ledger.tally.contexts(destination)
  }

  alarms(): Alarm[] {
    return this.#alarms.of(this.ledger, this.water(), this.quarantined, this.now())
  }

  /** In the order of ids. @throws Fault while the index is being reopened, as all that follow */
  list(query: ListQuery = {}): Promise<Listed> {
    return this.ledger.reading(() => listRows(this.ledger.database, query, this.leases))
  }

  async show(id: ObjectId): Promise<InstanceRow | undefined> {
    const row = await this.ledger.reading(() => this.ledger.row(id))
    return row && shown(row, this.leases)
  }

  /** Newest first. */
  receipts(query: ReceiptQuery = {}): Promise<Receipt[]> {
    return this.ledger.reading(() => listReceipts(this.ledger.database, query))
  }

  studies(query: StudyQuery = {}): Promise<Study[]> {
    return this.ledger.reading(() => listStudies(this.ledger.database, query))
  }

  /** What is needed to read objects (verify, export), in the order of ids; gives no permission to send. */
  objects(query: ObjectQuery = {}): Promise<Lease[]> {
    return this.ledger.reading(() => this.#objects(query))
  }

  async #objects({ tenant, after, limit = 100 }: ObjectQuery): Promise<Lease[]> {
    const leases: Lease[] = []
    for await (const [key, stored] of entriesUnder(this.ledger.database, 'i/', after === undefined ? undefined : rowKey(after))) {
      const row = decode<StoredRow>(key, stored)
      const lease = row && (tenant === undefined || row.tenant === tenant) ? this.leases.leaseToRead(row, '', 0) : undefined
      if (lease) leases.push(lease)
      if (leases.length >= Math.min(limit, LIMITS.listRows)) break
    }
    return leases
  }
}
