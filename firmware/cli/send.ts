import fs from 'node:fs/promises'
import path from 'node:path'
import { readPart10 } from '../dicom/part10.ts'
import type { Part10Object } from '../dicom/part10.ts'
import { isAeTitle } from '../domain/identifier.ts'
import { LIMITS } from '../domain/limits.ts'
import { loadIdentity } from '../pki/identity.ts'
import type { Identity } from '../pki/identity.ts'
import { Fault } from '../domain/errors.ts'
import { readArguments, wrongCall } from './arguments.ts'
import { EXIT } from './commands.ts'
import { Sender } from './sender.ts'
import type { Sent } from './sender.ts'
import { bytesText, reasonText } from './text.ts'

const HELP = `sallyport send FILE|FOLDER ... [OPTIONS]

Sends DICOM files byte for byte: the data set goes out exactly as it is stored. Folders are
walked; what is not DICOM is named and passed over. One line for each file goes to stdout.

  --to HOST:PORT       where to; default 127.0.0.1:11112; IPv6 as [::1]:11112
  --called AE          AE title of the far side; default SALLYPORT
  --calling AE         our AE title; default SALLYPORT-SEND
  --tls FOLDER         mutual TLS with cert.pem, key.pem, ca.pem (and crl.pem) of this folder
  --server-name NAME   name in the far side's certificate, where it differs from HOST
  --associations N     as many at once; default 1
  --timeout SECONDS    without progress, and to the answer; default 60
  --json               one JSON object a line instead

Exit status: 0 every image stored; 1 one or more were not; 2 wrong call.
`

const OPTIONS = {
  to: { type: 'string', default: '127.0.0.1:11112' },
  called: { type: 'string', default: 'SALLYPORT' },
  calling: { type: 'string', default: 'SALLYPORT-SEND' },
  tls: { type: 'string' },
  'server-name': { type: 'string' },
  associations: { type: 'string', default: '1' },
  timeout: { type: 'string', default: '60' },
  json: { type: 'boolean' },
} as const

const PROGRESS_MILLIS = 200

export async function run(args: string[]): Promise<number> {
  const parsed = readArguments(args, OPTIONS, HELP)
  if (typeof parsed === 'number') return parsed
  const { values, positionals } = parsed
  const to = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(values.to)
  const associations = Number(values.associations)
  const timeout = Number(values.timeout)
  if (positionals.length === 0) return wrongCall('send takes files or folders', HELP)
  const port = Number(to?.[3])
  if (!to || port < 1 || port > 65_535) return wrongCall(`--to ${values.to} is not HOST:PORT`, HELP)
  if (!isAeTitle(values.called) || !isAeTitle(values.calling)) return wrongCall('an AE title has 1 to 16 printable characters', HELP)
  if (!Number.isInteger(associations) || associations < 1 || associations > 32) return wrongCall('--associations takes 1 to 32', HELP)
  if (!(timeout > 0 && timeout <= 3600)) return wrongCall('--timeout takes 1 to 3600 seconds', HELP)
  let identity: Identity | undefined
  if (values.tls !== undefined) {
    const loaded = await loadIdentity(values.tls)
    if (loaded instanceof Fault) return wrongCall(`--tls ${values.tls}: ${loaded.message} ${loaded.remedy}`, '')
    identity = loaded
  }
  const { objects, skipped } = await collect(positionals)
  for (const { file, why } of skipped) process.stderr.write(`passed over ${file}: ${why}\n`)
  if (objects.length === 0) {
    process.stderr.write('sallyport: there is nothing to send\n')
    return EXIT.failed
  }
  const progress = new Progress(objects, !values.json)
  const sender = new Sender({
    host: to[1] ?? to[2] ?? '',
    port,
    tls: identity && { identity, serverName: values['server-name'] },
    calledAe: values.called,
    callingAe: values.calling,
    times: { progressMillis: timeout * 1000, answerMillis: timeout * 1000 },
    bytes: (count) => progress.bytes(count),
  })
  await sender.send(objects, associations, (sent) => {
    progress.file(sent)
    process.stdout.write(values.json ? JSON.stringify(sent) + '\n' : `${sent.ok ? 'stored' : 'FAILED'}  ${sent.file}  ${sent.text}\n`)
  })
  return progress.end() ? EXIT.ok : EXIT.failed
}

export interface Found {
  readonly file: string
  readonly object: Part10Object
}

/** Walks folders in the order of names; symbolic links are not followed into folders. */
async function collect(paths: readonly string[]): Promise<{ objects: Found[]; skipped: { file: string; why: string }[] }> {
  const objects: Found[] = []
  const skipped: { file: string; why: string }[] = []
  const look = async (file: string): Promise<void> => {
    const outcome = await readPart10(file, LIMITS)
    if (outcome.kind === 'object') objects.push({ file, object: outcome })
    else skipped.push({ file, why: outcome.kind === 'directory' ? 'a DICOMDIR, not an image' : outcome.detail })
  }
  const walk = async (at: string): Promise<void> => {
    const entries = (await fs.readdir(at, { withFileTypes: true })).sort((a, b) => (a.name < b.name ? -1 : 1))
    for (const entry of entries) {
      const file = path.join(at, entry.name)
      if (entry.isDirectory()) await walk(file)
      else if (entry.isFile()) await look(file)
    }
  }
  for (const one of paths) {
    try {
      if ((await fs.stat(one)).isDirectory()) await walk(one)
      else await look(one)
    } catch (error) {
      skipped.push({ file: one, why: reasonText(error as NodeJS.ErrnoException) })
    }
  }
  return { objects, skipped }
}

/** One line on stderr that changes in place, where stderr is a terminal. */
class Progress {
  readonly #files: number
  readonly #began = performance.now()
  readonly #live: boolean
  #done = 0
  #failed = 0
  #bytes = 0
  #shown = 0

  constructor(objects: readonly Found[], live: boolean) {
    this.#files = objects.length
    this.#live = live && process.stderr.isTTY
  }

  bytes(count: number): void {
    this.#bytes += count
    if (this.#live && performance.now() - this.#shown > PROGRESS_MILLIS) this.#show()
  }

  file(sent: Sent): void {
    this.#done += 1
    if (!sent.ok) this.#failed += 1
    if (this.#live) process.stderr.write('\r\x1b[2K')
  }

  #show(): void {
    this.#shown = performance.now()
    process.stderr.write(`\r\x1b[2K${this.#summary()}`)
  }

  #summary(): string {
    const seconds = (performance.now() - this.#began) / 1000
    const stored = this.#done - this.#failed
    return `${stored} of ${this.#files} stored${this.#failed ? `, ${this.#failed} failed` : ''}, ${bytesText(this.#bytes)}, ${bytesText(this.#bytes / seconds)}/s`
  }

  /** @returns whether every one was stored */
  end(): boolean {
    process.stderr.write(`${this.#summary()}\n`)
    return this.#failed === 0 && this.#done === this.#files
  }
}
