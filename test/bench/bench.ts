/**
 * What every part of the benchmark is given, and what it gives back.
 */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { keep, makeSide, type Settings, type Side } from '../pair.ts'
import { Authority, type Identity } from '../peers/certificates.ts'
import { finish, freePort } from '../peers/process.ts'
import type { Measured } from './sample.ts'
import { Series } from './series.ts'

export interface Load {
  readonly rounds: number
  /** Images of one measurement; of one in which 40 ms pass for each; over the long line. */
  readonly instances: number
  readonly slowInstances: number
  readonly farInstances: number
}

/** Quick: proves that it runs, measures nothing. */
export const LOADS = {
  full: { rounds: 5, instances: 500, slowInstances: 60, farInstances: 60 },
  quick: { rounds: 1, instances: 12, slowInstances: 4, farInstances: 8 },
} as const satisfies Record<string, Load>

export interface Job {
  readonly title: string
  readonly measured: readonly Measured[]
}

export interface Ratio {
  readonly what: string
  readonly value: number
  /** `atLeast` or `atMost`; none: shown, not judged. */
  readonly target?: { readonly atLeast: number } | { readonly atMost: number }
}

export interface Part {
  readonly jobs: readonly Job[]
  readonly ratios: readonly Ratio[]
  readonly notes: readonly string[]
}

export class Bench {
  readonly load: Load
  readonly ca: Authority
  readonly box: Identity
  readonly sink: Identity
  /** Environment of every process of ours that is measured. */
  readonly env: Record<string, string>
  readonly #series = new Map<number, Series>()
  readonly #stops: (() => Promise<unknown>)[] = []

  constructor(load: Load, env: Record<string, string> = {}) {
    this.load = load
    this.env = env
    this.ca = new Authority('Bench CA')
    this.box = this.ca.issue('box', { tenant: 'north', use: 'client' })
    this.sink = this.ca.issue('sink', { dns: ['localhost'], ip: ['127.0.0.1'], use: 'server' })
  }

  /** So many images that nobody has seen. */
  fresh(instances: number): Series {
    const series = this.#series.get(instances) ?? Series.write(instances)
    this.#series.set(instances, series)
    series.renew()
    return series
  }

  /** What a measurement left to be written must not be written during the next. */
  settle = async (): Promise<void> => {
    await finish('sync', [])
  }

  /** A box with one plain listener and one TLS destination; its port is `settings.port`. */
  async makeBox(far: { port: number; host?: string; associations?: number }, settings: Settings = {}): Promise<{ side: Side; port: number }> {
    const port = await freePort()
    const side = makeSide('box', {
      tenant: 'north',
      listeners: [{ name: 'lan', protocol: 'dicom', port }],
      destinations: [{ name: 'far', kind: 'dicom-tls', host: '127.0.0.1', serverName: 'localhost', calledAe: 'SINK', ...far }],
      routes: [{ listener: 'lan', to: ['far'] }],
      ...settings,
    }, this.env)
    keep(join(side.folder, 'credentials', 'link'), this.box, this.ca)
    this.later(async () => {
      await side.stop()
      rmSync(side.folder, { recursive: true, force: true })
    })
    return { side, port }
  }

  /** Called in reverse order when the part is over. */
  later(stop: () => Promise<unknown>): void {
    this.#stops.push(stop)
  }

  async end(): Promise<void> {
    for (const stop of this.#stops.splice(0).toReversed()) await stop()
  }
}
