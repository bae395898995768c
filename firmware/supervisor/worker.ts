/**
 * One worker process: started, watched, started again. A worker holds nothing that its death
 * could lose; the supervisor takes back its slots and leases and starts the next one.
 */
import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { PING, PONG } from './channel.ts'
import type { Log } from '../domain/log.ts'

export type WorkerKind = 'receive' | 'forward'

export interface WorkerOptions {
  readonly kind: WorkerKind
  /** From 0. */
  readonly number: number
  readonly main: string
  readonly log: Log
  /** Called with each new process, before it says anything. */
  readonly started: (child: ChildProcess) => void
  readonly ended: () => void
}

/** A worker that dies again within this time waits longer before the next start. */
const CALM_MILLIS = 10_000
const FIRST_DELAY_MILLIS = 50
const LAST_DELAY_MILLIS = 10_000
/**
 * A worker that leaves so many pings in a row without an answer is stuck and is killed. Counted, not
 * timed: a clock that is set, or a machine that stood still with us, is not the worker's doing.
 */
const STUCK_PINGS = 6
const PING_MILLIS = 5_000
/** How long a worker may take to finish what it has in hand when asked to stop. */
const STOP_MILLIS = 5_000

export class Worker {
  readonly #options: WorkerOptions
  #child: ChildProcess | undefined
  #startedAt = 0
  #delay = FIRST_DELAY_MILLIS
  #stopping = false
  #unanswered = 0
  #timer: NodeJS.Timeout | undefined
  restarts = 0

  constructor(options: WorkerOptions) {
    this.#options = options
    this.#start()
  }

  get pid(): number | undefined {
    return this.#child?.pid
  }
  get kind(): WorkerKind {
    return this.#options.kind
  }

  #start(): void {
    const { kind, number, main } = this.#options
    const child = fork(main, ['worker', kind], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      env: { ...process.env, SALLYPORT_WORKER: String(number), UV_THREADPOOL_SIZE: '8' },
    })
    this.#child = child
    this.#startedAt = performance.now()
    this.#unanswered = 0
    child.on('message', (message) => {
      if (message === PONG) this.#unanswered = 0
    })
    // Without a process id it never began (no memory, no process to be had), and never exits.
    child.on('error', () => (child.pid === undefined ? this.#exited(child, null, null) : child.kill('SIGKILL')))
    child.once('exit', (code, signal) => this.#exited(child, code, signal))
    this.#options.started(child)
    this.#timer = setInterval(() => this.#ping(child), PING_MILLIS)
    this.#timer.unref()
  }

  #ping(child: ChildProcess): void {
    if ((this.#unanswered += 1) > STUCK_PINGS) {
      this.#options.log.warn('worker-stuck', { worker: this.#options.kind, pid: child.pid ?? 0 })
      child.kill('SIGKILL')
    } else if (child.connected) child.send(PING, () => {})
  }

  #exited(child: ChildProcess, code: number | null, signal: string | null): void {
    clearInterval(this.#timer)
    if (this.#child !== child) return
    this.#child = undefined
    this.#options.ended()
    if (this.#stopping) return
    this.restarts += 1
    if (performance.now() - this.#startedAt > CALM_MILLIS) this.#delay = FIRST_DELAY_MILLIS
    this.#options.log.warn('worker-ended', { worker: this.#options.kind, code: code ?? -1, signal: signal ?? '', restartMillis: this.#delay })
    setTimeout(() => {
      if (!this.#stopping) this.#start()
    }, this.#delay)
    this.#delay = Math.min(this.#delay * 2, LAST_DELAY_MILLIS)
  }

  /** Asks the worker to finish what it has in hand; kills it after STOP_MILLIS. */
  stop(): Promise<void> {
    this.#stopping = true
    const child = this.#child
    if (!child) return Promise.resolve()
    return new Promise((resolve) => {
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MILLIS)
      child.once('exit', () => {
        clearTimeout(timer)
        resolve()
      })
      child.kill('SIGTERM')
    })
  }
}
