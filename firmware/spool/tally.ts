/**
 * What the status shows, counted along: never by looking at all rows. Memory is bounded by the
 * number of destinations, of kinds of images, and of minutes in which something waiting arrived.
 */
import type { ObjectId } from '../domain/identifier.ts'
import { priorityRank } from '../domain/route.ts'
import type { StoredDelivery, StoredRow } from './rows.ts'
import { copiesKey } from './rows.ts'

export interface WaitingContext {
  readonly sopClass: string
  readonly transferSyntax: string
  readonly count: number
}

const MINUTE_MILLIS = 60_000
const RANKS = 3

/** One destination. */
class Lane {
  queued = 0
  bytes = 0
  held = 0
  later = 0
  readonly ready: number[] = new Array<number>(RANKS).fill(0)
  readonly contexts = new Map<string, number>()
  readonly minutes = new Map<number, number>()
}

const EMPTY: Readonly<Lane> = Object.freeze(new Lane())

function add<K>(map: Map<K, number>, key: K, by: number): void {
  const count = (map.get(key) ?? 0) + by
  if (count === 0) map.delete(key)
  else map.set(key, count)
}

const isSpoilt = (delivery: StoredDelivery): boolean =>
  delivery.state === 'held' && (delivery.code === 'OBJECT_DAMAGED' || delivery.code === 'OBJECT_MISSING')

export class Tally {
  instances = 0
  bytes = 0
  readonly #lanes = new Map<string, Lane>()
  /** By code, deliveries that are held because of the object itself. */
  readonly #spoilt = new Map<string, number>()
  /** `u/` key → ids whose bytes cannot be delivered: a repetition must not count as their duplicate. */
  readonly #unusable = new Map<string, Set<ObjectId>>()

  change(before: StoredRow | undefined, after: StoredRow | undefined): void {
    if (before) this.#count(before, -1)
    if (after) this.#count(after, 1)
  }

  #count(row: StoredRow, by: 1 | -1): void {
    this.instances += by
    this.bytes += by * row.bytes
    let spoilt = false
    for (const delivery of row.deliveries) {
      this.#countDelivery(row, delivery, by)
      spoilt ||= isSpoilt(delivery)
    }
    if (!spoilt) return
    const key = copiesKey(row)
    const ids = this.#unusable.get(key) ?? new Set()
    if (by > 0) this.#unusable.set(key, ids.add(row.id))
    else if (ids.delete(row.id) && ids.size === 0) this.#unusable.delete(key)
  }

  #countDelivery(row: StoredRow, delivery: StoredDelivery, by: 1 | -1): void {
    const lane = this.#laneToCount(delivery.destination)
    if (delivery.state === 'held') {
      lane.held += by
      if (isSpoilt(delivery)) add(this.#spoilt, delivery.code ?? '', by)
    }
    if (delivery.state !== 'queued') return
    lane.queued += by
    lane.bytes += by * row.bytes
    if (delivery.notBefore > 0) lane.later += by
    else lane.ready[priorityRank(delivery.priority)] = (lane.ready[priorityRank(delivery.priority)] ?? 0) + by
    add(lane.contexts, `${row.sopClass} ${row.transferSyntax}`, by)
    add(lane.minutes, Math.floor(row.receivedAt / MINUTE_MILLIS), by)
  }

  #laneToCount(destination: string): Lane {
    let lane = this.#lanes.get(destination)
    if (!lane) this.#lanes.set(destination, (lane = new Lane()))
    return lane
  }

  lane(destination: string): Readonly<Lane> {
    return this.#lanes.get(destination) ?? EMPTY
  }

  destinations(): string[] {
    return [...this.#lanes.keys()]
  }

  /** Arrival of the oldest that waits, to the minute, milliseconds since 1970; 0 = nothing waits. */
  oldest(destination: string): number {
    let oldest = Infinity
    for (const minute of this.lane(destination).minutes.keys()) oldest = Math.min(oldest, minute)
    return oldest === Infinity ? 0 : oldest * MINUTE_MILLIS
  }

  contexts(destination: string): WaitingContext[] {
    return [...this.lane(destination).contexts].map(([context, count]) => {
      const [sopClass = '', transferSyntax = ''] = context.split(' ')
      return { sopClass, transferSyntax, count }
    })
  }

  spoilt(code: 'OBJECT_DAMAGED' | 'OBJECT_MISSING'): number {
    return this.#spoilt.get(code) ?? 0
  }

  unusable(of: { tenant: string; sopInstance: string }): readonly ObjectId[] {
    return [...(this.#unusable.get(copiesKey(of)) ?? [])]
  }
}
