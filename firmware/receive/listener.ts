/**
 * One listening port: plain DICOM or DICOM over mutual TLS, IPv4 and IPv6. Every connection first
 * knocks (no association yet), then is admitted or refused.
 */
import net from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import tls from 'node:tls'
import { Acceptor } from '../dicom/acceptor.ts'
import type { AssociateRequest, Decision } from '../dicom/acceptor.ts'
import { Fault } from '../domain/errors.ts'
import type { ErrorCode } from '../domain/errors.ts'
import type { Limits } from '../domain/limits.ts'
import type { Log } from '../domain/log.ts'
import type { CertificateFacts } from '../pki/certificate.ts'
import { judgeTlsFailure } from '../pki/failure.ts'
import type { IdentityFolder } from '../pki/folder.ts'
import { serverManners, serverOptions } from '../pki/profile.ts'
import { judgePeer } from '../pki/verdict.ts'
import type { Admission, Knock } from './intake.ts'
import { plainAddress } from './peers.ts'
import { answerContexts, refuse, REJECT } from './policy.ts'
import type { Refusal, Rules } from './policy.ts'
import { Store } from './store.ts'
import type { StoreRoom } from './store.ts'

export interface ListenerOptions {
  readonly name: string
  readonly address: string
  readonly port: number
  /**
   * Several workers share the port, and the kernel spreads connections over them. Not otherwise:
   * a second instance by mistake would silently take half of the images.
   */
  readonly shared: boolean
  readonly rules: Rules
  /** Present: mutual TLS. */
  readonly identity?: IdentityFolder | undefined
  /**
   * Whose images arrive: from the client certificate, or a fixed one.
   * @returns a Refusal where that cannot be said
   */
  readonly tenantOf: (certificate: CertificateFacts | undefined) => string | Refusal
  /** Whether any route takes what this tenant brings in here. */
  readonly hasRoute: (tenant: string) => boolean
}

export interface ListenerRoom extends StoreRoom {
  readonly limits: Limits
  readonly log: Log
}

/** What is known of one connection. */
interface Guest {
  readonly socket: net.Socket
  readonly peer: string
  readonly certificate?: CertificateFacts | undefined
  acceptor?: Acceptor
}

const STOPPING = 'this end is stopping'
const PORT_AGAIN_MILLIS = 100
/** Connections the kernel holds until we take them. */
const BACKLOG = 511
const PORT_CODES: Partial<Record<string, ErrorCode>> = { EADDRINUSE: 'PORT_TAKEN', EACCES: 'PORT_FORBIDDEN' }

export class Listener {
  readonly #room: ListenerRoom
  readonly #options: ListenerOptions
  readonly #server: net.Server
  /** Connections without an association, oldest first; the oldest gives way. */
  readonly #knocking = new Map<string, net.Socket>()
  readonly #guests = new Set<Guest>()

  constructor(room: ListenerRoom, options: ListenerOptions) {
    this.#room = room
    this.#options = options
    const { identity } = options
    if (identity) {
      const server = tls.createServer(identity.current ? serverOptions(identity.current) : serverManners)
      identity.serve(server)
      server.on('connection', (socket: net.Socket) => this.#knock(socket))
      server.on('secureConnection', (socket) => this.#secured(socket, identity))
      server.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => this.#tlsFailed(error, socket))
      this.#server = server
    } else {
      this.#server = net.createServer({ noDelay: true }, (socket) => {
        this.#knock(socket)
        this.#converse({ socket, peer: peerOf(socket) })
      })
    }
  }

