/**
 * A box and a hub as they are in the field, joined by mutual TLS with certificates made by
 * openssl: what every scenario starts from. Each is a tree of processes of its own.
 */
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { stringify } from 'yaml'
import type { InstanceRow, Receipt } from '../firmware/domain/spool.ts'
import type { Status } from '../firmware/supervisor/status.ts'
import { FIRMWARE, startTree, type Tree, type TreeOptions } from './faults/processes.ts'
import { certificates, type Authority, type CertificateSet, type Identity } from './peers/certificates.ts'
import { finish, freePort, scratch, until, type Finished } from './peers/process.ts'

export type Settings = Record<string, unknown>

/** One line of the log. */
export interface LogLine {
  readonly event: string
  readonly [field: string]: unknown
}

export interface PairOptions {
  /** Made by the test beforehand, where it needs more of them than the pair uses. */
  readonly certificates?: CertificateSet
  /** Laid over the box's settings; nested objects are merged, lists replaced. */
  readonly box?: Settings
  readonly hub?: Settings
  /** Where the box finds the hub, when something stands between them. */
  readonly hubAddress?: { readonly host: string; readonly port: number }
  readonly env?: TreeOptions['env']
  /** Only their files: nothing is started. */
  readonly idle?: boolean
}

/** One of the two, running or not. */
export interface Side {
  readonly role: 'box' | 'hub'
  readonly folder: string
  readonly config: string
  readonly control: string
  /** @throws Error while it does not run */
  readonly tree: Tree
  readonly running: boolean
  /** Resolves when it is ready. */
  start(): Promise<Tree>
  stop(): Promise<void>
  status(): Promise<Status>
  destination(name: string): Promise<Status['destinations'][number]>
  /** At most 1,000 rows; `query` as the control API takes it: `state=held`. */
  queue(query?: string): Promise<InstanceRow[]>
  /** The newest 1,000. */
  receipts(): Promise<Receipt[]>
  /** What was logged since the last start, by all of its processes; only `event`, where given. */
  log(event?: string): LogLine[]
  /** What the command line says: `cli('queue', 'list', '--json')`. */
  cli(...args: string[]): Promise<Finished>
  /** Sets values in the configuration file, as `PairOptions.box` does; a start reads them. */
  configure(settings: Settings): void
}

export interface Pair {
  readonly folder: string
  readonly certificates: CertificateSet
  readonly box: Side
  readonly hub: Side
  readonly ports: { readonly box: number; readonly boxTls: number; readonly hub: number; readonly hubTls: number }
  /** The hub's folder of delivered files, and all `.dcm` below it, sorted. */
  readonly delivered: string
  files(): string[]
  stop(): Promise<void>
}

/** An identity as the firmware keeps it: a folder of four PEM files, written anew one after the other. */
export function keep(folder: string, identity: Identity, ca: Authority, crlPem = ca.crlPem): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const parts = { 'cert.pem': identity.certPem, 'key.pem': identity.keyPem, 'ca.pem': ca.certPem, 'crl.pem': crlPem }
  for (const [name, text] of Object.entries(parts)) writeFileSync(join(folder, name), text, { mode: 0o600 })
}

export async function startPair(options: PairOptions = {}): Promise<Pair> {
  const folder = scratch('pair')
  const ports = { box: await freePort(), boxTls: await freePort(), hub: await freePort(), hubTls: await freePort() }
  const set = options.certificates ?? certificates()
  const { ca } = set
  const box = new Half('box', join(folder, 'box'), options.env)
  const hub = new Half('hub', join(folder, 'hub'), options.env)
  keep(join(box.folder, 'credentials', 'link'), set.box, ca)
  keep(join(box.folder, 'credentials', 'listener'), ca.issue('box-listener', { dns: ['localhost'], ip: ['127.0.0.1', '::1'], use: 'server' }), ca)
  keep(join(hub.folder, 'credentials', 'link'), ca.issue('hub-link', { use: 'client' }), ca)
  keep(join(hub.folder, 'credentials', 'listener'), set.hub, ca)
  const far = options.hubAddress ?? { host: '127.0.0.1', port: ports.hubTls }
  box.configure({
    role: 'box', name: 'test-box', tenant: set.tenant, state: 'state', credentials: 'credentials',
    listeners: [
      { name: 'lan', protocol: 'dicom', port: ports.box },
      { name: 'from-hub', protocol: 'dicom-tls', port: ports.boxTls },
    ],
    destinations: [
      { name: 'hub', kind: 'dicom-tls', ...far, calledAe: 'HUB' },
      { name: 'returned', kind: 'folder', path: 'returned' },
    ],
    routes: [{ listener: 'lan', to: ['hub'] }, { listener: 'from-hub', to: ['returned'] }],
  })
  hub.configure({
    role: 'hub', name: 'test-hub', state: 'state', credentials: 'credentials',
    listeners: [
      { name: 'boxes', protocol: 'dicom-tls', port: ports.hubTls },
      { name: 'pacs', protocol: 'dicom', port: ports.hub, tenant: set.tenant },
    ],
    destinations: [
      { name: 'delivered', kind: 'folder', path: 'delivered' },
      { name: 'clinic', kind: 'dicom-tls', host: '127.0.0.1', port: ports.boxTls, calledAe: 'SALLYPORT' },
    ],
    routes: [{ listener: 'boxes', to: ['delivered'] }, { listener: 'pacs', to: ['clinic'] }],
  })
  if (options.box) box.configure(options.box)
  if (options.hub) hub.configure(options.hub)
  const delivered = join(hub.folder, 'delivered')
  const stop = async () => void (await Promise.all([box.stop(), hub.stop()]))
  if (options.idle !== true) await Promise.all([box.start(), hub.start()]).catch(async (error: unknown) => {
    await stop()
    throw error
  })
  return { folder, certificates: set, box, hub, ports, delivered, files: () => dicomFiles(delivered), stop }
}

