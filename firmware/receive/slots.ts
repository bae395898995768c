/**
 * Slots held ready, so that a C-STORE need not wait for the supervisor before its first byte.
 */
import type { Slot } from '../domain/spool.ts'
import type { Intake } from './intake.ts'

/** Held ready per tenant: the one in use next, and one more for an association beside it. */
const READY = 2

export class Slots {
  readonly #intake: Pick<Intake, 'slot' | 'giveBack'>
  readonly #ready = new Map<string, Slot[]>()
  readonly #filling = new Set<string>()

  constructor(intake: Pick<Intake, 'slot' | 'giveBack'>) {
    this.#intake = intake
  }

  /** @returns at once when one is ready. @throws Fault as `Intake.slot` does. */
  take(tenant: string): Slot | Promise<Slot> {
    const slot = this.#ready.get(tenant)?.shift()
    this.#fill(tenant)
    return slot ?? this.#intake.slot(tenant)
  }

  /** An association of this tenant has begun; its first image should find a slot. */
  prepare(tenant: string): void {
    this.#fill(tenant)
  }

  #fill(tenant: string): void {
    const ready = this.#ready.get(tenant) ?? []
    this.#ready.set(tenant, ready)
    if (ready.length >= READY || this.#filling.has(tenant)) return
    this.#filling.add(tenant)
    this.#intake.slot(tenant).then(
      (slot) => {
        this.#filling.delete(tenant)
        ready.push(slot)
        this.#fill(tenant)
      },
      // A full or failing disk is told to the sender when a slot is asked for by name.
      () => this.#filling.delete(tenant),
    )
  }

  /** This worker ends in order. */
  giveBackAll(): void {
    for (const ready of this.#ready.values()) for (const slot of ready.splice(0)) this.#intake.giveBack(slot.id)
  }
}
