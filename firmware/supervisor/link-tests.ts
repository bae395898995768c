/**
 * Link tests under way: a forward worker walks the steps, since it holds the identity; whoever
 * asked reads them from here as they come.
 */
import { Fault } from '../domain/errors.ts'
import type { Channel } from './channel.ts'
import type { ProbeStep } from '../link/probe.ts'
import type { ForwardService, ForwardWorker } from './methods.ts'

type Take = (step: ProbeStep | null) => void

export class LinkTests {
  readonly #channelOf: (destination: string) => Channel<ForwardService, ForwardWorker> | undefined
  readonly #under = new Map<number, Take>()
  #next = 1

  constructor(channelOf: (destination: string) => Channel<ForwardService, ForwardWorker> | undefined) {
    this.#channelOf = channelOf
  }

  /** One step after the other; ends after the last or with the worker. @throws Fault WORKER_DIED */
  async *run(destination: string): AsyncGenerator<ProbeStep> {
    const channel = this.#channelOf(destination)
    if (!channel) throw new Fault('WORKER_DIED')
    const test = this.#next++
    const came: (ProbeStep | null)[] = []
    let wake = () => {}
    this.#under.set(test, (step) => {
      came.push(step)
      wake()
    })
    try {
      channel.note('test', { test, destination })
      for (;;) {
        if (came.length === 0) await new Promise<void>((resolve) => (wake = resolve))
        const step = came.shift()
        if (!step) return
        yield step
      }
    } finally {
      this.#under.delete(test)
    }
  }

  step(test: number, step: ProbeStep | null): void {
    this.#under.get(test)?.(step)
  }

  /** The worker died: nothing more will come. */
  ended(): void {
    for (const take of this.#under.values()) take(null)
  }
}
