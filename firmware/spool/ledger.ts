/**
 * The index in use: opened and, when it must be, replaced under those who use it; with the counts
 * that follow it, and the object files laid beside it after every opening.
 */
import type { ObjectId } from '../domain/identifier.ts'
import type { Database } from './database.ts'
import { openLock } from './database.ts'
import { graveKey, decode, rowKey } from './rows.ts'
import type { Meta, StoredRow } from './rows.ts'
import { Index } from './index.ts'
import type { Change } from './index.ts'
import { GONE, abreast, adopt, examine, fillFrom } from './reconcile.ts'
import type { Ground } from './reconcile.ts'
import { endWitness, openIndex, setAside, setAsideAt } from './recovery.ts'
import type { Opened } from './recovery.ts'
import { keysUnder } from './survey.ts'
import { Tally } from './tally.ts'
import { faultOf, isOfDisk, isUnreadable } from './trouble.ts'
import { IndexDamaged } from './view.ts'
import type { RowChange } from './view.ts'
import { Fault } from '../domain/errors.ts'

/** Openings that fail to read before the index counts as damaged. */
const UNREADABLE_TIMES = 3

export interface LedgerOptions extends Ground {
  /** The spool's own directory. */
  readonly directory: string
  /** After every batch that is on stable storage. */
  readonly written: (changes: readonly RowChange[]) => void
  /** Another index is in use; what was remembered about places in the old one is void. */
  readonly replaced: () => void
  /** An ended instance whose file is still there. */
  readonly bury: (id: ObjectId) => void
  /** A row whose file is gone. */
  readonly missing: (row: StoredRow) => Promise<void>
  /** Files and rows agree again. */
  readonly reconciled: () => Promise<void>
}

export class Ledger {
  readonly #options: LedgerOptions
  #lock: Database | undefined
  #index!: Index
  #tally = new Tally()
  #rebuiltAt: number[] = []
  #unreadable = 0
  #reconciling: Promise<void> = Promise.resolve()
  #closed = false

  constructor(options: LedgerOptions) {
    this.#options = options
  }