  /** @throws Fault PORT_TAKEN, PORT_FORBIDDEN or PORT_FAILED */
  async listen(): Promise<void> {
    const { address, port } = this.#options
    const until = this.#room.now() + this.#room.limits.portMillis
    for (let host = address; ; ) {
      const code = await this.#listenOn(host)
      if (code === undefined) break
      // A kernel without IPv6, or one that has it switched off.
      if ((code === 'EAFNOSUPPORT' || code === 'EADDRNOTAVAIL') && host === '::') host = '0.0.0.0'
      // The worker before us may not have let go of it yet.
      else if (code === 'EADDRINUSE' && this.#room.now() < until) await sleep(PORT_AGAIN_MILLIS)
      else throw new Fault(PORT_CODES[code] ?? 'PORT_FAILED', { address, port, detail: code })
    }
    // A handful of failures when descriptors run out: the listener itself goes on.
    this.#server.on('error', (error: NodeJS.ErrnoException) => this.#room.log.warn('listener', { listener: this.#options.name, code: error.code ?? error.message }))
  }

  /** @returns the error's code, or undefined when it listens */
  #listenOn(host: string): Promise<string | undefined> {
    const { port, shared } = this.#options
    return new Promise((resolve) => {
      const failed = (error: NodeJS.ErrnoException) => {
        this.#server.off('listening', listens)
        resolve(error.code ?? error.message)
      }
      const listens = () => {
        this.#server.off('error', failed)
        resolve(undefined)
      }
      this.#server.once('error', failed).once('listening', listens)
      this.#server.listen({ host, port, reusePort: shared, backlog: BACKLOG })
    })
  }

