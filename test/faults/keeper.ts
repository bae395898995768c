/**
 * Keeps one side running as systemd does: whenever its supervisor is gone, the next one is
 * started. Remembers everything that ended without having been killed, and everything that was
 * written that is no line of the log: such as the trace of a crash.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Status } from '../../firmware/supervisor/status.ts'
import type { Side } from '../pair.ts'
import { until } from '../peers/process.ts'
import { FIRMWARE, inspect, startTree, type Tree } from './processes.ts'

export const PARTS = ['supervisor', 'receive', 'forward'] as const
export type Part = (typeof PARTS)[number]

const RESTART_MILLIS = 30

export class Keeper {
  readonly side: Side
  /** What should not have been said. */
  readonly remarks: string[] = []
  /** Log events, counted. */
  readonly events = new Map<string, number>()
  starts = 0
  #tree: Tree | undefined
  #stopping = false
  #running: Promise<void> | undefined

  constructor(side: Side) {
    this.side = side
  }

  start(): void {
    this.#stopping = false
    this.#running = this.#run()
  }

  async #run(): Promise<void> {
    while (!this.#stopping) {
      // Ready at once: a start is as good a moment to be killed as any other.
      const tree = await startTree({ command: [FIRMWARE, this.side.role, '--config', this.side.config], ready: /(?:)/, control: this.side.control })
      this.#tree = tree
      this.starts += 1
      while (inspect(tree.pid)) await sleep(5)
      this.#tree = undefined
      // Its workers may live on for a moment, and it is not waited for them.
      void tree.exited.then(({ code, signal }) => this.#hear(tree.output(), code, signal))
      if (!this.#stopping) await sleep(RESTART_MILLIS)
    }
  }

  #hear(output: string, code: number | null, signal: string | null): void {
    const { role } = this.side
    if (signal !== 'SIGKILL' && code !== 0) this.remarks.push(`${role}: supervisor ended with ${code ?? signal}`)
    for (const line of output.split('\n')) {
      if (line === '') continue
      const said = parsed(line)
      if (said === undefined) {
        this.remarks.push(`${role}: ${line}`)
        continue
      }
      this.events.set(said.event, (this.events.get(said.event) ?? 0) + 1)
      if (said.event === 'worker-ended' && said.signal !== 'SIGKILL') this.remarks.push(`${role}: ${line}`)
    }
  }

  /** Undefined while it does not run. */
  pidOf(part: Part): number | undefined {
    if (part === 'supervisor') return this.#tree?.pid
    return this.#tree?.workers(part === 'receive' ? /\breceive\b/ : /\bforward\b/)[0]?.pid
  }

  /** @returns whether there was anything to kill */
  async kill(part: Part): Promise<boolean> {
    const pid = this.pidOf(part)
    if (pid === undefined || pid === 0) return false
    await this.#tree?.kill(pid)
    return true
  }

  async killAll(): Promise<boolean> {
    if (this.#tree === undefined) return false
    await this.#tree.killAll()
    return true
  }

  async status(): Promise<Status> {
    if (this.#tree === undefined) throw new Error('between two starts')
    return (await this.#tree.ask('GET', '/status')) as Status
  }

  /** Everything has left it. */
  drained(millis = 60_000): Promise<Status> {
    return until(`${this.side.role} to be empty`, async () => {
      const status = await this.status().catch(() => undefined)
      return status?.spool.instances === 0 && status
    }, millis)
  }

  /** In good order: SIGTERM, and it ends by itself. @returns its exit code */
  async stop(millis = 15_000): Promise<number | null> {
    this.#stopping = true
    const tree = this.#tree
    if (!tree) return null
    process.kill(tree.pid, 'SIGTERM')
    const { code } = await Promise.race([tree.exited, sleep(millis).then(() => tree.killAll().then(() => tree.exited))])
    await this.#running
    return code
  }

  /** Whatever becomes of the test. */
  async end(): Promise<void> {
    this.#stopping = true
    await this.#tree?.killAll()
    await this.#running
  }
}

function parsed(line: string): { event: string; signal?: unknown } | undefined {
  try {
    const value = JSON.parse(line) as { event?: unknown }
    return typeof value.event === 'string' ? (value as { event: string }) : undefined
  } catch {
    return undefined
  }
}
