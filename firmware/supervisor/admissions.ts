/**
 * Who is in, and who knocked and was refused: counted here because several receive workers share
 * the same bounds.
 */
import { causeOf, remedyOf } from '../domain/errors.ts'
import type { ErrorCode } from '../domain/errors.ts'
import { LIMITS } from '../domain/limits.ts'
import type { Limits } from '../domain/limits.ts'
import type { Log } from '../domain/log.ts'
import type { Admission, Knock } from '../receive/intake.ts'

/** One refused caller as the status shows it; the same caller refused again counts up. */
export interface RefusedKnock extends Knock {
  readonly code: ErrorCode
  readonly sentence: string
  readonly remedy: string
  readonly first: number
  last: number
  times: number
}

interface Open {
  readonly worker: number
  readonly knock: Knock
  readonly tenant: string
  readonly since: number
}

const cut = <T extends string | number>(value: T): T => (typeof value === 'string' ? (value.slice(0, LIMITS.strangerChars) as T) : value)

export class Admissions {
  readonly #limits: Limits
  readonly #log: Log
  readonly #open = new Map<number, Open>()
  readonly #knocks = new Map<string, RefusedKnock>()
  /** How often each address was refused for each reason. */
  readonly #told = new Map<string, number>()
  #next = 1

  constructor(limits: Limits, log: Log) {
    this.#limits = limits
    this.#log = log
  }

  admit(worker: number, knock: Knock, tenant: string): Admission {
    const { associations, associationsPerPeer } = this.#limits
    if (this.#open.size >= associations) return { refused: 'ASSOCIATIONS_FULL', fields: { limit: associations } }
    let ofPeer = 0
    for (const open of this.#open.values()) if (open.knock.peer === knock.peer) ofPeer += 1
    if (ofPeer >= associationsPerPeer)
      return { refused: 'ASSOCIATIONS_PER_PEER_FULL', fields: { peer: knock.peer, limit: associationsPerPeer } }
    const admission = this.#next++
    this.#open.set(admission, { worker, knock, tenant, since: Date.now() })
    return { admission }
  }

  /** A worker can close only what it opened. */
  close(worker: number, admission: number): void {
    if (this.#open.get(admission)?.worker === worker) this.#open.delete(admission)
  }

  workerEnded(worker: number): void {
    for (const [admission, open] of this.#open) if (open.worker === worker) this.#open.delete(admission)
  }

  refused(caller: Knock, code: ErrorCode, details: Record<string, string | number>): void {
    const knock = { ...caller, certificate: caller.certificate && cut(caller.certificate) }
    const fields = Object.fromEntries(Object.entries(details).map(([name, value]) => [name, cut(value)]))
    const key = [knock.listener, knock.peer, knock.callingAe, knock.calledAe, knock.certificate ?? '', code].join('\0')
    const known = this.#knocks.get(key)
    const now = Date.now()
    if (known) {
      known.last = now
      known.times += 1
      // The newest last, so that the oldest is the first to go.
      this.#knocks.delete(key)
      this.#knocks.set(key, known)
    } else {
      this.#knocks.set(key, { ...knock, code, sentence: causeOf(code, fields), remedy: remedyOf(code, fields), first: now, last: now, times: 1 })
      if (this.#knocks.size > this.#limits.knocks) this.#knocks.delete(this.#knocks.keys().next().value as string)
    }
    this.#tell(knock, code, causeOf(code, fields))
  }

  /**
   * The journal is not a stranger's to fill: from one address and for one reason the 1st, 2nd,
   * 4th, 8th … time is logged, whatever AE titles it makes up.
   */
  #tell(knock: Knock, code: ErrorCode, sentence: string): void {
    const key = [knock.listener, knock.peer, code].join('\0')
    const times = (this.#told.get(key) ?? 0) + 1
    this.#told.delete(key)
    this.#told.set(key, times)
    if (this.#told.size > this.#limits.knocks) this.#told.delete(this.#told.keys().next().value as string)
    if ((times & (times - 1)) === 0) this.#log.warn('refused', { ...knock, certificate: knock.certificate ?? '', code, sentence, times })
  }

  openAt(listener: string): number {
    let count = 0
    for (const open of this.#open.values()) if (open.knock.listener === listener) count += 1
    return count
  }

  knocks(): RefusedKnock[] {
    return [...this.#knocks.values()].reverse()
  }
}
