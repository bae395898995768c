/**
 * Those who send: DCMTK's storescu, stock and with TCP_NODELAY, alone or several at once, and
 * our own `sallyport send`. The time is from the first association asked for to the last answer.
 */
import { spawn } from 'node:child_process'
import { FIRMWARE } from '../faults/processes.ts'
import type { DcmtkTls } from '../peers/dcmtk.ts'
import { start } from '../peers/process.ts'
import { DcmtkLog } from './dcmtk-log.ts'
import { buriedCpuSeconds, watchPeak, type Usage } from './usage.ts'

export interface Target {
  readonly port: number
  readonly host?: string
  readonly aet?: string
}

export interface StorescuOptions {
  readonly noDelay: boolean
  /** Processes at once, each with its share of the files. */
  readonly lanes?: number
  readonly tls?: DcmtkTls
}

/** Times in milliseconds since 1970; `usage` is the senders'. */
export interface Sending {
  readonly began: number
  readonly ended: number
  readonly usage: Usage
}

const MILLIS = 180_000
const ASKED = 'Requesting Association'
const ANSWERED = 'Received Store Response'

export async function storescu(target: Target, files: readonly string[], options: StorescuOptions): Promise<Sending> {
  const lanes = options.lanes ?? 1
  const size = Math.ceil(files.length / lanes)
  const logs = Array.from({ length: lanes }, () => new DcmtkLog(ASKED, ANSWERED))
  const { tls } = options
  const secure = tls === undefined ? [] : tls.identity === undefined ? ['+tla'] : ['+tls', tls.identity.key, tls.identity.cert]
  if (tls !== undefined) secure.push(...(tls.ca === undefined ? ['-ic'] : ['+cf', tls.ca, '-rc']))
  const before = buriedCpuSeconds()
  const pids: number[] = []
  const peak = watchPeak(() => pids)
  const ends = logs.map(async (log, lane) => {
    const args = [...log.options, '-R', '+C', '-nh', '-aet', 'MODALITY', '-aec', target.aet ?? 'SALLYPORT', ...secure, target.host ?? '127.0.0.1', String(target.port)]
    const peer = await start('storescu', [...args, ...files.slice(lane * size, (lane + 1) * size)], {
      env: { TCP_NODELAY: options.noDelay ? '1' : undefined },
    })
    pids.push(peer.pid)
    const timer = setTimeout(() => void peer.stop(0), MILLIS)
    const { code } = await peer.exited
    clearTimeout(timer)
    if (code !== 0) throw new Error(`storescu ended with ${code}: ${peer.output()}${log.text.slice(-2000)}`)
  })
  try {
    await Promise.all(ends)
  } finally {
    await Promise.allSettled(ends)
  }
  const peakKiB = peak.stop()
  const answers = logs.flatMap((log) => log.times(ANSWERED))
  if (answers.length !== files.length) throw new Error(`storescu: ${answers.length} of ${files.length} answered`)
  return {
    began: Math.min(...logs.flatMap((log) => log.times(ASKED))),
    ended: Math.max(...answers),
    usage: { cpuSeconds: buriedCpuSeconds() - before, peakKiB },
  }
}

interface SentLine {
  readonly ok: boolean
  readonly text: string
  readonly millis: number
}

/** Our own sender. One line a file; the first one's time includes the association. */
export function sallyportSend(target: Target, folder: string, files: number): Promise<Sending> {
  const args = [FIRMWARE, 'send', '--json', '--to', `${target.host ?? '127.0.0.1'}:${target.port}`, '--called', target.aet ?? 'SALLYPORT', folder]
  const before = buriedCpuSeconds()
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'ignore'], timeout: MILLIS })
  const peak = watchPeak(() => (child.pid === undefined ? [] : [child.pid]))
  let [began, ended, answered, rest] = [0, 0, 0, '']
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    const now = Date.now()
    const lines = (rest + text).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) {
      const sent = JSON.parse(line) as SentLine
      if (sent.ok) answered += 1
      if (began === 0) began = now - sent.millis
      ended = now
    }
  })
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => {
      const peakKiB = peak.stop()
      if (code !== 0 || answered !== files) reject(new Error(`sallyport send ended with ${code}, ${answered} of ${files} stored`))
      else resolve({ began, ended, usage: { cpuSeconds: buriedCpuSeconds() - before, peakKiB } })
    })
  })
}