  /**
   * Takes no more connections. Resolves when nobody is in the middle of a message any more: each
   * gets its answer, and then an A-ABORT; whoever is not through after `graceMillis` gets only that.
   */
  async close(graceMillis: number): Promise<void> {
    this.#server.close()
    for (const socket of this.#knocking.values()) socket.destroy()
    const finished = [...this.#guests].map(async ({ acceptor }) => acceptor?.finish(STOPPING))
    const grace = new AbortController()
    await Promise.race([Promise.all(finished), sleep(graceMillis, undefined, { signal: grace.signal }).catch(() => {})])
    grace.abort()
    for (const { acceptor, socket } of this.#guests) {
      acceptor?.abort(STOPPING)
      socket.destroySoon()
    }
  }

  get associations(): number {
    return this.#guests.size
  }

  /** A newer revocation list is in force: those it names are cut off. */
  cutRevoked(): void {
    const { identity } = this.#options
    if (!identity) return
    for (const guest of this.#guests) {
      if (!guest.certificate || !identity.revokes(guest.certificate)) continue
      this.#tell(guest, new Fault('FAR_CERTIFICATE_REVOKED', { subject: guest.certificate?.subject ?? '' }))
      guest.socket.destroy()
    }
  }

  #knock(socket: net.Socket): void {
    socket.on('error', () => {}) // the acceptor, or the close below, says what there is to say
    const key = endOf(socket)
    this.#knocking.set(key, socket)
    socket.once('close', () => {
      if (this.#knocking.get(key) === socket) this.#knocking.delete(key)
    })
    if (this.#knocking.size > this.#room.limits.knocking) {
      const [oldest] = this.#knocking.entries()
      // At once, not when its end is told: several may come in one turn, and each displaces one.
      this.#knocking.delete(oldest?.[0] ?? '')
      oldest?.[1].destroy()
    }
  }

  #secured(socket: tls.TLSSocket, identity: IdentityFolder): void {
    socket.on('error', () => {})
    socket.setNoDelay(true)
    const peer = peerOf(socket)
    const trust = identity.current
    const verdict = trust ? judgePeer(socket, { side: 'server', trust, now: this.#room.now() }) : new Fault('OWN_PART_MISSING', { file: 'cert.pem' })
    if (verdict instanceof Fault) {
      this.#tell({ socket, peer }, verdict)
      socket.destroy()
      return
    }
    this.#converse({ socket, peer, certificate: verdict })
  }

  #tlsFailed(error: NodeJS.ErrnoException, socket: tls.TLSSocket): void {
    // Gone already, it has no address any more, and there is nothing to be said of nobody.
    const gone = socket.remoteAddress === undefined && error.code === 'ECONNRESET'
    const silent = this.#knocking.get(endOf(socket))?.bytesRead === 0
    const peer = plainAddress(socket.remoteAddress ?? '')
    socket.destroy()
    // Somebody only looked whether the port is there: a box's link watch does so all the time.
    if (gone || silent) return
    const { port, identity } = this.#options
    const seconds = this.#room.limits.handshakeMillis / 1000
    const fault = judgeTlsFailure(error, { side: 'server', host: peer, port, identity: identity?.current, established: false, seconds, now: this.#room.now() })
    this.#tell({ socket, peer }, fault)
  }

  #tell(guest: Guest, fault: Fault): void {
    const { name } = this.#options
    const knock = { listener: name, peer: guest.peer, callingAe: '', calledAe: '', certificate: guest.certificate?.subject }
    this.#room.intake.refused(knock, fault.code, fault.fields)
  }

  #converse(guest: Guest): void {
    const { intake, limits, log } = this.#room
    const { name } = this.#options
    let admission: number | undefined
    let source = { listener: name, callingAe: '', calledAe: '', peer: guest.peer }
    let tenant = ''
    let gone = false
    this.#guests.add(guest)
    guest.acceptor = new Acceptor(guest.socket, {
      request: async (request): Promise<Decision> => {
        source = { ...source, callingAe: shown(request.callingAe), calledAe: shown(request.calledAe) }
        const knock: Knock = { ...source, certificate: guest.certificate?.subject }
        const refused = (refusal: Refusal): Decision => {
          intake.refused(knock, refusal.code, refusal.fields)
          return { reject: refusal.reject }
        }
        const entry = this.#enter(request, guest)
        if (typeof entry !== 'string') return refused(entry)
        tenant = entry
        const admitted = await intake.admit(knock, tenant).catch(asRefusal)
        if ('refused' in admitted) return refused({ code: admitted.refused, fields: admitted.fields, reject: REJECT.localLimit })
        if (gone) {
          // It left while the supervisor was asked; nobody else would ever give its place back.
          intake.closed(admitted.admission, { how: 'lost', stores: 0 })
          return { reject: REJECT.noReason }
        }
        admission = admitted.admission
        this.#knocking.delete(endOf(guest.socket))
        this.#room.slots.prepare(tenant)
        return { accept: answerContexts(request, this.#options.rules) }
      },
      store: (request) => new Store(this.#room, request, tenant, source),
      closed: (end) => {
        gone = true
        this.#guests.delete(guest)
        if (admission !== undefined) intake.closed(admission, { how: end.how, stores: end.stores })
        else if (end.how === 'malformed') this.#tell(guest, new Fault('NOT_DICOM', { detail: end.detail }))
        if (admission !== undefined && end.how !== 'released')
          log.warn('association-ended', { listener: name, peer: guest.peer, callingAe: source.callingAe, how: end.how, detail: end.detail, stores: end.stores })
      },
    }, limits)
  }

  /** @returns the tenant, or why not */
  #enter(request: AssociateRequest, guest: Guest): string | Refusal {
    const { rules, tenantOf, hasRoute, name } = this.#options
    const caller = { peer: guest.peer, certificate: guest.certificate && { commonName: guest.certificate.subject } }
    const refusal = refuse(request, rules, caller)
    if (refusal) return refusal
    const tenant = tenantOf(guest.certificate)
    if (typeof tenant !== 'string') return tenant
    if (!hasRoute(tenant)) {
      const named = guest.certificate?.tenant === tenant
      const why = named ? { code: 'TENANT_UNKNOWN', fields: { tenant } } as const : { code: 'ROUTE_MISSING', fields: { from: name } } as const
      return { ...why, reject: REJECT.noReason }
    }
    return tenant
  }
}

/** The supervisor ended while it was asked. */
function asRefusal(error: unknown): Admission {
  if (error instanceof Fault) return { refused: error.code, fields: error.fields }
  throw error
}

/** A TLS socket and the TCP socket below it have this in common. */
const endOf = (socket: net.Socket): string => `${socket.remoteAddress} ${socket.remotePort}`
const peerOf = (socket: net.Socket): string => plainAddress(socket.remoteAddress ?? '')
/** An AE title is any 16 bytes a stranger likes; what is kept and shown of it is one (PS3.5 6.2, VR AE). */
const shown = (title: string): string => title.replace(/[^\x20-\x5b\x5d-\x7e]/g, '?')
