/**
 * The far side has no room for anything now: nothing is sent to it for a while, and for twice as
 * long when it says so again. Counted by a timer and not by the clock of the day, which may be set.
 */
const FIRST_MILLIS = 1_000
const CAP_MILLIS = 60_000

export class Pause {
  readonly #random: () => number
  readonly #over: () => void
  #millis = 0
  #timer: NodeJS.Timeout | undefined

  /** @param over called when a pause is over. */
  constructor(random: () => number, over: () => void) {
    this.#random = random
    this.#over = over
  }

  get on(): boolean {
    return this.#timer !== undefined
  }

  /** What several associations hear in the same moment makes one pause. */
  begin(): void {
    if (this.on) return
    this.#millis = Math.min(CAP_MILLIS, Math.max(FIRST_MILLIS, this.#millis * 2))
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      this.#over()
    }, this.#millis * (0.5 + this.#random() / 2))
    this.#timer.unref()
  }

  /** It took something: the next pause is a short one again. */
  taken(): void {
    this.#millis = 0
  }

  /** For good, without a word. */
  end(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }
}
