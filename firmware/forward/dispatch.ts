/**
 * One destination: takes leases in order and spreads them over carriers, as many as the link is
 * worth. Knows nothing of DICOM; a transport opens the carriers.
 *
 * INVARIANTS
 * - Every lease taken is settled exactly once, or lost with the process.
 * - One instance's failure never ends another's carrier, unless the far side closed it.
 * - Nothing is leased while the destination is down or pauses: what waits keeps its order in the spool.
 * - What can be sent is asked for without a call from outside: after each call, pause and delay.
 */
import { setImmediate as turn } from 'node:timers/promises'
import { Fault } from '../domain/errors.ts'
import { LIMITS } from '../domain/limits.ts'
import type { Lease, Outcome } from '../domain/spool.ts'
import { backoffMillis } from './backoff.ts'
import { Blame } from './blame.ts'
import { Idle } from './idle.ts'
import { outcomeOf } from './outcome.ts'
import type { Carrier, ObjectSource, OpenLease, Outlet, Transport } from './outlet.ts'
import { associationsWanted, meanOf } from './pacing.ts'
import { Pause } from './pause.ts'

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

/**
 * Leased ahead for each carrier is what it sends in so long, so that none waits for the
 * supervisor: on a fast line a few, on a slow one hardly any, since an urgent image goes after them.
 */
const AHEAD_MILLIS = 40
const AHEAD_LEAST = 2
const AHEAD_MOST = 8

/** A refused extra association is not asked for again for this long. */
const ADMITTED_MILLIS = 60_000
/** The clock of the day may be set: no delay is trusted for longer. */
const LOOK_AGAIN_MILLIS = 60_000

export class Dispatch {
  readonly #options: DispatchOptions
  readonly #carriers = new Set<Carrier>()
  readonly #openings = new Set<Promise<void>>()
  /** Each carrier's life; it ends with what the carrier has in hand. */
  readonly #lives = new Map<Carrier, Promise<void>>()
  readonly #idle = new Idle<Parcel>()
  readonly #blame = new Blame()
  readonly #pause: Pause
  /** To be sent next, in order. */
  #leases: Lease[] = []
  /** Being sent. */
  readonly #underWay = new Set<Lease>()
  #up = false
  #closed = false
  #asking = false
  #again = false
  #waiting = 0
  #admitted = Infinity
  #sendMillis = 0
  #waitMillis = 0
  #admittedTimer: NodeJS.Timeout | undefined
  #dueTimer: NodeJS.Timeout | undefined
  #dueAt = Infinity

  constructor(options: DispatchOptions) {
    this.#options = options
    this.#pause = new Pause(options.random, () => this.wake())
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
    if (up) this.wake()
    else this.#returnLeases()
  }

