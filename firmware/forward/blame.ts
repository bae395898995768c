/**
 * Whose doing a refusal is after which later may be better (A7xx, an abort by the far side): the
 * destination's, or that one instance's. Refused again although the far side took others in
 * between, it is the instance's: it must not make the destination pause, and after
 * `LIMITS.refusalsOfOne` such refusals a person must look. While nothing passes, nothing is proven.
 */
import { LIMITS } from '../domain/limits.ts'

export class Blame {
  /** How many the far side took. */
  #taken = 0
  readonly #refused = new Map<string, { times: number; taken: number }>()

  taken(id: string): void {
    this.#taken += 1
    this.#refused.delete(id)
  }

  /** @returns how many times, this one included, it alone was refused; 0: that cannot be told. */
  refused(id: string): number {
    const before = this.#refused.get(id)
    const times = before === undefined ? 0 : before.times + (this.#taken > before.taken ? 1 : 0)
    // Moved to the end: those longest without an attempt give way.
    this.#refused.delete(id)
    this.#refused.set(id, { times, taken: this.#taken })
    if (this.#refused.size > LIMITS.refusedKept) this.#refused.delete(this.#refused.keys().next().value ?? '')
    return times
  }

  /** It will not be tried again by itself. */
  forget(id: string): void {
    this.#refused.delete(id)
  }
}