/** One side alone, with all of its settings; not started. */
export function makeSide(role: 'box' | 'hub', settings: Settings, env?: TreeOptions['env']): Side {
  const side = new Half(role, join(scratch('side'), role), env)
  side.configure({ role, name: `test-${role}`, state: 'state', credentials: 'credentials', ...settings })
  return side
}

/** All `.dcm` files below a folder, sorted; none while it is absent. */
export function dicomFiles(folder: string): string[] {
  try {
    return readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.dcm')).sort().map((name) => join(folder, name))
  } catch {
    return []
  }
}

/** Everything that was received has left: nothing waits, nothing is on the way. */
export const drained = (side: Side, millis = 60_000): Promise<Status> =>
  until(`${side.role} to be empty`, async () => {
    const status = await side.status()
    return status.spool.instances === 0 && status
  }, millis)

class Half implements Side {
  readonly role: 'box' | 'hub'
  readonly folder: string
  readonly config: string
  readonly control: string
  readonly #env: TreeOptions['env']
  #settings: Settings = {}
  #tree: Tree | undefined

  constructor(role: 'box' | 'hub', folder: string, env: TreeOptions['env']) {
    this.role = role
    this.folder = folder
    this.config = join(folder, 'sallyport.yaml')
    this.control = join(folder, 'state', 'run', 'control.sock')
    this.#env = env
    mkdirSync(folder, { recursive: true, mode: 0o700 })
  }

  get tree(): Tree {
    if (this.#tree === undefined) throw new Error(`the ${this.role} does not run`)
    return this.#tree
  }
  get running(): boolean {
    return this.#tree !== undefined
  }

  async start(): Promise<Tree> {
    const { role, config, control } = this
    this.#tree = await startTree({ command: [FIRMWARE, role, '--config', config], ready: /"event":"ready"/, control, ...(this.#env && { env: this.#env }) })
    return this.#tree
  }

  async stop(): Promise<void> {
    const tree = this.#tree
    this.#tree = undefined
    await tree?.stop()
  }

  async status(): Promise<Status> {
    return (await this.tree.ask('GET', '/status')) as Status
  }

  async destination(name: string): Promise<Status['destinations'][number]> {
    const found = (await this.status()).destinations.find((one) => one.name === name)
    if (found === undefined) throw new Error(`the ${this.role} has no destination ${name}`)
    return found
  }

  async queue(query = ''): Promise<InstanceRow[]> {
    return ((await this.tree.ask('GET', `/queue?limit=1000&${query}`)) as { rows: InstanceRow[] }).rows
  }

  async receipts(): Promise<Receipt[]> {
    return ((await this.tree.ask('GET', '/receipts?limit=1000')) as { receipts: Receipt[] }).receipts
  }

  log(event?: string): LogLine[] {
    const all = this.tree.output().split('\n').flatMap((line) => {
      try {
        return [JSON.parse(line) as LogLine]
      } catch {
        return [] // not the log's, or cut off where the output kept is
      }
    })
    return event === undefined ? all : all.filter((line) => line.event === event)
  }

  cli(...args: string[]): Promise<Finished> {
    return finish(process.execPath, [FIRMWARE, ...args, '--config', this.config])
  }

  configure(settings: Settings): void {
    this.#settings = merged(this.#settings, settings)
    writeFileSync(this.config, stringify(this.#settings), { mode: 0o600 })
  }
}

const isPlain = (value: unknown): value is Settings => typeof value === 'object' && value !== null && !Array.isArray(value)

function merged(under: Settings, over: Settings): Settings {
  const result = { ...under }
  for (const [key, value] of Object.entries(over)) {
    const below = result[key]
    result[key] = isPlain(below) && isPlain(value) ? merged(below, value) : value
  }
  return result
}

