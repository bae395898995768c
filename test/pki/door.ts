/**
 * A TLS door of ours as the receiving room has it: everybody is let through the handshake and
 * then judged. What was judged, and how handshakes failed, is kept in order.
 */
import { connect } from 'node:net'
import { createServer, type SecureVersion, type Server, type TLSSocket } from 'node:tls'
import type { AddressInfo } from 'node:net'
import { Fault } from '../../firmware/domain/errors.ts'
import type { CertificateFacts } from '../../firmware/pki/certificate.ts'
import { judgeTlsFailure } from '../../firmware/pki/failure.ts'
import { assemble, type Identity } from '../../firmware/pki/identity.ts'
import { serverOptions } from '../../firmware/pki/profile.ts'
import { judgePeer } from '../../firmware/pki/verdict.ts'
import type { Authority, Identity as Files } from '../peers/certificates.ts'
import { until } from '../peers/process.ts'

/** Files of openssl as an identity of ours; `crl` true: with the authority's list. */
export const identityOf = (files: Files, ca: Authority, crl = true): Promise<Identity> =>
  assemble({ cert: files.certPem, key: files.keyPem, ca: ca.certPem, ...(crl ? { crl: ca.crlPem } : {}) })

export interface Door {
  readonly port: number
  readonly server: Server
  readonly sockets: Set<TLSSocket>
  /** The next verdict, from whichever of the two ways it comes. */
  next(): Promise<CertificateFacts | Fault>
  close(): Promise<void>
}

export interface DoorOptions {
  readonly maxVersion?: SecureVersion
  readonly handshakeMillis?: number
  readonly now?: number
}

export async function openDoor(identity: Identity, options: DoorOptions = {}): Promise<Door> {
  const verdicts: (CertificateFacts | Fault)[] = []
  const sockets = new Set<TLSSocket>()
  const now = () => options.now ?? Date.now()
  const server = createServer({
    ...serverOptions(identity),
    ...(options.maxVersion === undefined ? {} : { maxVersion: options.maxVersion }),
    ...(options.handshakeMillis === undefined ? {} : { handshakeTimeout: options.handshakeMillis }),
  })
  server.on('secureConnection', (socket) => {
    socket.on('error', () => {})
    const verdict = judgePeer(socket, { side: 'server', trust: identity, now: now() })
    verdicts.push(verdict)
    if (verdict instanceof Fault) return socket.destroy()
    sockets.add(socket)
    // An echo, so that a client can prove that it is really let in.
    socket.on('data', (data) => socket.write(data)).once('close', () => sockets.delete(socket))
    return undefined
  })
  server.on('tlsClientError', (error, socket) => {
    // Node leaves it open, even after its own handshake time-out.
    socket.destroy()
    verdicts.push(judgeTlsFailure(error, { side: 'server', host: '127.0.0.1', port: 0, identity, established: false, seconds: 1, now: now() }))
  })
  await new Promise<void>((resolve) => {
    server.listen(0, resolve)
  })
  return {
    port: (server.address() as AddressInfo).port,
    server,
    sockets,
    next: async () => {
      await until('a verdict', () => verdicts.length > 0)
      return verdicts.shift() as CertificateFacts | Fault
    },
    close: () => {
      for (const socket of sockets) socket.destroy()
      return new Promise((resolve) => {
        server.close(() => resolve())
      })
    },
  }
}

/** Sends bytes over plain TCP, and closes once something came back or the far side closed. */
export function plain(port: number, bytes: string | Buffer): void {
  const socket = connect(port, '127.0.0.1', () => socket.write(bytes))
  socket.on('data', () => socket.destroy()).on('error', () => {})
}
