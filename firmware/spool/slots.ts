/**
 * Prepared, empty object files: made ahead in batches, so that the way to an acknowledgement
 * contains no creation of files and no sync of directories.
 */
import type { ObjectId } from '../domain/identifier.ts'
import type { Slot } from '../domain/spool.ts'
import type { ObjectFiles } from './files.ts'
import type { KeyRing } from './keys.ts'
import { newObjectId } from './object/id.ts'

export interface SlotsOptions {
  readonly files: ObjectFiles
  readonly keys: KeyRing
  readonly cipher: Slot['cipher']
  /** Kept ready per tenant. */
  readonly slots: number
  readonly now: () => number
}

export class Slots {
  readonly #options: SlotsOptions
  readonly #ready = new Map<string, Slot[]>()
  readonly #filling = new Map<string, Promise<void>>()
  /** All that are prepared and not yet objects. */
  readonly #known = new Map<ObjectId, Slot>()
  /** Of these, the ones given out. */
  readonly #out = new Set<ObjectId>()

  constructor(options: SlotsOptions) {
    this.#options = options
  }

  /** @throws the error of the file system when none can be prepared */
  async take(tenant: string): Promise<Slot> {
    for (;;) {
      const ready = this.#ready.get(tenant) ?? []
      const slot = ready.shift()
      if (ready.length < this.#options.slots / 2) {
        const filling = this.#fill(tenant)
        if (!slot) await filling
        // Told to the one who finds nothing ready.
        else filling.catch(() => undefined)
      }
      if (slot) {
        this.#out.add(slot.id)
        return slot
      }
    }
  }

  #fill(tenant: string): Promise<void> {
    let filling = this.#filling.get(tenant)
    if (!filling) {
      filling = this.#prepare(tenant).finally(() => this.#filling.delete(tenant))
      this.#filling.set(tenant, filling)
    }
    return filling
  }

  async #prepare(tenant: string): Promise<void> {
    const { files, keys, cipher, now } = this.#options
    await keys.ensure(tenant)
    const ready = this.#ready.get(tenant) ?? []
    this.#ready.set(tenant, ready)
    const made: Slot[] = []
    for (let count = ready.length; count < this.#options.slots; count += 1) {
      const id = newObjectId(now())
      made.push({ id, path: files.pathOf(id), tenant, cipher, ...keys.newDataKey(tenant, id) })
    }
    made.sort((one, other) => (one.id < other.id ? -1 : 1))
    for (const slot of made) this.#known.set(slot.id, slot)
    try {
      await files.prepare(made.map((slot) => slot.id))
    } catch (error) {
      for (const slot of made) this.#known.delete(slot.id)
      throw error
    }
    ready.push(...made)
  }

  get(id: ObjectId): Slot | undefined {
    return this.#known.get(id)
  }

  /** Recovery leaves these files alone. */
  has(id: ObjectId): boolean {
    return this.#known.has(id)
  }

  /** Committed: the file is an object now. */
  committed(id: ObjectId): void {
    this.#known.delete(id)
    this.#out.delete(id)
  }

  /**
   * Nobody writes to it any more: its file goes. It is not given out again, not even empty: that
   * who had it will never write to it again is only what they say.
   */
  async giveBack(id: ObjectId): Promise<void> {
    if (this.#out.delete(id)) await this.#drop(id)
  }

  async #drop(id: ObjectId): Promise<void> {
    this.#known.delete(id)
    this.#out.delete(id)
    await this.#options.files.unlink(id)
  }

  /** Removes what stands ready: at the end. */
  async clear(): Promise<void> {
    for (const [tenant, ready] of this.#ready) {
      await this.#filling.get(tenant)?.catch(() => undefined)
      for (const slot of ready.splice(0)) await this.#drop(slot.id).catch(() => undefined)
    }
  }

  /** Removes all of a tenant, also what a worker is writing: it could never be read. */
  async erase(tenant: string): Promise<void> {
    await this.#filling.get(tenant)?.catch(() => undefined)
    this.#ready.delete(tenant)
    for (const slot of this.#known.values()) if (slot.tenant === tenant) await this.#drop(slot.id).catch(() => undefined)
  }
}
