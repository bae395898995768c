/**
 * One destination: takes leases in order and spreads them over carriers, as many as the link is
 * worth. Knows nothing of DICOM; a transport opens the carriers.
 *
 * INVARIANTS
 * - Every lease taken is settled exactly once, or lost with the process.
 * - One instance's failure never ends another's carrier, unless the far side closed it.
 * - Nothing is leased while the destination is down: what waits keeps its order in the spool.
 */
import { Fault } from '../domain/errors.ts'
import { LIMITS } from '../domain/limits.ts'
import type { Lease, Outcome } from '../domain/spool.ts'
import { backoffMillis } from './backoff.ts'
import { Blame } from './blame.ts'
import type { Carrier, ObjectSource, OpenLease, Outlet, Transport } from './outlet.ts'
import { associationsWanted, meanOf } from './pacing.ts'

export interface DispatchOptions {
  readonly outlet: Outlet
  readonly transport: Transport
  readonly open: OpenLease
  readonly most: number
  readonly holdMillis: number
  readonly random: () => number
  readonly now: () => number
  /** A carrier could be opened, or one could not: the link watch wants to know. */
  readonly reached: () => void
  readonly failed: (fault: Fault) => void
}

/** A lease with its object being opened, so that the next one is ready when an answer comes. */
interface Parcel {
  readonly lease: Lease
  readonly source: Promise<ObjectSource>
}

/** A7xx: the far side has no room for anything now; the whole destination pauses. But see blame.ts. */
const PAUSE_FIRST_MILLIS = 1_000
const PAUSE_CAP_MILLIS = 60_000
/** A refused extra association is not asked for again for this long. */
const ADMITTED_MILLIS = 60_000

export class Dispatch {
  readonly #options: DispatchOptions
  readonly #carriers = new Set<Carrier>()
  /** Each carrier's life; it ends with what the carrier has in hand. */
  readonly #lives = new Set<Promise<void>>()
  readonly #blame = new Blame()
  #leases: Lease[] = []
  #idle: { carrier: Carrier; wake: (parcel: Parcel | undefined) => void }[] = []
  #opening = 0
  #up = false
  #closed = false
  #asking = false
  #waiting = 0
  #admitted = Infinity
  #pauseMillis = 0
  #pausedUntil = 0
  #sendMillis = 0
  #waitMillis = 0
  #dueTimer: NodeJS.Timeout | undefined

  constructor(options: DispatchOptions) {
    this.#options = options
  }

  get associations(): number {
    return this.#carriers.size
  }

  /** Something became due, or may have. */
  wake(): void {
    void this.#pump()
  }

  /** The link watch's word: may we try? */
  setUp(up: boolean): void {
    this.#up = up
    if (up) void this.#pump()
    else this.#returnLeases()
  }

