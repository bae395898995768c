/**
 * Carriers that have nothing to carry at the moment, longest idle first.
 */
import type { Carrier } from './outlet.ts'

interface Waiting<Load> {
  readonly carrier: Carrier
  readonly wake: (load: Load | undefined) => void
}

/** The far side may end an idle association at any time; so often it is looked after. */
const LOOK_MILLIS = 250

export class Idle<Load> {
  #waiting: Waiting<Load>[] = []

  /** @returns the next load; undefined when there was none for so long, the carrier died, or `release` was called */
  wait(carrier: Carrier, millis: number): Promise<Load | undefined> {
    return new Promise((resolve) => {
      const wake = (load: Load | undefined): void => {
        clearTimeout(timer)
        clearInterval(look)
        this.#waiting = this.#waiting.filter((one) => one.wake !== wake)
        resolve(load)
      }
      const timer = setTimeout(() => wake(undefined), millis)
      const look = setInterval(() => {
        if (!carrier.alive) wake(undefined)
      }, LOOK_MILLIS)
      this.#waiting.push({ carrier, wake })
    })
  }

  get any(): boolean {
    return this.#waiting.length > 0
  }

  /** To be called only when there is one. */
  give(load: Load): void {
    const [first] = this.#waiting
    if (!first) throw new Error('idle: nobody waits')
    first.wake(load)
  }

  /** @returns those that waited */
  release(): Carrier[] {
    const all = this.#waiting
    for (const { wake } of all) wake(undefined)
    return all.map(({ carrier }) => carrier)
  }
}
