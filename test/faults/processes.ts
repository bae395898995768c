/**
 * A running Sallyport (supervisor and workers) as a tree of processes that can be looked at,
 * frozen and killed. Knows of the firmware only its command line, a line it writes when it is
 * ready, and its control socket.
 */
import { readFileSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { descendants, start, until, type Peer } from '../peers/process.ts'

export const FIRMWARE = join(import.meta.dirname, '../../firmware/main.ts')

export interface Member {
  readonly pid: number
  /** Its command line, NULs as spaces. */
  readonly command: string
  readonly residentKiB: number
  /** Highest resident set ever (VmHWM). */
  readonly peakKiB: number
}

const readProc = (pid: number, file: string): string => {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8')
  } catch {
    return ''
  }
}

/** Undefined once it is gone, or only waits to be buried. */
export function inspect(pid: number): Member | undefined {
  const status = readProc(pid, 'status')
  const kib = (field: string) => Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0)
  if (status === '' || /^State:\s+[ZX]/m.test(status)) return undefined
  const command = readProc(pid, 'cmdline').replaceAll('\0', ' ').trim()
  return { pid, command, residentKiB: kib('VmRSS'), peakKiB: kib('VmHWM') }
}

export interface TreeOptions {
  /** Behind `node`: `[FIRMWARE, 'box', '--config', file]`. */
  readonly command: readonly string[]
  readonly ready: RegExp
  readonly readyMillis?: number
  /** Path of the control socket, for `ask`. */
  readonly control?: string
  readonly env?: Readonly<Record<string, string | undefined>>
  readonly cwd?: string
}

export interface Tree extends Peer {
  /** The supervisor and everything below it, alive now. */
  members(): Member[]
  /** Those below the supervisor whose command line fits. */
  workers(pattern?: RegExp): Member[]
  /** SIGKILL, and waits until it is gone. */
  kill(pid: number): Promise<void>
  /** Every process of the tree at one instant: none sees another die. What a power cut leaves in memory is lost, what is in the page cache is not. */
  killAll(): Promise<void>
  /** SIGSTOP: alive, and deaf. */
  freeze(pid: number): void
  thaw(pid: number): void
  /** One request to the control socket; the body of the answer, parsed if it is JSON. @throws Error on any status but 2xx. */
  ask(method: 'GET' | 'POST', path: string, body?: unknown): Promise<unknown>
  /** Samples until `stop`, which gives the peak of every process seen, by command line, in KiB. */
  watchMemory(everyMillis?: number): { stop(): Map<string, number> }
}

const gone = (pid: number) => until(`process ${pid} to end`, () => inspect(pid) === undefined)

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

function ask(socketPath: string | undefined, method: string, path: string, body?: unknown): Promise<unknown> {
  if (socketPath === undefined) throw new Error('this tree was started without a control socket')
  return new Promise((resolve, reject) => {
    const headers = body === undefined ? {} : { 'content-type': 'application/json' }
    // A connection kept alive may be closed by the other side just as it is used again.
    const sent = request({ socketPath, method, path, headers, timeout: 30_000, agent: false }, (answer) => {
      let text = ''
      answer.setEncoding('utf8').on('data', (part: string) => (text += part))
      answer.on('error', reject)
      answer.on('end', () => {
        if (answer.statusCode === undefined || answer.statusCode >= 300) reject(new Error(`${method} ${path}: ${answer.statusCode} ${text}`))
        else resolve(answer.headers['content-type']?.startsWith('application/json') === true ? JSON.parse(text) : text)
      })
    })
    sent.on('timeout', () => sent.destroy(new Error(`${method} ${path}: no answer`)))
    sent.on('error', reject)
    sent.end(body === undefined ? undefined : JSON.stringify(body))
  })
}

/** @throws Error with the tree's output when it is not ready in time (60 s). */
export async function startTree(options: TreeOptions): Promise<Tree> {
  const { ready, env = {}, readyMillis = 60_000 } = options
  const cwd = options.cwd === undefined ? {} : { cwd: options.cwd }
  const peer = await start(process.execPath, options.command, { ready, readyMillis, env, ...cwd })
  const pids = () => [peer.pid, ...descendants(peer.pid)]
  const look = (list: readonly number[]) => list.map(inspect).filter((member) => member !== undefined)
  return {
    ...peer,
    members: () => look(pids()),
    workers: (pattern = /./) => look(descendants(peer.pid)).filter((member) => pattern.test(member.command)),
    kill: async (pid) => {
      send(pid, 'SIGKILL')
      await gone(pid)
    },
    killAll: async () => {
      // Stopped first, top down, so that the supervisor starts no worker anew between two kills.
      send(peer.pid, 'SIGSTOP')
      const list = pids()
      for (const pid of list) send(pid, 'SIGSTOP')
      for (const pid of list) send(pid, 'SIGKILL')
      await Promise.all(list.map(gone))
      await peer.exited
    },
    freeze: (pid) => send(pid, 'SIGSTOP'),
    thaw: (pid) => send(pid, 'SIGCONT'),
    ask: (method, path, body) => ask(options.control, method, path, body),
    watchMemory: (everyMillis = 100) => {
      const peaks = new Map<string, number>()
      const sample = () => {
        for (const { pid, command, peakKiB } of look(pids())) {
          const name = `${pid} ${command}`
          peaks.set(name, Math.max(peaks.get(name) ?? 0, peakKiB))
        }
      }
      sample()
      const timer = setInterval(sample, everyMillis)
      return {
        stop: () => {
          clearInterval(timer)
          sample()
          return peaks
        },
      }
    },
  }
}
