/**
 * DCMTK 3.6.7, the peer most devices are built on.
 *
 * Nagle: without TCP_NODELAY in its environment DCMTK waits up to 40 ms per instance. `noDelay`
 * is off unless asked for, as in the field; a benchmark says which it was.
 */
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Identity } from './certificates.ts'
import { answersOn, finish, freePort, scratch, start, type Finished, type Peer } from './process.ts'

export interface DcmtkTls {
  /** None: the client offers no certificate. */
  readonly identity?: Identity
  /** Path of the certificate that must have signed the other side's; none: it is not checked. */
  readonly ca?: string
  /** Path of a revocation list; given, it is enforced. */
  readonly crl?: string
  /** What `onlyTls` wrote. */
  readonly openssl?: string
}

function tlsArguments(tls: DcmtkTls | undefined): string[] {
  if (tls === undefined) return []
  const args = tls.identity === undefined ? ['+tla'] : ['+tls', tls.identity.key, tls.identity.cert]
  args.push(...(tls.ca === undefined ? ['-ic'] : ['+cf', tls.ca, '-rc']))
  if (tls.crl !== undefined) args.push('+crl', tls.crl, '+crv')
  return args
}

/** Keeps OpenSSL, whoever uses it, to one version of TLS: a configuration file for OPENSSL_CONF. */
export function onlyTls(version: '1.2' | '1.3'): string {
  const path = join(scratch('openssl'), 'openssl.cnf')
  const range = `MinProtocol = TLSv${version}\nMaxProtocol = TLSv${version}\n`
  writeFileSync(path, `openssl_conf = init\n[init]\nssl_conf = ssl\n[ssl]\nsystem_default = range\n[range]\n${range}`)
  return path
}

const environment = (noDelay: boolean | undefined, openssl: string | undefined) => ({
  TCP_NODELAY: noDelay === true ? '1' : undefined,
  OPENSSL_CONF: openssl,
})

export interface StorescpOptions {
  readonly tls?: DcmtkTls
  readonly port?: number
  readonly aet?: string
  /** `+B`: the data set exactly as read. On unless turned off; DCMTK's own default re-encodes. */
  readonly bitPreserving?: boolean
  readonly noDelay?: boolean
  /** Receives, and stores nothing. */
  readonly ignore?: boolean
  /** One process per association; without it one association is served after the other. */
  readonly fork?: boolean
  readonly options?: readonly string[]
}

export interface Storescp extends Peer {
  readonly port: number
  readonly folder: string
  /** Paths of what it received, sorted by name. */
  files(): string[]
}

export async function storescp(options: StorescpOptions = {}): Promise<Storescp> {
  const port = options.port ?? (await freePort())
  const folder = scratch('storescp')
  const args = ['-dhl', '+xa', '-pm', '-aet', options.aet ?? 'STORESCP', '-od', folder, ...tlsArguments(options.tls)]
  if (options.bitPreserving !== false) args.push('+B')
  if (options.ignore === true) args.push('--ignore')
  if (options.fork === true) args.push('--fork')
  const peer = await start('storescp', [...args, ...(options.options ?? []), String(port)], {
    env: environment(options.noDelay, options.tls?.openssl),
    ready: () => answersOn(port),
  })
  return { ...peer, port, folder, files: () => readdirSync(folder).sort().map((name) => join(folder, name)) }
}

export interface ScuOptions {
  readonly port: number
  readonly host?: string
  readonly calling?: string
  readonly called?: string
  readonly tls?: DcmtkTls
  readonly noDelay?: boolean
  readonly options?: readonly string[]
  readonly millis?: number
}

function scu(program: string, options: ScuOptions, files: readonly string[]): Promise<Finished> {
  const args = ['-v', '-aet', options.calling ?? 'MODALITY', '-aec', options.called ?? 'SALLYPORT']
  args.push(...tlsArguments(options.tls), ...(options.options ?? []), options.host ?? '127.0.0.1', String(options.port))
  return finish(program, [...args, ...files], {
    env: environment(options.noDelay, options.tls?.openssl),
    ...(options.millis === undefined ? {} : { millis: options.millis }),
  })
}

export const echoscu = (options: ScuOptions): Promise<Finished> => scu('echoscu', options, [])

/** Proposes each file's own transfer syntax; carries on after a refused file. Rewrites undefined lengths. */
export const storescu = (options: ScuOptions, files: readonly string[]): Promise<Finished> =>
  scu('storescu', { ...options, options: ['-R', '+C', '-nh', ...(options.options ?? [])] }, files)

/** No TLS in DCMTK 3.6.7; negotiates per transfer syntax of the files, never decompressing. */
export const dcmsend = (options: Omit<ScuOptions, 'tls'>, files: readonly string[]): Promise<Finished> =>
  scu('dcmsend', { ...options, options: ['-dn', '-nh', ...(options.options ?? [])] }, files)
