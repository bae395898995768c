import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Status } from '../supervisor/status.ts'
import { readArguments, wrongCall } from './arguments.ts'
import { ask, DEMO_DIRECTORY, settingsOf, socketOf } from './client.ts'
import { EXIT } from './commands.ts'
import { demoPorts, prepareDemo } from './demo-pair.ts'
import { bytesText, reasonText } from './text.ts'

const HELP = `sallyport demo [--directory DIR] [--port N]

Starts a box and a hub on this machine, joined by mutual TLS with certificates from a demo
authority made at the first start. No configuration, no root. Ctrl-C ends it; the next start
goes on where it was.

  --directory DIR   where both keep their state; default ${DEMO_DIRECTORY}
  --port N          plain DICOM port of the box at a first start; default 11112
`

/** Where `sallyport send` sends without being told. */
const USUAL_PORT = 11112
const RESTART_MILLIS = 500
const LOOK_MILLIS = 500
const START_MILLIS = 20_000

export async function run(args: string[]): Promise<number> {
  const parsed = readArguments(args, { directory: { type: 'string', default: DEMO_DIRECTORY }, port: { type: 'string', default: '11112' } }, HELP)
  if (typeof parsed === 'number') return parsed
  const first = Number(parsed.values.port)
  if (!Number.isInteger(first) || first < 1 || first > 60_000) return wrongCall('--port takes 1 to 60000', HELP)
  if (parsed.positionals.length > 0) return wrongCall(`demo takes no ${parsed.positionals[0]}`, HELP)
  const { directory } = parsed.values
  const pair = await prepareDemo(directory, demoPorts(first)).catch((error: NodeJS.ErrnoException) => error)
  if (pair instanceof Error) {
    process.stderr.write(`sallyport: ${directory} cannot be used: ${reasonText(pair)}\n`)
    return EXIT.failed
  }
  if (await runsAlready(pair.box, pair.hub)) {
    process.stderr.write(`sallyport: a demo runs already in ${directory}; npx sallyport status shows it\n`)
    return EXIT.failed
  }
  const sides = (['box', 'hub'] as const).map((role) => new Side(role, pair[role], path.join(directory, role, 'log.jsonl')))
  const told = new Promise<void>((resolve) => {
    process.once('SIGINT', resolve)
    process.once('SIGTERM', resolve)
  })
  let ending = false
  void told.then(() => (ending = true))
  const box = settingsOf(pair.box)
  if (!box) return EXIT.usage
  const lan = box.listeners[0]
  process.stdout.write(`Sallyport demo: a box and a hub on this machine, joined by mutual TLS

  Send to     AE title SALLYPORT (any is taken), host ${addresses().join(' or ')}, port ${lan?.port}
  Arrives in  ${path.join(pair.delivered, '<tenant>', '<Study>', '<Series>', '<SOP>.dcm')}
  Try it      npx sallyport sample var/sample && npx sallyport send var/sample${lan?.port === USUAL_PORT ? '' : ` --to 127.0.0.1:${lan?.port}`}
  Logs        ${sides.map((side) => side.logFile).join(', ')}
  Stop        Ctrl-C

`)
  const started = Date.now()
  let shown = ''
  while (!ending) {
    const all = await Promise.all(sides.map((side) => side.status()))
    const failure = sides.map((side) => side.failure).find((one) => one !== undefined)
    if (failure !== undefined) {
      process.stderr.write(`${failure}\n`)
      break
    }
    if (all.every((status) => status === undefined) && Date.now() - started > START_MILLIS) {
      process.stderr.write(`sallyport: neither side came up; see ${sides.map((side) => side.logFile).join(' and ')}\n`)
      break
    }
    shown = show(all, shown)
    await Promise.race([told, new Promise((resolve) => setTimeout(resolve, LOOK_MILLIS))])
  }
  if (process.stdout.isTTY) process.stdout.write('\n')
  process.stdout.write('Stopping; what waits stays safe.\n')
  await Promise.all(sides.map((side) => side.stop()))
  return ending ? EXIT.ok : EXIT.failed
}

async function runsAlready(...configs: string[]): Promise<boolean> {
  const answers = configs.map((config) => ask(socketOf(settingsOf(config)?.runtime ?? ''), 'GET', '/status').then(() => true, () => false))
  return (await Promise.all(answers)).includes(true)
}

