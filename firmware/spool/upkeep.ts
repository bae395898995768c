/**
 * What may happen later: unlinking the files of ended instances, forgetting receipts and
 * duplicates by age, removing empty folders.
 */
import type { ObjectId } from '../domain/identifier.ts'
import { LIMITS } from '../domain/limits.ts'
import type { Log } from '../domain/log.ts'
import { expire } from './changes.ts'
import type { ObjectFiles } from './files.ts'
import type { Change } from './index.ts'
import type { Ledger } from './ledger.ts'
import { endedKey, graveKey } from './rows.ts'
import { firstOf, keysUnder } from './survey.ts'
import { after } from './rows.ts'

export interface UpkeepOptions {
  readonly ledger: Ledger
  readonly files: ObjectFiles
  readonly now: () => number
  readonly log: Log
  readonly receiptsMillis: number
}

export class Upkeep {
  readonly #options: UpkeepOptions
  /** Unlinked; their graves are closed together with the next ones. */
  #buried: ObjectId[] = []
  #closing: Promise<void> | undefined
  readonly #unlinking = new Set<Promise<void>>()

  constructor(options: UpkeepOptions) {
    this.#options = options
  }

  /** Unlinks the file of an ended instance; a failure is tried again by `run`. */
  bury(id: ObjectId): void {
    const unlinking: Promise<void> = this.#options.files
      .unlink(id)
      .then(
        () => void this.#buried.push(id),
        (error: unknown) => this.#options.log.warn('unlink-failed', { id, detail: String((error as NodeJS.ErrnoException).code) }),
      )
      .finally(() => {
        this.#unlinking.delete(unlinking)
        if (this.#buried.length >= LIMITS.graves) void this.closeGraves()
      })
    this.#unlinking.add(unlinking)
  }

  /** Forgets the graves whose files are gone. An open grave is harmless: it only says so again. */
  closeGraves(): Promise<void> {
    this.#closing ??= this.#closeGraves().finally(() => {
      this.#closing = undefined
    })
    return this.#closing
  }

  async #closeGraves(): Promise<void> {
    const ids = this.#buried
    this.#buried = []
    if (ids.length === 0) return
    const keys = ids.map(graveKey)
    await this.#options.ledger
      .transact({
        keys,
        apply: (view) => {
          for (const key of keys) if (view.get(key) !== undefined) view.remove(key)
        },
      })
      .catch(() => undefined)
  }

  /** Waits for what is under way. */
  async settled(): Promise<void> {
    await Promise.all(this.#unlinking)
    await this.closeGraves()
  }

  /** Everything that is due; called now and then. */
  async run(): Promise<void> {
    const { files, now } = this.#options
    await this.settled()
    const open: ObjectId[] = []
    for await (const key of keysUnder(this.#options.ledger.database, 'g/')) {
      open.push(key.slice(2))
      if (open.length >= LIMITS.changesPerBatch) break
    }
    for (const id of open) this.bury(id)
    await this.settled()
    await this.#forgetReceipts(now() - this.#options.receiptsMillis)
    await this.#forgetEnded(now())
    await files.sweep(now())
  }

  async #forgetReceipts(before: number): Promise<void> {
    await this.#inPortions('r/', before, (keys) => ({
      keys: [],
      apply: (view) => {
        for (const key of keys) view.replace(key, undefined)
      },
    }))
  }

  async #forgetEnded(now: number): Promise<void> {
    const endedOf = (key: string): string => {
      const [, , tenant = '', sopInstance = ''] = key.split('/')
      return endedKey({ tenant, sopInstance })
    }
    await this.#inPortions('x/', now, (keys) => ({
      keys: keys.map(endedOf),
      apply: (view) => {
        for (const key of keys) expire(view, key, endedOf(key), now)
      },
    }))
  }

  /** Keys of a kind that sorts by time, up to `before`. */
  async #inPortions(kind: string, before: number, change: (keys: string[]) => Change<void>): Promise<void> {
    for (;;) {
      const { ledger } = this.#options
      const range = { gt: kind, lt: after(`${kind}${String(Math.max(0, before)).padStart(15, '0')}/`), limit: LIMITS.changesPerBatch }
      const keys = await firstOf(ledger.database.keys(range), LIMITS.changesPerBatch)
      if (keys.length === 0) return
      await ledger.transact(change(keys))
    }
  }
}
