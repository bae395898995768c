/**
 * What a person does to instances, and what a refused presentation context does: deliveries that
 * nobody holds a lease on are held, queued again or given up.
 */
import type { ErrorCode } from '../domain/errors.ts'
import type { ObjectId } from '../domain/identifier.ts'
import { LIMITS } from '../domain/limits.ts'
import { intervene, settleKeys } from './changes.ts'
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
  readonly bury: (id: ObjectId) => void
  readonly wake: (destination: string) => void
}

type IdOf = (key: string, stored: string) => ObjectId | undefined

export class Interventions {
  readonly #options: InterventionsOptions

  constructor(options: InterventionsOptions) {
    this.#options = options
  }

  async holdContext(destination: string, context: { sopClass: string; transferSyntax: string }, why: { code: ErrorCode; detail?: string }): Promise<number> {
    const prefixes = [0, 1, 2].map((rank) => queuePrefix(destination, rank)).concat(laterPrefix(destination))
    const idOf: IdOf = (key, stored) => {
      const waiting = decode<Waiting>(key, stored)
      return waiting?.sopClass === context.sopClass && waiting.transferSyntax === context.transferSyntax ? waiting.id : undefined
    }
    let count = 0
    for await (const ids of this.#portions(prefixes, idOf)) {
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

  async retryHeld(destination: string): Promise<number> {
    const prefix = heldPrefix(destination)
    let count = 0
    for await (const ids of this.#portions([prefix], (key) => key.slice(prefix.length))) {
      const done = await Promise.all(ids.map((id) => this.one(id, destination, this.retrying)))
      count += done.filter((one) => one).length
    }
    return count
  }

  readonly retrying = (row: StoredRow): Intervention => ({ kind: 'retry', targets: this.#options.targets(row.source.listener, row.tenant) })

  /** The deliveries of one instance, or the one to `destination`. @returns how many */
  async ofInstance(id: ObjectId, destination: string | undefined, what: (row: StoredRow) => Intervention): Promise<number> {
    const row = await this.#options.ledger.row(id)
    let count = 0
    for (const delivery of row?.deliveries ?? [])
      if ((destination === undefined || delivery.destination === destination) && (await this.one(id, delivery.destination, what))) count += 1
    return count
  }

  /** @returns whether there was anything to do; what is leased is left alone */
  async one(id: ObjectId, destination: string, what: (row: StoredRow) => Intervention): Promise<boolean> {
    const { ledger, leases, ending, bury, wake } = this.#options
    const kind = await leases.exclusively(id, destination, async () => {
      const row = await ledger.row(id)
      if (!row) return undefined
      const intervention = what(row)
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
