/**
 * One deadline at a time, cheap to move: a message that comes and goes within the bound costs no
 * timer. The timer that runs is left to fire and then looks whether the deadline is still ahead.
 */
export class Watch {
  readonly #expired: () => void
  #timer: NodeJS.Timeout | undefined
  #armedFor = Infinity
  #deadline = Infinity
  #check: (() => number) | undefined

  constructor(expired: () => void) {
    this.#expired = expired
  }

  /**
   * Replaces the deadline.
   *
   * @param check asked when it is reached: the milliseconds to go on for, or 0 to expire.
   */
  set(millis: number, check?: () => number): void {
    this.#deadline = performance.now() + millis
    this.#check = check
    if (this.#deadline < this.#armedFor) this.#arm(millis)
  }
  /** No deadline; the timer may still fire once and find nothing to do. */
  rest(): void {
    this.#deadline = Infinity
  }
  /** For good. */
  stop(): void {
    this.#deadline = Infinity
    this.#armedFor = Infinity
    clearTimeout(this.#timer)
  }

  #arm(millis: number): void {
    clearTimeout(this.#timer)
    this.#armedFor = performance.now() + millis
    this.#timer = setTimeout(() => this.#fire(), Math.ceil(millis))
    this.#timer.unref()
  }
  #fire(): void {
    this.#armedFor = Infinity
    if (this.#deadline === Infinity) return
    const left = this.#deadline - performance.now()
    // Timers may fire a fraction early.
    if (left > 1) return this.#arm(left)
    const more = this.#check?.() ?? 0
    if (more > 0) this.set(more, this.#check)
    else this.#expired()
  }
}
