/**
 * The contract with the service manager (systemd.exec(5), sd_notify(3)): where state, runtime
 * files and credentials lie, and how to say that we are ready, alive, or stopping. Without
 * systemd the same folders come from the configuration, and saying is a no-op.
 */
import { execFile } from 'node:child_process'
import { join } from 'node:path'

export interface Folders {
  readonly state: string
  readonly runtime: string
  readonly credentials: string
}

/**
 * @param environment `STATE_DIRECTORY` and its sisters may hold several paths, joined by `:`;
 *   the first is ours.
 * @param fallback state folder where systemd gives none; the other two then lie below it.
 */
export function foldersOf(environment: NodeJS.ProcessEnv, fallback: string): Folders {
  const first = (name: string): string | undefined => environment[name]?.split(':')[0] || undefined
  const state = first('STATE_DIRECTORY') ?? fallback
  return {
    state,
    runtime: first('RUNTIME_DIRECTORY') ?? join(state, 'run'),
    credentials: first('CREDENTIALS_DIRECTORY') ?? join(state, 'credentials'),
  }
}

/** Says things to systemd. Node has no datagram sockets of the Unix kind: `systemd-notify` does it. */
export class Service {
  readonly #environment: NodeJS.ProcessEnv
  #watchdog: NodeJS.Timeout | undefined

  constructor(environment: NodeJS.ProcessEnv) {
    this.#environment = environment
  }

  /** Whether anybody listens. */
  get watched(): boolean {
    return Boolean(this.#environment['NOTIFY_SOCKET'])
  }

  /** Up and serving. @param status one sentence for `systemctl status`. */
  ready(status?: string): Promise<void> {
    return this.#say(['READY=1', ...statusLine(status)])
  }

  status(status: string): Promise<void> {
    return this.#say(statusLine(status))
  }

  stopping(): Promise<void> {
    clearInterval(this.#watchdog)
    return this.#say(['STOPPING=1'])
  }

  /**
   * Strokes the watchdog as long as `alive` says yes, at a third of the time systemd allows
   * (`WATCHDOG_USEC`), so that two strokes may be late. Nothing without a watchdog, or when it
   * watches another process (`WATCHDOG_PID`).
   */
  watchdog(alive: () => boolean): void {
    const { WATCHDOG_USEC: micros, WATCHDOG_PID: pid } = this.#environment
    const allowed = Number(micros) / 1000
    if (!this.watched || !(allowed > 0) || (pid !== undefined && Number(pid) !== process.pid)) return
    clearInterval(this.#watchdog)
    this.#watchdog = setInterval(() => {
      if (alive()) void this.#say(['WATCHDOG=1'])
    }, allowed / 3)
    this.#watchdog.unref()
  }

  /** Never fails: a service that runs must not die of its manager's deafness. */
  #say(lines: readonly string[]): Promise<void> {
    if (!this.watched || lines.length === 0) return Promise.resolve()
    const { promise, resolve } = Promise.withResolvers<void>()
    // --pid makes systemd take the word as ours; NotifyAccess=exec or all lets the child speak.
    execFile('systemd-notify', [`--pid=${process.pid}`, ...lines], { env: this.#environment, timeout: NOTIFY_MILLIS }, () => resolve())
    return promise
  }
}

export const openService = (environment: NodeJS.ProcessEnv): Service => new Service(environment)

const NOTIFY_MILLIS = 5_000
const statusLine = (status: string | undefined): string[] => (status ? [`STATUS=${status.replaceAll('\n', ' ').slice(0, 200)}`] : [])