  /** Resolves when index and files agree. @throws the error of the disk */
  async open(): Promise<void> {
    this.#lock = await openLock(this.#options.directory)
    const opened = await this.#openFirst().catch(async (error: unknown) => {
      await this.#lock?.close()
      throw error
    })
    this.#index = new Index(opened.database, opened.meta, {
      sync: true,
      written: (changes) => {
        for (const { before, after } of changes) this.#tally.change(before, after)
        this.#options.written(changes)
      },
      trouble: (error) => this.#tell(error),
      reopen: (broken, damaged) => this.#reopen(broken, damaged),
    })
    this.#use(opened)
    await this.#reconcile()
  }

  get index(): Index {
    return this.#index
  }

  get tally(): Tally {
    return this.#tally
  }

  get meta(): Meta {
    return this.#index.meta
  }

  /** Why nothing can be written now. */
  get failure(): Fault | undefined {
    return this.#index.failure
  }

  /** For reading. @throws Fault while the index is being reopened */
  get database(): Database {
    return this.#index.database
  }

  /** When the index was made anew because it was damaged, milliseconds since 1970. */
  get rebuiltAt(): readonly number[] {
    return this.#rebuiltAt
  }

  transact<T>(change: Change<T>): Promise<T> {
    return this.#index.transact(change)
  }

  /** @throws Fault while the index is being reopened */
  async row(id: ObjectId): Promise<StoredRow | undefined> {
    const stored = await this.database.get(rowKey(id))
    if (stored === undefined) return undefined
    const row = decode<StoredRow>(rowKey(id), stored)
    if (row) return row
    const damage = new IndexDamaged('a row')
    this.readFailed(damage)
    throw faultOf(damage)
  }

  /**
   * Reading failed: because the handle is being replaced, or it has to be.
   * @throws what is not of the disk: a defect of ours
   */
  readFailed(error: unknown): void {
    if (!isOfDisk(error)) throw error
    if (!this.#closed && !this.#index.failure) this.#index.report(error)
  }

  /** @throws Fault when the disk or the state of the index keeps `work` from being done */
  async reading<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      if (!(error instanceof Fault)) this.readFailed(error)
      throw faultOf(error)
    }
  }

  /** Makes the index anew from the object files and what verifies of the old one. */
  async rebuild(): Promise<void> {
    this.#index.report(new IndexDamaged('a person asked for it'))
    // Written by nobody but the new index.
    await this.#index.transact({ keys: [], apply: () => undefined })
    await this.#reconciling
  }

  /** Resolves when files and rows agree, if they are being compared. */
  async settled(): Promise<void> {
    this.#closed = true
    await this.#reconciling.catch(() => undefined)
  }

  async close(): Promise<void> {
    await this.settled()
    await this.#index.close()
    // Without it the next opening believes a little more; that is no reason to fail at the end.
    if (!this.#index.failure) await endWitness(this.#options.directory, this.#index.meta).catch((error: unknown) => this.#tell(error))
    await this.#lock?.close()
  }

  #tell(error: unknown): void {
    this.#options.log.warn('index-trouble', { detail: (error as Error).message })
  }

  async #openFirst(): Promise<Opened> {
    for (;;) {
      try {
        return await this.#openIndex(false)
      } catch (error) {
        if (!isUnreadable(error) || this.#unreadable > UNREADABLE_TIMES) throw error
        this.#tell(error)
      }
    }
  }

  async #openIndex(damaged: boolean): Promise<Opened> {
    const { directory, log, now } = this.#options
    const distrusted = damaged || this.#unreadable >= UNREADABLE_TIMES
    try {
      const opened = await openIndex({ directory, distrusted, log, now, fill: (made, meta, old) => fillFrom(this.#options, made, meta, old) })
      this.#unreadable = 0
      return opened
    } catch (error) {
      // Once may be the cable; a sector that stays unreadable must not keep the box from starting.
      if (isUnreadable(error)) this.#unreadable += 1
      throw error
    }
  }

  #use({ tally, damage }: Opened): void {
    this.#tally = tally
    if (damage !== undefined) this.#rebuiltAt.push(this.#options.now())
    this.#options.replaced()
  }

  async #reopen(broken: Database | undefined, damaged: boolean): Promise<Opened> {
    // A handle that failed may fail to close as well, and is closed nevertheless.
    await broken?.close().catch(() => undefined)
    const opened = await this.#openIndex(damaged)
    this.#use(opened)
    this.#options.log.info('index-reopened', { damaged })
    this.#reconciling = this.#reconciling
      .catch(() => undefined)
      .then(() => new Promise<void>((resolve) => setImmediate(resolve)))
      .then(() => this.#reconcile())
    this.#reconciling.catch((error: unknown) => this.readFailed(error))
    return opened
  }

  /** Lays files beside rows and settles the differences; the spool may be in use meanwhile. */
  async #reconcile(): Promise<void> {
    const { files, directory, reconciled } = this.#options
    const ids = keysUnder(this.database, 'i/')
    const rows = (async function* () {
      for await (const key of ids) yield { id: key.slice(2), row: undefined }
    })()
    for await (const { found, row } of abreast(files.walk(), rows)) {
      if (found && !row) await this.#settleFile(found)
      else if (row && !found) await this.#settleRow(row.id)
    }
    if (this.#rebuiltAt.length === 0) this.#rebuiltAt = (await setAside(directory)).map(setAsideAt)
    await reconciled()
  }

  async #settleFile(found: { id: ObjectId; path: string }): Promise<void> {
    const { files, isSlot, keyOf, log, bury } = this.#options
    if (isSlot(found.id)) return
    const [row, grave] = await this.database.getMany([rowKey(found.id), graveKey(found.id)])
    if (row !== undefined) return
    if (grave !== undefined) return bury(found.id)
    const state = await examine(found, keyOf, true)
    if (state.kind === 'complete') {
      if (!(await adopt(this.#index, this.#options, state))) await files.unlink(found.id)
    } else if (state.kind === 'incomplete' || state.reason === GONE) await files.unlink(found.id)
    else {
      log.warn('set-aside', { id: found.id, detail: state.reason })
      await files.quarantine(found)
    }
  }

  async #settleRow(id: ObjectId): Promise<void> {
    const row = await this.row(id)
    if (!row || !row.deliveries.some((one) => one.state === 'queued')) return
    this.#options.log.warn('missing', { id, sopInstance: row.sopInstance })
    await this.#options.missing(row)
  }
}
