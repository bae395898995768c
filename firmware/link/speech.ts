/**
 * What a port speaks, found by greeting it and looking at the first bytes of its answer. For
 * faults that leave it open (it closed, it kept silent, it sent no TLS): one connection more, so
 * only when a person asked or a fault has just appeared.
 */
import { Duplex } from 'node:stream'
import { connect as connectTls } from 'node:tls'
import { APPLICATION_CONTEXT, encodeAssociateRequest } from '../dicom/pdu.ts'
import { VERIFICATION } from '../dicom/sop-classes.ts'
import { IMPLICIT_LITTLE_ENDIAN } from '../dicom/transfer-syntaxes.ts'
import { IMPLEMENTATION_CLASS, IMPLEMENTATION_VERSION } from '../dicom/user-information.ts'
import { Fault } from '../domain/errors.ts'
import { LIMITS } from '../domain/limits.ts'
import { speaks } from '../pki/failure.ts'
import type { ConnectOptions, Target } from './connect.ts'
import { Names } from './names.ts'
import { reach } from './reach.ts'

/** What came back: its kind, `silent`, `closed`, or the fault of the way there. */
export type Speech = NonNullable<ReturnType<typeof speaks>> | 'silent' | 'closed' | Fault

/** Enough to tell any of them apart. */
const LISTEN_BYTES = 8
/** A port that speaks does so at once; its line may be slow. */
const LISTEN_MILLIS = 5_000

/** Faults behind which another protocol may be hiding. */
const DOUBTFUL = new Set(['TLS_CLOSED', 'TLS_SILENT', 'FAR_SPEAKS_PLAIN', 'ASSOCIATION_SILENT', 'ASSOCIATION_BROKEN'])

/** The same fault, or a better one once the port was asked. @throws the signal's reason. */
export async function diagnose(fault: Fault, target: Target, options: ConnectOptions = {}): Promise<Fault> {
  if (!DOUBTFUL.has(fault.code)) return fault
  const answer = await hear(target, 'tls', options)
  if (target.tls === undefined) return answer === 'tls' ? new Fault('FAR_SPEAKS_TLS') : fault
  if (answer === 'dicom') return new Fault('FAR_SPEAKS_PLAIN', { detail: 'it speaks plain DICOM there' })
  if (answer === 'http' || answer === 'ssh') return new Fault('FAR_SPEAKS_OTHER', { what: PROTOCOLS[answer] })
  if (answer !== 'silent' && answer !== 'closed') return fault
  // Many plain servers do not answer what they do not understand; this they do.
  const plain = await hear(target, 'dicom', options)
  if (plain === 'dicom') return new Fault('FAR_SPEAKS_PLAIN', { detail: 'it speaks plain DICOM there' })
  if (plain === 'http' || plain === 'ssh') return new Fault('FAR_SPEAKS_OTHER', { what: PROTOCOLS[plain] })
  return fault
}

const PROTOCOLS = { http: 'HTTP (a web server)', ssh: 'SSH (a remote shell)' } as const

/**
 * Greets with a TLS ClientHello or an A-ASSOCIATE-RQ for Verification, and waits at most
 * `LISTEN_MILLIS`. Nothing of ours is shown: no certificate, no AE title of the configuration.
 */
export async function hear(target: Target, greeting: 'tls' | 'dicom', options: ConnectOptions = {}): Promise<Speech> {
  const addresses = await (options.names ?? new Names()).resolve(target.host)
  if (addresses instanceof Fault) return addresses
  const reached = await reach(addresses, { ...options, host: target.host, port: target.port })
  if (reached instanceof Fault) return reached
  const { socket } = reached
  const { promise, resolve } = Promise.withResolvers<Speech>()
  const heard: Buffer[] = []
  const timer = setTimeout(() => resolve('silent'), Math.min(LISTEN_MILLIS, LIMITS.handshakeMillis))
  const aborted = () => resolve('silent')
  options.signal?.addEventListener('abort', aborted, { once: true })
  const judge = () => speaks(Buffer.concat(heard))
  socket.on('data', (data: Buffer) => {
    heard.push(data)
    if (Buffer.concat(heard).length >= LISTEN_BYTES) resolve(judge() ?? 'other')
  })
  socket.on('error', () => resolve(judge() ?? 'closed'))
  socket.on('close', () => resolve(judge() ?? 'closed'))
  if (greeting === 'tls') hello((bytes) => socket.write(bytes))
  else socket.write(associateRequest())
  try {
    return await promise
  } finally {
    clearTimeout(timer)
    options.signal?.removeEventListener('abort', aborted)
    socket.destroy()
  }
}

const associateRequest = (): Buffer =>
  encodeAssociateRequest({
    calledAe: 'ANY-SCP',
    callingAe: 'SALLYPORT',
    applicationContext: APPLICATION_CONTEXT,
    contexts: [{ id: 1, abstractSyntax: VERIFICATION, transferSyntaxes: [IMPLICIT_LITTLE_ENDIAN] }],
    maximumLength: LIMITS.pduBytes,
    implementationClass: IMPLEMENTATION_CLASS,
    implementationVersion: IMPLEMENTATION_VERSION,
    roles: [],
    extended: [],
    commonExtended: [],
  })

/** OpenSSL's own ClientHello, taken from a handshake that gets no further. */
function hello(send: (bytes: Buffer) => void): void {
  const wire = new Duplex({
    read: () => {},
    write: (bytes: Buffer, _encoding, done) => {
      send(bytes)
      done()
    },
  })
  connectTls({ socket: wire, rejectUnauthorized: false }).on('error', () => {})
}
