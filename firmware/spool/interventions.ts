/**
 * What a person does to instances, and what a refused presentation context does: deliveries that
 * nobody holds a lease on are held, queued again or given up.
 */
import type { ErrorCode } from '../domain/errors.ts'
import type { ObjectId } from '../domain/identifier.ts'
import { LIMITS } from '../domain/limits.ts'
import { UNROUTED, intervene, settleKeys } from './changes.ts'
import type { Ending, Intervention } from './changes.ts'
import type { Leases } from './leases.ts'
import type { Ledger } from './ledger.ts'
import type { Ground } from './reconcile.ts'
import type { StoredRow, Waiting } from './rows.ts'
import { decode, heldPrefix, laterPrefix, queuePrefix } from './rows.ts'
import { entriesUnder } from './survey.ts'

export interface InterventionsOptions {
  readonly ledger: Ledger
  readonly leases: Leases
  readonly ending: () => Ending
  readonly targets: Ground['targets']
  /** Absent: every destination is. */
  readonly configured: readonly string[] | undefined
  readonly bury: (id: ObjectId) => void
  readonly wake: (destination: string) => void
}

/** @returns undefined: nothing */
type What = (row: StoredRow, destination: string) => Intervention | undefined
type IdOf = (key: string, stored: string) => ObjectId | undefined

const waitingPrefixes = (destination: string): string[] => [0, 1, 2].map((rank) => queuePrefix(destination, rank)).concat(laterPrefix(destination))

export class Interventions {
  readonly #options: InterventionsOptions

  constructor(options: InterventionsOptions) {
    this.#options = options
  }

  async holdContext(destination: string, context: { sopClass: string; transferSyntax: string }, why: { code: ErrorCode; detail?: string }): Promise<number> {
    const idOf: IdOf = (key, stored) => {
      const waiting = decode<Waiting>(key, stored)
      return waiting?.sopClass === context.sopClass && waiting.transferSyntax === context.transferSyntax ? waiting.id : undefined
    }
    let count = 0
    for await (const ids of this.#portions(waitingPrefixes(destination), idOf)) {
      const done = await Promise.all(ids.map((id) => this.one(id, destination, () => ({ kind: 'hold', ...why }))))
      count += done.filter((one) => one).length
    }
    return count
  }

  /** All deliveries of one instance that still wait. */
  async holdObject(row: StoredRow, code: 'OBJECT_MISSING' | 'OBJECT_DAMAGED', detail: string): Promise<void> {
    for (const { destination, state } of row.deliveries)
      if (state === 'queued') await this.one(row.id, destination, () => ({ kind: 'hold', code, detail }))
  }

  async retryHeld(destination: string, what: What = this.retrying): Promise<number> {
    const prefix = heldPrefix(destination)
    let count = 0
    for await (const ids of this.#portions([prefix], (key) => key.slice(prefix.length))) {
      const done = await Promise.all(ids.map((id) => this.one(id, destination, what)))
      count += done.filter((one) => one).length
    }
    return count
  }

  readonly retrying = (row: StoredRow, destination: string): Intervention => ({
    kind: 'retry',
    ...(this.#isConfigured(destination) ? {} : { targets: this.#options.targets(row.source.listener, row.tenant) }),
  })

  #isConfigured(destination: string): boolean {
    return destination !== UNROUTED && (this.#options.configured?.includes(destination) ?? true)
  }

  /**
   * After a change of the configuration: what waits for a destination that is gone is held, what was
   * held for that reason goes when the destination is back, what had no route when there is one.
   */
  async align(): Promise<void> {
    const back: What = (row, destination) =>
      row.deliveries.some((one) => one.destination === destination && one.code === 'DESTINATION_UNKNOWN') ? { kind: 'retry' } : undefined
    for (const destination of this.#options.ledger.tally.destinations()) {
      const { held } = this.#options.ledger.tally.lane(destination)
      if (destination === UNROUTED) await this.retryHeld(destination)
      else if (!this.#isConfigured(destination)) await this.#holdAll(destination)
      else if (held > 0) await this.retryHeld(destination, back)
    }
  }

  async #holdAll(destination: string): Promise<void> {
    const why = { kind: 'hold', code: 'DESTINATION_UNKNOWN' } as const
    for await (const ids of this.#portions(waitingPrefixes(destination), (key, stored) => decode<Waiting>(key, stored)?.id))
      await Promise.all(ids.map((id) => this.one(id, destination, () => why)))
  }

  /** The deliveries of one instance, or the one to `destination`. @returns how many */
  async ofInstance(id: ObjectId, destination: string | undefined, what: What): Promise<number> {
    const row = await this.#options.ledger.row(id)
    let count = 0
    for (const delivery of row?.deliveries ?? [])
      if ((destination === undefined || delivery.destination === destination) && (await this.one(id, delivery.destination, what))) count += 1
    return count
  }

  /** @returns whether there was anything to do; what is leased is left alone */
  async one(id: ObjectId, destination: string, what: What): Promise<boolean> {
    const { ledger, leases, ending, bury, wake } = this.#options
    const kind = await leases.exclusively(id, destination, async () => {
      const row = await ledger.row(id)
      if (!row) return undefined
      const intervention = what(row, destination)
      if (!intervention) return undefined
      const settled = await ledger.transact({ keys: settleKeys(row), apply: (view) => intervene(view, id, destination, intervention, ending()) })
      if (settled.ended) bury(id)
      return settled.done ? intervention.kind : undefined
    })
    // `written` told it while it was not yet free to be leased.
    if (kind === 'retry') wake(destination)
    return kind !== undefined
  }

  async *#portions(prefixes: readonly string[], idOf: IdOf): AsyncGenerator<ObjectId[]> {
    const ids: ObjectId[] = []
    for (const prefix of prefixes)
      for await (const [key, stored] of entriesUnder(this.#options.ledger.database, prefix)) {
        const id = idOf(key, stored)
        if (id !== undefined) ids.push(id)
        if (ids.length >= LIMITS.changesPerBatch) yield ids.splice(0)
      }
    if (ids.length > 0) yield ids
  }
}
