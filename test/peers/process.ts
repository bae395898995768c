/**
 * Programs that are not ours, run beside a test: started with a readiness wait, stopped with
 * everything they started, their output kept. All of them end with the process that runs the
 * test, however it ends.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/** Characters of output kept per program: the first half and the last half. */
const OUTPUT_CHARS = 1024 * 1024

const running = new Set<ChildProcess>()
const folders = new Set<string>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

/** A new empty folder below the system's temporary one; gone when the test ends. */
export function scratch(name = 'scratch'): string {
  const folder = mkdtempSync(join(tmpdir(), `sallyport-${name}-`))
  folders.add(folder)
  return folder
}

/** Below those Linux gives to outgoing connections (32768 and up), which would take one while its server restarts. */
const [FIRST_PORT, LAST_PORT] = [10_000, 32_767]

/** A port nobody uses now. Another program may take it: `start` says so with its output. */
export async function freePort(host = '127.0.0.1'): Promise<number> {
  for (;;) {
    const server = createServer()
    const port = randomInt(FIRST_PORT, LAST_PORT + 1)
    const free = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false)).listen(port, host, () => resolve(true))
    })
    if (!free) continue
    await new Promise((resolve) => server.close(resolve))
    return port
  }
}

/** Polls until `condition` gives something truthy; the bound is a diagnosis, not a measure. */
export async function until<T>(
  what: string,
  condition: () => T | Promise<T>,
  millis = 20_000,
): Promise<NonNullable<Exclude<T, false>>> {
  const end = performance.now() + millis
  for (;;) {
    const value = await condition()
    if (value) return value as NonNullable<Exclude<T, false>>
    if (performance.now() > end) throw new Error(`${what}: not within ${millis / 1000} s`)
    await sleep(15)
  }
}

export const answersOn = (port: number, host = '127.0.0.1'): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect({ port, host })
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })

/** Parent of every process of this machine. */
function parents(): Map<number, number> {
  const map = new Map<number, number>()
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    try {
      // "pid (command) state ppid …": the command may hold spaces and parentheses.
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8')
      map.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]))
    } catch {
      // ended between the listing and the reading
    }
  }
  return map
}

/** Children, their children and so on, nearest first. */
export function descendants(pid: number): number[] {
  const all = [...parents()]
  const found: number[] = []
  for (let level = [pid]; level.length > 0; ) {
    level = all.filter(([, parent]) => level.includes(parent)).map(([child]) => child)
    found.push(...level)
  }
  return found
}

export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export interface Peer {
  readonly pid: number
  /** What it wrote so far, stdout and stderr together. */
  output(): string
  readonly exited: Promise<Exit>
  /** Ends it and everything it started: SIGTERM, and SIGKILL after `graceMillis`. */
  stop(graceMillis?: number): Promise<Exit>
}

export interface StartOptions {
  readonly env?: Readonly<Record<string, string | undefined>>
  readonly cwd?: string
  /** Resolved once this is in the output, or this gives true. */
  readonly ready?: RegExp | (() => boolean | Promise<boolean>)
  readonly readyMillis?: number
  readonly input?: string
}

/** @throws Error with its output when it ends, or is not ready, within `readyMillis` (20 s). */
export async function start(command: string, args: readonly string[], options: StartOptions = {}): Promise<Peer> {
  const env = { ...process.env, ...options.env }
  const child = spawn(command, args, { env, cwd: options.cwd, stdio: ['pipe', 'pipe', 'pipe'] })
  running.add(child)
  let head = ''
  let tail = ''
  const hear = (text: string) => {
    const room = Math.max(0, OUTPUT_CHARS / 2 - head.length)
    head += text.slice(0, room)
    tail = (tail + text.slice(room)).slice(-OUTPUT_CHARS / 2)
  }
  const output = () => head + tail
  child.stdout.setEncoding('utf8').on('data', hear)
  child.stderr.setEncoding('utf8').on('data', hear)
  child.stdin.on('error', () => {})
  child.stdin.end(options.input)

  let exit: Exit | undefined
  const exited = new Promise<Exit>((resolve) => {
    child.once('error', (error) => hear(`${error.message}\n`))
    // `close`: the output is complete. A start that failed closes too.
    child.once('close', (code, signal) => {
      running.delete(child)
      resolve((exit = { code, signal }))
    })
  })
  const pid = child.pid ?? 0
  const peer: Peer = {
    pid,
    output,
    exited,
    stop: async (graceMillis = 5000) => {
      if (exit !== undefined || pid === 0) return exited
      const family = descendants(pid)
      child.kill('SIGTERM')
      const timer = setTimeout(() => child.kill('SIGKILL'), graceMillis)
      for (const member of family) {
        try {
          process.kill(member, 'SIGKILL')
        } catch {
          // ended by itself
        }
      }
      await exited
      clearTimeout(timer)
      return exited
    },
  }
  const { ready } = options
  if (ready !== undefined) {
    const line = `${command} ${args.join(' ')}`
    try {
      await until(line, async () => exit !== undefined || (ready instanceof RegExp ? ready.test(output()) : await ready()), options.readyMillis)
    } catch (error) {
      await peer.stop(0)
      throw new Error(`${(error as Error).message}; it said:\n${output()}`, { cause: error })
    }
    if (exit !== undefined) throw new Error(`${line}: ended with ${exit.code ?? exit.signal}; it said:\n${output()}`)
  }
  return peer
}

export interface Finished {
  /** Exit code; -1 where a signal ended it. */
  readonly status: number
  readonly output: string
  readonly millis: number
}

/** Runs a program to its end. It is killed, status -1, after `millis` (60 s). */
export async function finish(
  command: string,
  args: readonly string[],
  options: Omit<StartOptions, 'ready' | 'readyMillis'> & { readonly millis?: number } = {},
): Promise<Finished> {
  const started = performance.now()
  const peer = await start(command, args, options)
  const timer = setTimeout(() => void peer.stop(0), options.millis ?? 60_000)
  const { code } = await peer.exited
  clearTimeout(timer)
  return { status: code ?? -1, output: peer.output(), millis: performance.now() - started }
}