/** One of the two, started again when it ends. */
class Side {
  readonly logFile: string
  readonly #role: 'box' | 'hub'
  readonly #config: string
  readonly #socket: string
  #child: ChildProcess | undefined
  #stopping = false
  /** Why it could not start at all, in its own words. */
  failure: string | undefined

  constructor(role: 'box' | 'hub', config: string, logFile: string) {
    this.#role = role
    this.#config = config
    this.logFile = logFile
    this.#socket = socketOf(settingsOf(config)?.runtime ?? '')
    this.#start()
  }

  #start(): void {
    const log = fs.openSync(this.logFile, 'a', 0o600)
    const from = fs.fstatSync(log).size
    const main = fileURLToPath(new URL('../main.ts', import.meta.url))
    const child = spawn(process.execPath, [main, this.#role, '--config', this.#config], { stdio: ['ignore', log, log], detached: true })
    fs.closeSync(log)
    this.#child = child
    child.once('exit', (status) => {
      if (this.#child === child) this.#child = undefined
      if (status !== null && status !== 0) this.failure = lastWords(this.logFile, from)
      if (!this.#stopping) setTimeout(() => this.#stopping || this.#start(), RESTART_MILLIS)
    })
  }

  async status(): Promise<Status | undefined> {
    try {
      return await ask<Status>(this.#socket, 'GET', '/status')
    } catch {
      return undefined // it is starting; the next look tells
    }
  }

  stop(): Promise<void> {
    this.#stopping = true
    const child = this.#child
    if (!child) return Promise.resolve()
    return new Promise((resolve) => {
      child.once('exit', () => resolve())
      child.kill('SIGTERM')
    })
  }
}

/** What a side said to a person, not to the journal: it does so only when it cannot start. */
function lastWords(logFile: string, from: number): string | undefined {
  const lines = fs.readFileSync(logFile).subarray(from).toString('utf8').trimEnd().split('\n')
  return lines.findLast((line) => line.startsWith('sallyport: '))
}

/** On a terminal lines that change in place, what the link does below the counts, for 80 columns; elsewhere a line whenever something changed. */
function show(all: readonly (Status | undefined)[], before: string): string {
  const lines = all.flatMap((status, i) => {
    if (!status) return [`${i === 0 ? 'box' : 'hub'}  starting`, '']
    return [countsOf(status), `     ${linkLine(status)}`]
  })
  const text = lines.join('\n')
  if (text === before) return before
  if (process.stdout.isTTY) {
    const width = process.stdout.columns
    if (before) process.stdout.write(`\x1b[${lines.length - 1}F`)
    process.stdout.write(lines.map((line) => `\x1b[2K${line.slice(0, width)}`).join('\n'))
  } else process.stdout.write(lines.filter((line) => line !== '').join('\n') + '\n')
  return text
}

function countsOf(status: Status): string {
  const sum = (pick: (d: Status['destinations'][number]) => number) => status.destinations.reduce((total, d) => total + pick(d), 0)
  const { received } = status
  return (
    `${status.role}  received ${received.instances} (${bytesText(received.bytes)})  waiting ${sum((d) => d.queued)}` +
    `  sending ${sum((d) => d.forwarding)}  held ${sum((d) => d.held)}  delivered ${sum((d) => d.delivered)}`
  )
}

/** The link the role lives by: the box's to the hub; at the hub, whatever is worst. */
function linkLine(status: Status): string {
  const dicom = status.destinations.filter((d) => d.kind !== 'folder')
  const worst = dicom.find((d) => d.link.state !== 'connected') ?? dicom[0]
  const waits = status.destinations.some((d) => d.queued + d.forwarding + d.held > 0) || status.alarms.length > 0 || status.spool.full
  if (waits) return status.sentence
  return worst ? `${worst.name}: ${worst.link.word}. ${worst.link.sentence}` : status.sentence
}

function addresses(): string[] {
  const all = Object.values(os.networkInterfaces()).flat()
  const outside = all.filter((a) => a && !a.internal && a.family === 'IPv4').map((a) => a?.address ?? '')
  return ['127.0.0.1', ...outside]
}