  /** Opens a carrier to find out whether the far side is there; one that is there, or being opened, will do. @throws Fault */
  async probe(): Promise<void> {
    if (this.#alive > 0) return
    const [opening = this.#open()] = this.#openings
    await opening
  }

  /** Lets go of what waits for the next image: a far side may have room for no association beside it. */
  async releaseIdle(): Promise<void> {
    const release = () => Promise.all(this.#idle.release().map(async (carrier) => this.#lives.get(carrier)))
    await release()
    // Those being opened stand in line behind it, and behind each other: each is let go as it comes.
    await Promise.all([...this.#openings].map((opening) => opening.then(release, () => {})))
  }

  /**
   * What is being sent is sent to its end and settled first. What does not end in `graceMillis` is
   * given back: the process ends, and with it the carriers.
   */
  async close(graceMillis: number = LIMITS.finishMillis): Promise<void> {
    this.#closed = true
    clearTimeout(this.#dueTimer)
    clearTimeout(this.#admittedTimer)
    this.#pause.end()
    this.#returnLeases()
    this.#idle.release()
    const grace = Promise.withResolvers<void>()
    const timer = setTimeout(grace.resolve, graceMillis)
    await Promise.race([Promise.all(this.#lives.values()), grace.promise])
    clearTimeout(timer)
    for (const lease of this.#underWay) this.#giveBack(lease)
    this.#underWay.clear()
  }

  /** Leases for each carrier; asked for again at half of it. */
  get #ahead(): number {
    const each = this.#sendMillis + this.#waitMillis
    return each === 0 ? AHEAD_LEAST : Math.max(AHEAD_LEAST, Math.min(AHEAD_MOST, Math.ceil(AHEAD_MILLIS / each)))
  }

  get #alive(): number {
    return [...this.#carriers].filter((carrier) => carrier.alive).length
  }

  /** Whether something new may be begun. */
  get #may(): boolean {
    return this.#up && !this.#closed && !this.#pause.on
  }

  /** Leases what the carriers can use, wakes idle ones, opens more where that pays. */
  async #pump(): Promise<void> {
    // What is being answered may have been made out before what woke us: it is asked once more.
    this.#again = true
    if (this.#asking) return
    this.#asking = true
    try {
      while (this.#again && this.#may) {
        this.#again = false
        await this.#lease()
        this.#handOut()
        // All who call in one turn of the event loop are one question.
        if (this.#again) await turn()
      }
    } catch (error) {
      if (!(error instanceof Fault)) throw error // SUPERVISOR_GONE: this process is ending
    } finally {
      this.#asking = false
    }
    if (!this.#may) this.#returnLeases()
  }

  async #lease(): Promise<void> {
    const room = this.#ahead * (this.#carriers.size + this.#openings.size) + 2 - this.#leases.length
    if (room <= 0) return
    const { leases, waiting, nextDue } = await this.#options.outlet.lease(room)
    this.#leases.push(...leases)
    this.#waiting = waiting
    if (nextDue > 0) this.#wakeAt(nextDue)
  }

  #handOut(): void {
    if (!this.#may) return
    for (let parcel; this.#idle.any && (parcel = this.#parcel()); ) this.#idle.give(parcel)
    if (this.#leases.length > 0) this.#grow()
  }

  #grow(): void {
    const wanted = associationsWanted({
      waiting: this.#waiting,
      most: this.#options.most,
      admitted: this.#admitted,
      roundTripMillis: this.#options.transport.roundTripMillis,
      sendMillis: this.#sendMillis,
      waitMillis: this.#waitMillis,
    })
    for (let have = this.#carriers.size + this.#openings.size; have < wanted; have++) {
      this.#open().catch((error: unknown) => {
        if (!(error instanceof Fault)) throw error
        const alive = this.#alive
        // With others alive this says only that there may be no more of them.
        if (alive > 0) this.#capAt(alive)
        else if (this.#openings.size === 0) this.#options.failed(error)
      })
    }
  }

  #capAt(admitted: number): void {
    this.#admitted = admitted
    clearTimeout(this.#admittedTimer)
    this.#admittedTimer = setTimeout(() => (this.#admitted = Infinity), ADMITTED_MILLIS)
    this.#admittedTimer.unref()
  }

  #open(): Promise<void> {
    const opening = this.#openCarrier().finally(() => this.#openings.delete(opening))
    this.#openings.add(opening)
    return opening
  }

  async #openCarrier(): Promise<void> {
    const carrier = await this.#options.transport.open(this.#leases.slice(0, LIMITS.presentationContexts).map((lease) => lease.facts))
    if (this.#closed) return carrier.close()
    this.#carriers.add(carrier)
    this.#lives.set(carrier, this.#carry(carrier).finally(() => this.#lives.delete(carrier)))
    this.#options.reached()
  }

  /** One carrier's life: the next parcel is opened while the present one is under way. */
  async #carry(carrier: Carrier): Promise<void> {
    const refused = new Set<string>()
    let parcel = await this.#next(carrier)
    while (parcel) {
      const fits = carrier.alive ? carrier.fits(parcel.lease.facts) : 'unproposed'
      if (fits === 'unproposed') {
        this.#putBack(parcel)
        break
      }
      if (fits !== 'yes') {
        this.#refuse(parcel, fits.refused, refused)
        parcel = await this.#next(carrier)
        continue
      }
      const following = this.#may ? this.#parcel() : undefined
      const outcome = await this.#sendOne(carrier, parcel)
      this.#judge(parcel.lease, outcome)
      if (!carrier.alive && outcome.event !== 'stored') this.#options.failed(brokenBy(outcome))
      const goesOn = carrier.alive && this.#may
      if (following && !goesOn) this.#putBack(following)
      if (!carrier.alive) break
      this.#sendMillis = meanOf(this.#sendMillis, carrier.lastSendMillis)
      this.#waitMillis = meanOf(this.#waitMillis, carrier.lastWaitMillis)
      if (this.#leases.length < (this.#ahead / 2) * this.#carriers.size) this.wake()
      parcel = (goesOn ? following : undefined) ?? (await this.#next(carrier))
    }
    this.#carriers.delete(carrier)
    this.wake()
    await carrier.close()
  }

  async #sendOne(carrier: Carrier, parcel: Parcel): Promise<Outcome> {
    let source: ObjectSource | undefined
    this.#underWay.add(parcel.lease)
    try {
      source = await parcel.source
      return await carrier.send(parcel.lease, source)
    } catch (error) {
      if (!(error instanceof Fault)) throw error
      return outcomeOf(error)
    } finally {
      await source?.close()
    }
  }

  /** Settles what was sent. What alone is refused, again and again, is held; only what may concern all makes a pause. */
  #judge(lease: Lease, outcome: Outcome): void {
    // Given back already: we are closing.
    if (!this.#underWay.delete(lease)) return
    if (outcome.event === 'stored') {
      this.#pause.taken()
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
    if (alone > 0 || outcome.status === undefined || outcome.status >> 8 !== 0xa7) return
    // A7xx: the far side has no room for anything now; the whole destination pauses. But see blame.ts.
    this.#pause.begin()
    this.#returnLeases()
  }

  /** The rest of its kind is held in one go, once for each carrier: what was leased meanwhile comes here by itself. */
  #refuse(parcel: Parcel, why: string, refused: Set<string>): void {
    const { sopClass, transferSyntax } = parcel.lease.facts
    discard(parcel)
    if (!refused.has(`${sopClass} ${transferSyntax}`)) this.#options.outlet.hold({ sopClass, transferSyntax }, why)
    refused.add(`${sopClass} ${transferSyntax}`)
    this.#settle(parcel.lease, { event: 'rejected', code: 'CONTEXT_REFUSED', detail: why })
  }

  #settle(lease: Lease, outcome: Outcome): void {
    const code = (outcome.code ?? 'ASSOCIATION_LOST') as Parameters<typeof backoffMillis>[0]
    const delay = outcome.event === 'refused' ? backoffMillis(code, lease.attempts + 1, this.#options.random()) : 0
    this.#options.outlet.settle(lease, outcome, delay)
    // The spool may not have it written when it is asked next for what is due.
    if (delay > 0) this.#wakeAt(this.#options.now() + delay)
  }

  /** The next parcel; waits for one up to the hold time. Undefined: close the carrier. */
  #next(carrier: Carrier): Promise<Parcel | undefined> {
    if (this.#closed) return Promise.resolve(undefined)
    const parcel = this.#may ? this.#parcel() : undefined
    if (parcel) return Promise.resolve(parcel)
    const next = this.#idle.wait(carrier, this.#options.holdMillis)
    this.wake()
    return next
  }

  #parcel(): Parcel | undefined {
    const lease = this.#leases.shift()
    if (!lease) return undefined
    const source = this.#options.open(lease)
    source.catch(() => {}) // met again where it is awaited
    return { lease, source }
  }

  #putBack(parcel: Parcel): void {
    discard(parcel)
    if (this.#may) this.#leases.unshift(parcel.lease)
    else this.#giveBack(parcel.lease)
  }

  #giveBack(lease: Lease): void {
    this.#options.outlet.settle(lease, { event: 'lease-lost' }, 0)
  }

  #returnLeases(): void {
    for (const lease of this.#leases.splice(0)) this.#giveBack(lease)
  }

  /** The earliest counts; when it has come, the spool is asked for the next. */
  #wakeAt(due: number): void {
    if (this.#closed || due >= this.#dueAt) return
    this.#dueAt = due
    clearTimeout(this.#dueTimer)
    this.#dueTimer = setTimeout(() => {
      this.#dueAt = Infinity
      this.wake()
    }, Math.min(LOOK_AGAIN_MILLIS, Math.max(1, due - this.#options.now())))
    this.#dueTimer.unref()
  }
}

/** It is not wanted open any more. */
const discard = (parcel: Parcel): void => void parcel.source.then((source) => source.close(), () => {})

/** For the link watch. The outcome's own words may be the far side's, and stay with the instance. */
const brokenBy = (outcome: Outcome): Fault =>
  outcome.code === 'FOLDER_FAILED' ? new Fault('FOLDER_FAILED', { detail: outcome.detail ?? '' }) : new Fault('ASSOCIATION_LOST', { detail: outcome.code ?? 'closed' })
