/**
 * One test file, run as a process of its own: what it asserted, and how it ended.
 *
 * The files are plain programs that print TAP (tap does so when run by node), so they are run by
 * node itself: a runner in between lost the results of other files when one file timed out.
 */
import { spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { Parser, type Result } from 'tap-parser'

export interface Failure {
  readonly name: string
  /** Diagnostics as tap gave them. */
  readonly diagnostics?: unknown
}

export interface FileReport {
  readonly file: string
  readonly passed: number
  readonly skipped: readonly string[]
  readonly failures: readonly Failure[]
  readonly comments: readonly string[]
  /** What the file and its children wrote besides TAP; the last `noiseChars` of it. */
  readonly noise: string
  readonly millis: number
}

const noiseChars = 16_384

/** Groups still running: ended when this process is. */
const groups = new Set<number>()

const killGroup = (group: number): void => {
  try {
    process.kill(-group, 'SIGKILL')
  } catch {
    // nobody left in it
  }
}

/** Command names of those alive in a process group; the dead that nobody has buried yet do not count. */
function alive(group: number): string[] {
  return readdirSync('/proc').flatMap((pid) => {
    try {
      const [, name, state, pgrp] = /^\d+ \((.*)\) (\S) \d+ (\d+)/s.exec(readFileSync(`/proc/${pid}/stat`, 'utf8')) ?? []
      return Number(pgrp) === group && name !== undefined && state !== 'Z' && state !== 'X' ? [name] : []
    } catch {
      return [] // not a process, or gone since
    }
  })
}

export function endAll(): void {
  for (const group of groups) killGroup(group)
}

export function runFile(file: string, millis: number): Promise<FileReport> {
  const started = performance.now()
  const failures: Failure[] = []
  const skipped: string[] = []
  const comments: string[] = []
  let passed = 0
  let noise = ''
  const hear = (text: string) => {
    noise = (noise + text).slice(-noiseChars)
  }

  const parser = new Parser()
  parser.on('pass', () => {
    passed += 1
  })
  parser.on('fail', (result: Result) => failures.push({ name: result.fullname, diagnostics: result.diag }))
  // A test marked "todo" asserts nothing yet: it is counted with the skipped, never as passed.
  for (const event of ['skip', 'todo'] as const) {
    parser.on(event, (result: Result) => {
      const why = result.skip || result.todo
      skipped.push(typeof why === 'string' ? `${result.fullname}: ${why}` : result.fullname)
    })
  }
  const listen = (to: Parser) => {
    to.on('comment', (line: string) => {
      const text = line.trim()
      if (!/^# (Subtest|time=|\{ total)/.test(text)) comments.push(text)
    })
    to.on('extra', hear)
    to.on('child', listen)
  }
  listen(parser)

  // tap's own limit per test ends a file with a diagnosis; ours, later, ends one that hangs for good.
  const env = { ...process.env, TAP_TIMEOUT: String(Math.max(1, Math.floor(millis / 1000) - 20)) }
  // A group of its own, so that peers which a crashed file left behind end with it.
  const child = spawn(process.execPath, [file], { env, stdio: ['ignore', 'pipe', 'pipe'], detached: true })
  const group = child.pid
  if (group !== undefined) groups.add(group)
  child.stdout.setEncoding('utf8').on('data', (text: string) => parser.write(text))
  child.stderr.setEncoding('utf8').on('data', hear)

  return new Promise((resolve) => {
    let late = false
    const deadline = globalThis.setTimeout(() => {
      late = true
      if (group !== undefined) killGroup(group)
    }, millis)
    let ending = 'did not start'
    child.on('error', (error) => {
      ending = `did not start: ${error.message}`
    })
    // What the file left running may hold its output open and disturb the next one: it ends here.
    let swept: Promise<void> | undefined
    const sweep = async () => {
      if (group === undefined) return
      if (alive(group).length > 0) await setTimeout(250)
      const left = alive(group)
      if (left.length > 0) comments.push(`# left running, and ended: ${left.join(', ')}`)
      killGroup(group)
      groups.delete(group)
    }
    child.on('exit', (code, signal) => {
      ending = code === 0 ? '' : signal === null ? `exit code ${code}` : `signal ${signal}`
      swept = sweep()
    })
    const report = async () => {
      clearTimeout(deadline)
      await swept
      parser.end()
      const results = parser.results
      if (late) failures.push({ name: `not finished within ${millis / 1000} s` })
      else if (ending !== '' && failures.length === 0) failures.push({ name: `the file ended with ${ending}` })
      else if (failures.length === 0 && results?.ok !== true) failures.push({ name: 'TAP incomplete', diagnostics: results?.failures })
      if (failures.length === 0 && passed === 0 && skipped.length === 0) failures.push({ name: 'the file asserts nothing' })
      resolve({ file, passed, skipped, failures, comments, noise, millis: performance.now() - started })
    }
    child.on('close', () => void report())
  })
}
