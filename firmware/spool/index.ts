/**
 * The index on disk: one LevelDB, one writer. Changes that gather while a batch is being synced
 * are written by the next one (group commit): no timer, so one alone waits for nobody.
 *
 * After an error of the disk the handle is useless until it is closed and opened anew (LevelDB
 * keeps a background error), and whether the failed batch is there is not known. So every change
 * is written such that applying it twice does the same as once, and is applied again after the
 * reopening. Only a change whose caller must not wait (`impatient`: the sender of an image stands
 * there) fails when the first reopening or the second writing fails.
 */
import { LIMITS } from '../domain/limits.ts'
import { Fault } from '../domain/errors.ts'
import type { Meta } from './rows.ts'
import type { Database } from './database.ts'
import { faultOf, isCorruption } from './trouble.ts'
import { IndexDamaged, View } from './view.ts'
import type { RowChange } from './view.ts'

export interface Change<T> {
  /** Every key `apply` reads. */
  readonly keys: readonly string[]
  readonly impatient?: boolean
  /** Checks first, then writes; a throw after a write is a defect and ends the process. */
  apply(view: View): T
}

interface Pending {
  readonly change: Change<unknown>
  readonly resolve: (value: unknown) => void
  readonly reject: (reason: unknown) => void
  result: unknown
  failed: unknown
  tries: number
}

export interface IndexOptions {
  /** Every batch is on stable storage before it counts; not so only while an index is being made. */
  readonly sync: boolean
  /** Called after a batch is on stable storage, before those who wait for it are told. */
  readonly written: (changes: readonly RowChange[]) => void
  /**
   * The handle is of no use any more. Must resolve to a new one, or reject; it is called again
   * after a while. `damaged`: what was read is not what was written.
   */
  readonly reopen: (broken: Database | undefined, damaged: boolean) => Promise<{ database: Database; meta: Meta }>
  readonly trouble: (error: unknown) => void
}

const FIRST_PAUSE_MILLIS = 100
const LONGEST_PAUSE_MILLIS = 5_000

export class Index {
  readonly #options: IndexOptions
  #database: Database | undefined
  #meta: Meta
  #queue: Pending[] = []
  #running: Promise<void> | undefined
  #reopening: Promise<void> | undefined
  #pause = FIRST_PAUSE_MILLIS
  #failure: Fault | undefined
  #closed = false
  #timer: { cancel: () => void } | undefined

  constructor(database: Database, meta: Meta, options: IndexOptions) {
    this.#database = database
    this.#meta = meta
    this.#options = options
  }

  /** Why nothing can be written now. */
  get failure(): Fault | undefined {
    return this.#failure
  }

  get meta(): Meta {
    return this.#meta
  }

  /** For reading. @throws Fault while the index is being reopened */
  get database(): Database {
    if (this.#database === undefined) throw this.#failure ?? new Fault('DISK_FAILED', { detail: 'index' })
    return this.#database
  }

  /** Something read was not what was written. */
  report(error: unknown): void {
    if (!this.#closed && !this.#reopening) this.#goDown(error)
  }

  /** @throws Fault SPOOL_FULL or DISK_FAILED when impatient; SUPERVISOR_GONE after `close` */
  transact<T>(change: Change<T>): Promise<T> {
    if (this.#closed) return Promise.reject(new Fault('SUPERVISOR_GONE'))
    if (change.impatient && this.#failure) return Promise.reject(this.#failure)
    return new Promise<T>((resolve, reject) => {
      this.#queue.push({ change, resolve: resolve as (value: unknown) => void, reject, result: undefined, failed: undefined, tries: 0 })
      this.#start()
    })
  }

  #start(): void {
    if (this.#running || this.#reopening || this.#queue.length === 0) return
    this.#running = this.#run().finally(() => {
      this.#running = undefined
      this.#start()
    })
  }

  async #run(): Promise<void> {
    while (this.#queue.length > 0 && this.#database && !this.#reopening) {
      const group = this.#queue.splice(0, LIMITS.changesPerBatch)
      try {
        await this.#write(this.#database, group)
      } catch (error) {
        this.#queue.unshift(...group)
        this.#goDown(error)
      }
    }
  }

  async #write(database: Database, group: readonly Pending[]): Promise<void> {
    const keys = [...new Set(group.flatMap((pending) => pending.change.keys))]
    const stored = keys.length > 0 ? await database.getMany(keys) : []
    const view = new View(new Map(keys.map((key, at) => [key, stored[at]])), this.#meta)
    for (const pending of group) apply(pending, view)
    if (view.dirty) await database.batch(view.operations(), { sync: this.#options.sync })
    this.#meta = view.meta
    this.#pause = FIRST_PAUSE_MILLIS
    this.#failure = undefined
    this.#options.written(view.changes)
    for (const pending of group) {
      if (pending.failed === undefined) pending.resolve(pending.result)
      else pending.reject(pending.failed)
    }
  }

  #goDown(error: unknown): void {
    if (this.#reopening || this.#closed) return
    this.#options.trouble(error)
    this.#failure = faultOf(error)
    const broken = this.#database
    this.#database = undefined
    for (const pending of this.#queue) pending.tries += 1
    this.#reopening = this.#reopen(broken, error instanceof IndexDamaged || isCorruption(error)).finally(() => {
      this.#reopening = undefined
      this.#start()
    })
  }

  async #reopen(broken: Database | undefined, damaged: boolean): Promise<void> {
    let again = false
    for (let handle = broken; !this.#closed; handle = undefined, again = true) {
      this.#failImpatient(again ? 0 : 1)
      // The first time at once: most errors are of one moment. Growing after that, so that a full
      // disk is not hammered; a success of writing, not of opening, resets it.
      if (again || this.#pause > FIRST_PAUSE_MILLIS) await this.#wait(this.#pause)
      this.#pause = Math.min(this.#pause * 2, LONGEST_PAUSE_MILLIS)
      if (this.#closed) return
      try {
        const { database, meta } = await this.#options.reopen(handle, damaged)
        this.#database = database
        this.#meta = meta
        this.#failure = undefined
        return
      } catch (error) {
        this.#options.trouble(error)
        this.#failure = faultOf(error)
        damaged ||= isCorruption(error)
      }
    }
  }

  /** Tells those who must not wait; `tries` is how many failures they may have seen. */
  #failImpatient(tries: number): void {
    const failure = this.#failure
    this.#queue = this.#queue.filter((pending) => {
      if (!pending.change.impatient || pending.tries <= tries) return true
      pending.reject(failure)
      return false
    })
  }

  #wait(millis: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, millis)
      this.#timer = { cancel: () => (clearTimeout(timer), resolve()) }
    })
  }

  /** Writes what is waiting, then closes the database. What cannot be written is rejected. */
  async close(): Promise<void> {
    await this.release()
    await this.#database?.close()
    this.#database = undefined
  }

  /** As `close`, but leaves the database to its owner. */
  async release(): Promise<void> {
    if (!this.#failure) while (this.#running) await this.#running
    this.#closed = true
    this.#timer?.cancel()
    await this.#reopening
    await this.#running
    for (const pending of this.#queue.splice(0)) pending.reject(new Fault('SUPERVISOR_GONE'))
  }
}

function apply(pending: Pending, view: View): void {
  const before = view.writes
  try {
    pending.failed = undefined
    pending.result = pending.change.apply(view)
  } catch (error) {
    if (error instanceof IndexDamaged) throw error
    // Half a change in a batch would be an index that contradicts itself. Dying is better: nothing
    // of the batch was written.
    if (view.writes !== before) {
      process.nextTick(() => {
        throw error
      })
    }
    pending.failed = error
  }
}
