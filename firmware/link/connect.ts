/**
 * Opens the way to a destination up to where the association begins: name, TCP, and for
 * `dicom-tls` the handshake and its verdict.
 */
import type { Socket } from 'node:net'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import { Fault } from '../domain/errors.ts'
import { LIMITS } from '../domain/limits.ts'
import type { CertificateFacts } from '../pki/certificate.ts'
import { judgeTlsFailure } from '../pki/failure.ts'
import type { Identity } from '../pki/identity.ts'
import { clientOptions } from '../pki/profile.ts'
import { judgePeer } from '../pki/verdict.ts'
import { Names } from './names.ts'
import { reach } from './reach.ts'

/** Where to, and how. Without `tls` it is plain DICOM. */
export interface Target {
  readonly host: string
  readonly port: number
  readonly tls?: {
    readonly identity: Identity
    /** The name in the far side's certificate, where it differs from `host`. */
    readonly serverName?: string | undefined
  } | undefined
}

export interface ConnectOptions {
  readonly signal?: AbortSignal | undefined
  /** Remembers addresses; share one per process. */
  readonly names?: Names | undefined
  readonly connectMillis?: number | undefined
  readonly handshakeMillis?: number | undefined
  readonly now?: (() => number) | undefined
}

export interface Connection {
  /**
   * Connected, verdict passed, nothing read yet. One listener for `error` stays on it: an alert may
   * come before the caller has put on its own, and must not end the process.
   */
  readonly socket: Socket | TLSSocket
  readonly address: string
  readonly millis: { readonly name: number; readonly tcp: number; readonly tls: number }
  /** Over TLS only. */
  readonly far?: CertificateFacts | undefined
  /** Over TLS only, such as `TLSv1.3 TLS_AES_256_GCM_SHA384`. */
  readonly protocol?: string | undefined
  /**
   * What it means that no association came about: give it whatever was caught. A fault that says
   * more than "it broke off" is returned as it is. For the rest, over TLS, a far side that went
   * away without having said one byte of DICOM has mostly given its word on our certificate; the
   * alert, if there was one, is remembered here.
   */
  readonly explain: (error?: unknown) => Fault
}

/**
 * @returns the connection, or the fault, whose code names the step (`stepOf`).
 * @throws the signal's reason when it is aborted.
 */
export async function connectDestination(target: Target, options: ConnectOptions = {}): Promise<Connection | Fault> {
  const started = performance.now()
  const addresses = await (options.names ?? new Names()).resolve(target.host)
  if (addresses instanceof Fault) return addresses
  const named = performance.now()
  const reached = await reach(addresses, { ...options, host: target.host, port: target.port })
  if (reached instanceof Fault) return reached
  const millis = { name: named - started, tcp: performance.now() - named, tls: 0 }
  const secured = await secure(reached.socket, target, options)
  if (secured instanceof Fault) return secured
  return { ...secured, address: reached.address, millis: { ...millis, tls: secured.millis } }
}

export interface Secured extends Pick<Connection, 'socket' | 'far' | 'protocol' | 'explain'> {
  readonly millis: number
}

/**
 * The TLS step alone, on a connected socket; it is closed when the step fails. For a plain
 * target nothing happens.
 */
export function secure(plain: Socket, target: Target, options: ConnectOptions = {}): Promise<Secured | Fault> {
  const { host, port, tls } = target
  if (tls === undefined) {
    const broken = remember(plain)
    return Promise.resolve({ socket: plain, millis: 0, explain: (error) => saidEnough(error) ?? brokenOff(error, broken()) })
  }
  const { identity } = tls
  const { signal, handshakeMillis = LIMITS.handshakeMillis, now = Date.now } = options
  const name = tls.serverName ?? host
  const started = performance.now()
  const { promise, resolve, reject } = Promise.withResolvers<Secured | Fault>()
  const judge = (error: Error | undefined, established: boolean): Fault =>
    judgeTlsFailure(error, { side: 'client', host, port, identity, established, seconds: handshakeMillis / 1000, now: now() })

  const socket = connectTls({ ...clientOptions(identity, name), socket: plain })
  const end = () => {
    clearTimeout(limit)
    signal?.removeEventListener('abort', aborted)
    socket.off('error', onError).off('close', onClose).off('secureConnect', onSecure)
  }
  const fail = (fault: Fault) => {
    end()
    // What still comes from a socket given up is of no interest.
    socket.on('error', () => {}).destroy()
    resolve(fault)
  }
  const onError = (error: Error) => fail(judge(error, false))
  const onClose = () => fail(judge(undefined, false))
  const onSecure = () => {
    const far = judgePeer(socket, { side: 'client', trust: identity, host: name, now: now() })
    if (far instanceof Fault) return fail(far)
    end()
    const broken = remember(socket)
    const explain = (error?: unknown): Fault => {
      const alert = broken()
      const spoke = socket.bytesRead > 0 && alert === undefined
      return saidEnough(error) ?? (spoke ? brokenOff(error, alert) : judge(alert ?? (error instanceof Fault ? undefined : asError(error)), true))
    }
    const protocol = `${socket.getProtocol() ?? ''} ${socket.getCipher().standardName}`
    resolve({ socket, far, protocol, millis: performance.now() - started, explain })
  }
  const aborted = () => {
    end()
    socket.on('error', () => {}).destroy()
    reject(signal?.reason instanceof Error ? signal.reason : new Error('aborted'))
  }
  const limit = setTimeout(() => fail(judge(Object.assign(new Error('timeout'), { code: 'ERR_TLS_HANDSHAKE_TIMEOUT' }), false)), handshakeMillis)
  signal?.addEventListener('abort', aborted, { once: true })
  socket.on('error', onError).on('close', onClose).on('secureConnect', onSecure)
  if (signal?.aborted === true) aborted()
  return promise
}

const asError = (error: unknown): NodeJS.ErrnoException | undefined => (error instanceof Error ? error : undefined)

/** The first error of a socket, whoever else listens. */
function remember(socket: Socket): () => NodeJS.ErrnoException | undefined {
  let first: Error | undefined
  socket.on('error', (error) => {
    first ??= error
  })
  return () => first
}

/** A fault that needs no explanation; `ASSOCIATION_BROKEN` and `ASSOCIATION_LOST` only say that it is over. */
const saidEnough = (error: unknown): Fault | undefined =>
  error instanceof Fault && error.code !== 'ASSOCIATION_BROKEN' && error.code !== 'ASSOCIATION_LOST' ? error : undefined

function brokenOff(error: unknown, broken: NodeJS.ErrnoException | undefined): Fault {
  if (error instanceof Fault && error.code === 'ASSOCIATION_BROKEN') return error
  const code = broken?.code ?? asError(error)?.code
  return new Fault('ASSOCIATION_BROKEN', { detail: code ?? 'it closed the connection' })
}
