/**
 * From a name to addresses. A look-up goes through the system's resolver (hosts file, mDNS, DNS)
 * on one of libuv's few threads, which the disk needs too: so one look-up per name at a time,
 * and nobody waits for it longer than `nameMillis`.
 */
import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import { Fault } from '../domain/errors.ts'
import { LIMITS } from '../domain/limits.ts'

export interface Address {
  readonly address: string
  readonly family: 4 | 6
}

export type Lookup = (host: string) => Promise<readonly Address[]>

/** In the order of RFC 6724, as the system gives it. */
const systemLookup: Lookup = async (host) =>
  (await lookup(host, { all: true, order: 'verbatim' })).map(({ address, family }) => ({ address, family: family === 6 ? 6 : 4 }))

/**
 * Remembers the last good answer of each name. When no name server answers, that answer is used
 * (RFC 8767, "serve stale"): the far side mostly still lives there, and a link must not depend on
 * one more thing than it needs. A name that is said not to exist is forgotten.
 */
export class Names {
  readonly #lookup: Lookup
  readonly #millis: number
  readonly #pending = new Map<string, Promise<readonly Address[]>>()
  readonly #known = new Map<string, readonly Address[]>()

  constructor(options: { lookup?: Lookup; millis?: number } = {}) {
    this.#lookup = options.lookup ?? systemLookup
    this.#millis = options.millis ?? LIMITS.nameMillis
  }

  /** @returns 1 to `LIMITS.addresses` addresses, families taking turns (RFC 8305 4), or the fault. */
  async resolve(host: string): Promise<readonly Address[] | Fault> {
    const literal = isIP(host)
    if (literal !== 0) return [{ address: host, family: literal === 6 ? 6 : 4 }]
    try {
      const addresses = await within(this.#millis, this.#once(host))
      if (addresses.length === 0) return new Fault('NAME_UNKNOWN', { host })
      const sorted = takeTurns(addresses).slice(0, LIMITS.addresses)
      this.#known.set(host, sorted)
      return sorted
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? 'unknown error'
      if (code === 'ENOTFOUND' || code === 'ENODATA') {
        this.#known.delete(host)
        return new Fault('NAME_UNKNOWN', { host })
      }
      return this.#known.get(host) ?? new Fault('NAME_SERVER_SILENT', { host, detail: code })
    }
  }

  /** The last good answer; empty where there was none. For an address, itself. */
  known(host: string): readonly Address[] {
    const literal = isIP(host)
    return literal === 0 ? (this.#known.get(host) ?? []) : [{ address: host, family: literal === 6 ? 6 : 4 }]
  }

  #once(host: string): Promise<readonly Address[]> {
    const pending = this.#pending.get(host)
    if (pending !== undefined) return pending
    const started = this.#lookup(host).finally(() => this.#pending.delete(host))
    this.#pending.set(host, started)
    return started
  }
}

async function within<Result>(millis: number, work: Promise<Result>): Promise<Result> {
  const late = Promise.withResolvers<never>()
  const timer = setTimeout(() => late.reject(Object.assign(new Error('no answer'), { code: `no answer within ${millis / 1000} s` })), millis)
  try {
    return await Promise.race([work, late.promise])
  } finally {
    clearTimeout(timer)
    // A look-up that nobody waits for any more may still fail.
    work.catch(() => {})
  }
}

/** The first address's family begins; then they alternate as long as both have some left. */
export function takeTurns(addresses: readonly Address[]): Address[] {
  const first = addresses[0]?.family
  const own = addresses.filter(({ family }) => family === first)
  const other = addresses.filter(({ family }) => family !== first)
  return own.flatMap((address, i) => [address, ...other.slice(i, i + 1)]).concat(other.slice(own.length))
}
