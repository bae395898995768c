/**
 * dcmjs-dimse as an independent peer, always in a process of its own: one bad message ends it,
 * and that must not end the test.
 */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { answersOn, finish, freePort, scratch, start, type Peer } from './process.ts'
import type { Identity } from './certificates.ts'

const CHILD = join(import.meta.dirname, 'dimse-child.ts')

export interface DimseTls {
  readonly identity?: Identity
  /** PEM text of the CA that must have signed the other side. */
  readonly caPem: string
}

/** What the child is told, on its standard input. */
export type Order =
  | { readonly kind: 'scp'; readonly port: number; readonly folder: string; readonly status: number; readonly tls?: ChildTls | undefined }
  | {
      readonly kind: 'scu'
      readonly host: string
      readonly port: number
      readonly calling: string
      readonly called: string
      /** Empty: one C-ECHO. */
      readonly files: readonly string[]
      readonly tls?: ChildTls | undefined
    }
export interface ChildTls {
  readonly key?: string | undefined
  readonly cert?: string | undefined
  readonly ca: string
}

const inOrder = (tls: DimseTls | undefined): ChildTls | undefined =>
  tls && { key: tls.identity?.keyPem, cert: tls.identity?.certPem, ca: tls.caPem }

export interface DimseScp extends Peer {
  readonly port: number
  /** The data set of each C-STORE as it came, without file meta, named `<SOP Instance UID>`; complete once answered. */
  files(): string[]
}

/** Answers every C-STORE with `status` (0x0000) and every C-ECHO with Success; takes any context. */
export async function dimseScp(options: { status?: number; tls?: DimseTls; port?: number } = {}): Promise<DimseScp> {
  const port = options.port ?? (await freePort())
  const folder = scratch('dimse')
  const order: Order = { kind: 'scp', port, folder, status: options.status ?? 0, tls: inOrder(options.tls) }
  const peer = await start(process.execPath, [CHILD], { input: JSON.stringify(order), ready: () => answersOn(port) })
  return { ...peer, port, files: () => readdirSync(folder).sort().map((name) => join(folder, name)) }
}

export interface DimseScuOptions {
  readonly port: number
  readonly host?: string
  readonly calling?: string
  readonly called?: string
  readonly tls?: DimseTls
}

export interface DimseResult {
  /** DIMSE status of each request in the order asked; -1 where none came. */
  readonly statuses: readonly number[]
  readonly output: string
}

/** One association with a C-STORE per file, or one C-ECHO without files. */
export async function dimseScu(options: DimseScuOptions, files: readonly string[] = []): Promise<DimseResult> {
  const { host = '127.0.0.1', port, calling = 'MODALITY', called = 'SALLYPORT' } = options
  const order: Order = { kind: 'scu', host, port, calling, called, files, tls: inOrder(options.tls) }
  const { output } = await finish(process.execPath, [CHILD], { input: JSON.stringify(order) })
  const statuses = Array.from({ length: Math.max(1, files.length) }, () => -1)
  for (const [, index, status] of output.matchAll(/^status (\d+) (\d+)$/gm)) statuses[Number(index)] = Number(status)
  return { statuses, output }
}
