/**
 * An identity folder that is watched: a renewed certificate, another authority or a newer
 * revocation list comes into force by itself, without a restart and without dropping anybody.
 *
 * INVARIANTS:
 * - `current`, once whole, is never replaced by a set that is not whole.
 * - A fault is told only after it has lasted `identitySettleMillis`: files are exchanged one by one.
 */
import { watch, type FSWatcher } from 'node:fs'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Server, TLSSocket } from 'node:tls'
import { Fault } from '../domain/errors.ts'
import { LIMITS } from '../domain/limits.ts'
import { factsOf, type CertificateFacts } from './certificate.ts'
import { isRevoked } from './crl.ts'
import { IDENTITY_FILES, loadIdentity, type Identity } from './identity.ts'
import { serverOptions } from './profile.ts'

export interface FolderOptions {
  /** A new whole set is in force; also called for the first. */
  readonly onChange?: (identity: Identity) => void
  /** What is in the folder cannot be used; the set before it, if any, stays in force. */
  readonly onFault?: (fault: Fault) => void
  readonly settleMillis?: number
  readonly pollMillis?: number
}

/** File systems tell of a rename in several events; they are read together. */
const EVENT_MILLIS = 100

export class IdentityFolder {
  readonly folder: string
  readonly #options: FolderOptions
  readonly #servers = new Set<Server>()
  readonly #poll: NodeJS.Timeout
  #watcher: FSWatcher | undefined
  #event: NodeJS.Timeout | undefined
  #current: Identity | undefined
  #fault: Fault | undefined
  #doubtSince = 0
  #signature = ''
  #reading: Promise<void> | undefined
  #again = false
  #closed = false

  private constructor(folder: string, options: FolderOptions) {
    this.folder = folder
    this.#options = options
    this.#poll = setInterval(() => void this.#look(), options.pollMillis ?? LIMITS.identityPollMillis)
    this.#poll.unref()
    this.#watch()
  }

  /** Reads the folder once before it returns; afterwards `current` or `fault` is set. */
  static async open(folder: string, options: FolderOptions = {}): Promise<IdentityFolder> {
    const opened = new IdentityFolder(folder, options)
    await opened.reload()
    return opened
  }

  /** The set in force; undefined until there was a whole one. */
  get current(): Identity | undefined {
    return this.#current
  }

  /** Why the newest content of the folder is not in force; undefined when it is. */
  get fault(): Fault | undefined {
    return this.#fault
  }

  /** Gives a TLS server every new set from now on; associations that are up stay up. */
  serve(server: Server): void {
    this.#servers.add(server)
    server.once('close', () => this.#servers.delete(server))
    if (this.#current !== undefined) server.setSecureContext(serverOptions(this.#current))
  }

  /**
   * Whether the certificate of a peer whose association is up has been revoked meanwhile; to be
   * asked in `onChange`. Certificates that merely expired do not count: the association ends soon
   * by itself, and the next one is refused.
   *
   * @param peer what `judgePeer` said of it, or the socket of a client (of a server's, Node gives
   *   the certificate only once: see verdict.ts).
   */
  revokes(peer: CertificateFacts | TLSSocket): boolean {
    if (this.#current === undefined) return false
    if (!('getPeerX509Certificate' in peer)) return isRevoked(this.#current.lists, peer)
    const certificate = peer.getPeerX509Certificate()
    if (certificate === undefined) throw new Error('identity folder: a socket without certificate was let in')
    return isRevoked(this.#current.lists, factsOf(certificate))
  }

  /** Reads the folder now, whatever the watch says. */
  reload(): Promise<void> {
    if (this.#reading !== undefined) {
      this.#again = true
      return this.#reading
    }
    this.#reading = this.#read().finally(() => {
      this.#reading = undefined
    })
    return this.#reading
  }

  close(): void {
    this.#closed = true
    clearInterval(this.#poll)
    clearTimeout(this.#event)
    this.#watcher?.close()
    this.#servers.clear()
  }

  #watch(): void {
    try {
      this.#watcher = watch(this.folder, { persistent: false }, () => {
        clearTimeout(this.#event)
        this.#event = setTimeout(() => void this.reload(), EVENT_MILLIS)
        this.#event.unref()
      })
      // The folder itself may be exchanged; the poll finds that and watches the new one.
      this.#watcher.on('error', () => this.#unwatch())
    } catch {
      this.#watcher = undefined
    }
  }

  #unwatch(): void {
    this.#watcher?.close()
    this.#watcher = undefined
  }

  /** Four `stat`s; the content is read only when one of them differs, or while there is doubt. */
  async #look(): Promise<void> {
    const signature = await this.#sign()
    if (this.#closed) return
    if (this.#watcher === undefined) this.#watch()
    if (signature !== this.#signature || this.#doubtSince !== 0) await this.reload()
  }

  async #sign(): Promise<string> {
    const paths = [this.folder, ...IDENTITY_FILES.map((file) => join(this.folder, file))]
    const stats = await Promise.all(paths.map((path) => stat(path, { bigint: true }).catch(() => undefined)))
    const [inode, ...files] = stats.map((each) => (each === undefined ? '-' : `${each.dev}.${each.ino}.${each.size}.${each.mtimeNs}`))
    // The folder's own times change with every look into it that makes a file; only which folder counts.
    return [inode?.split('.').slice(0, 2).join('.'), ...files].join(' ')
  }

  async #read(): Promise<void> {
    do {
      this.#again = false
      const before = this.#signature
      this.#signature = await this.#sign()
      if (before.split(' ')[0] !== this.#signature.split(' ')[0] && before !== '') this.#unwatch()
      const loaded = await loadIdentity(this.folder)
      if (this.#closed) return
      if (loaded instanceof Fault) this.#doubt(loaded)
      else this.#take(loaded)
    } while (this.#again)
  }

  #take(identity: Identity): void {
    this.#doubtSince = 0
    this.#fault = undefined
    if (identity.version === this.#current?.version) return
    this.#current = identity
    const options = serverOptions(identity)
    for (const server of this.#servers) server.setSecureContext(options)
    this.#options.onChange?.(identity)
  }

  #doubt(fault: Fault): void {
    const now = performance.now()
    if (this.#doubtSince === 0) this.#doubtSince = now
    const settled = now - this.#doubtSince >= (this.#options.settleMillis ?? LIMITS.identitySettleMillis)
    // Without a set in force there is nothing to wait for.
    if (!settled && this.#current !== undefined) return
    if (this.#fault?.message === fault.message) return
    this.#fault = fault
    this.#options.onFault?.(fault)
  }
}