  /** Opens a carrier to find out whether the far side is there. @throws Fault */
  async probe(): Promise<void> {
    if ([...this.#carriers].some((carrier) => carrier.alive)) return
    const carrier = await this.#openCarrier()
    this.#run(carrier)
  }

  /** What is being sent is sent to its end and settled first; whoever cannot wait ends the process. */
  async close(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#dueTimer)
    this.#returnLeases()
    for (const { wake } of this.#idle.splice(0)) wake(undefined)
    await Promise.all(this.#lives)
  }

  get #paused(): boolean {
    return this.#options.now() < this.#pausedUntil
  }

  /** Leases what the carriers can use, wakes idle ones, opens more where that pays. */
  async #pump(): Promise<void> {
    if (this.#closed || !this.#up || this.#asking || this.#paused) return
    this.#asking = true
    try {
      const room = 2 * (this.#carriers.size + this.#opening) + 2 - this.#leases.length
      if (room > 0) {
        const { leases, waiting, nextDue } = await this.#options.outlet.lease(room)
        this.#leases.push(...leases)
        this.#waiting = waiting
        this.#wakeAt(nextDue)
      }
    } catch (error) {
      if (!(error instanceof Fault)) throw error // SUPERVISOR_GONE: this process is ending
      return
    } finally {
      this.#asking = false
    }
    if (this.#closed || !this.#up) {
      this.#returnLeases()
      return
    }
    while (this.#leases.length > 0) {
      const idle = this.#idle.shift()
      if (!idle) break
      idle.wake(this.#parcel())
    }
    this.#grow()
  }

  #grow(): void {
    if (this.#leases.length === 0) return
    const wanted = associationsWanted({
      waiting: this.#waiting,
      most: this.#options.most,
      admitted: this.#admitted,
      roundTripMillis: this.#options.transport.roundTripMillis,
      sendMillis: this.#sendMillis,
      waitMillis: this.#waitMillis,
    })
    for (let have = this.#carriers.size + this.#opening; have < wanted; have++) {
      this.#opening += 1
      this.#openCarrier().then(
        (carrier) => {
          this.#opening -= 1
          this.#run(carrier)
        },
        (error: unknown) => {
          this.#opening -= 1
          if (!(error instanceof Fault)) throw error
          const alive = [...this.#carriers].filter((carrier) => carrier.alive).length
          // With others alive this says only that there may be no more of them.
          if (alive > 0 || this.#opening > 0) this.#capAt(Math.max(1, alive))
          else this.#options.failed(error)
        },
      )
    }
  }

  #capAt(admitted: number): void {
    this.#admitted = admitted
    setTimeout(() => (this.#admitted = Infinity), ADMITTED_MILLIS).unref()
  }

  async #openCarrier(): Promise<Carrier> {
    const carrier = await this.#options.transport.open(this.#leases.slice(0, 32).map((lease) => lease.facts))
    if (this.#closed) {
      void carrier.close()
      throw new Fault('SUPERVISOR_GONE')
    }
    this.#carriers.add(carrier)
    this.#options.reached()
    return carrier
  }

  #run(carrier: Carrier): void {
    const life = this.#carry(carrier).finally(() => {
      this.#lives.delete(life)
      this.#carriers.delete(carrier)
      if (this.#carriers.size === 0) this.#returnIfDown()
    })
    this.#lives.add(life)
  }

  /** One carrier's life: the next parcel is opened while the present one is under way. */
  async #carry(carrier: Carrier): Promise<void> {
    let parcel = await this.#next(carrier)
    while (parcel) {
      const fits = carrier.fits(parcel.lease.facts)
      if (fits === 'unproposed') {
        void parcel.source.then((source) => source.close(), () => {})
        this.#leases.unshift(parcel.lease)
        break
      }
      if (fits !== 'yes') {
        const { facts } = parcel.lease
        void parcel.source.then((source) => source.close(), () => {})
        this.#options.outlet.hold({ sopClass: facts.sopClass, transferSyntax: facts.transferSyntax }, fits.refused)
        this.#settle(parcel.lease, { event: 'rejected', code: 'CONTEXT_REFUSED', detail: fits.refused })
        parcel = await this.#next(carrier)
        continue
      }
      const following: Parcel | undefined = this.#paused ? undefined : this.#parcel()
      const outcome = await this.#sendOne(carrier, parcel)
      this.#judge(parcel.lease, outcome)
      if (!carrier.alive) {
        if (following) this.#putBack(following)
        if (outcome.event !== 'stored') this.#options.failed(new Fault('ASSOCIATION_LOST', { detail: outcome.detail ?? '' }))
        break
      }
      this.#sendMillis = meanOf(this.#sendMillis, carrier.lastSendMillis)
      this.#waitMillis = meanOf(this.#waitMillis, carrier.lastWaitMillis)
      if (this.#leases.length < this.#carriers.size) void this.#pump()
      if (this.#closed) {
        if (following) this.#putBack(following)
        break
      }
      parcel = following ?? (await this.#next(carrier))
    }
    if (this.#closed) this.#returnLeases()
    this.#carriers.delete(carrier)
    void this.#pump()
    await carrier.close()
  }

  async #sendOne(carrier: Carrier, parcel: Parcel): Promise<Outcome> {
    let source: ObjectSource | undefined
    try {
      source = await parcel.source
      return await carrier.send(parcel.lease, source)
    } catch (error) {
      if (!(error instanceof Fault)) throw error
      return { event: 'rejected', code: error.code, detail: error.message.slice(0, 200) }
    } finally {
      await source?.close()
    }
  }

  /** Settles what was sent. What alone is refused, again and again, is held; only what may concern all makes a pause. */
  #judge(lease: Lease, outcome: Outcome): void {
    if (outcome.event === 'stored') {
      this.#pauseMillis = 0
      this.#blame.taken(lease.id)
    }
    // The far side's own word: a link that breaks says nothing about the instance.
    const said = outcome.event === 'refused' && (outcome.status !== undefined || outcome.code === 'ASSOCIATION_ABORTED')
    const alone = said ? this.#blame.refused(lease.id) : 0
    if (alone < LIMITS.refusalsOfOne) this.#settle(lease, outcome)
    else {
      this.#blame.forget(lease.id)
      this.#settle(lease, { ...outcome, event: 'rejected', detail: `${outcome.detail ?? ''}; alone refused ${alone} times` })
    }
    if (alone === 0 && outcome.status !== undefined && outcome.status >> 8 === 0xa7) this.#pause()
  }

  #settle(lease: Lease, outcome: Outcome): void {
    const code = (outcome.code ?? 'ASSOCIATION_LOST') as Parameters<typeof backoffMillis>[0]
    const delay = outcome.event === 'refused' ? backoffMillis(code, lease.attempts + 1, this.#options.random()) : 0
    this.#options.outlet.settle(lease, outcome, delay)
  }

  /** The next parcel; waits for one up to the hold time. Undefined: close the carrier. */
  #next(carrier: Carrier): Promise<Parcel | undefined> {
    if (this.#closed) return Promise.resolve(undefined)
    const parcel = this.#paused ? undefined : this.#parcel()
    if (parcel) return Promise.resolve(parcel)
    return new Promise((resolve) => {
      const idle = { carrier, wake: (next: Parcel | undefined) => {
        clearTimeout(timer)
        clearInterval(look)
        resolve(next)
      } }
      const leave = () => {
        this.#idle = this.#idle.filter((one) => one !== idle)
        idle.wake(undefined)
      }
      const timer = setTimeout(leave, this.#options.holdMillis)
      // The far side may end an idle association; that is no failure, but it must not be kept.
      const look = setInterval(() => { if (!carrier.alive) leave() }, 250)
      this.#idle.push(idle)
      void this.#pump()
    })
  }

  #parcel(): Parcel | undefined {
    const lease = this.#leases.shift()
    if (!lease) return undefined
    const source = this.#options.open(lease)
    source.catch(() => {}) // met again where it is awaited
    return { lease, source }
  }

  #putBack(parcel: Parcel): void {
    void parcel.source.then((source) => source.close(), () => {})
    this.#leases.unshift(parcel.lease)
  }

  #pause(): void {
    this.#pauseMillis = Math.min(PAUSE_CAP_MILLIS, Math.max(PAUSE_FIRST_MILLIS, this.#pauseMillis * 2))
    const millis = Math.round(this.#pauseMillis * (0.5 + this.#options.random() / 2))
    this.#pausedUntil = this.#options.now() + millis
    this.#returnLeases()
    this.#wakeAt(this.#pausedUntil)
  }

  #wakeAt(due: number): void {
    if (due === 0) return
    clearTimeout(this.#dueTimer)
    this.#dueTimer = setTimeout(() => void this.#pump(), Math.max(1, due - this.#options.now()))
    this.#dueTimer.unref()
  }

  #returnIfDown(): void {
    if (!this.#up || this.#closed) this.#returnLeases()
  }

  #returnLeases(): void {
    for (const lease of this.#leases.splice(0)) this.#options.outlet.settle(lease, { event: 'lease-lost' }, 0)
  }
}
