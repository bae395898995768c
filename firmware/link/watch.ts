/**
 * Keeps one destination's link state true, and brings the link back when it is down.
 *
 * It learns from the associations that images travel on (`noteSuccess`, `noteFailure`), and tries
 * by itself when there are none: `knock` (name and TCP only) while TCP is what fails, `dial`
 * (up to A-ASSOCIATE-AC and C-ECHO) otherwise. schedule.ts says when, and why so.
 *
 * INVARIANTS:
 * - At most one dial and `knocksPending` knocks are under way, and one timer is set.
 * - `onState` is called only when the state differs from the one told before, never re-entrantly
 *   from the constructor.
 * - The link is never given up: unless connected or never used, something is under way or set.
 */
import type { Fault } from '../domain/errors.ts'
import { LIMITS } from '../domain/limits.ts'
import { failed, linkState, LINK_CODES, NOTHING_KNOWN, passed, stepOf, type LinkCode, type LinkInputs, type LinkState } from '../domain/link.ts'
import { backoffWait, idleWait, knockWait, type Chance } from './schedule.ts'

/** Time, as the watch needs it. */
export interface Clock {
  /** Milliseconds since 1970. */
  now(): number
  /** Runs `work` once after `millis`; @returns what calls it off. */
  after(millis: number, work: () => void): () => void
}

export interface LinkWatchOptions {
  readonly onState: (state: LinkState) => void
  /**
   * One whole attempt, bounded in time by itself. It may keep the association it opened for the
   * images to come: that spares the far side a second handshake. @returns undefined when the far
   * side accepted, else the fault.
   */
  readonly dial: (signal: AbortSignal) => Promise<Fault | undefined>
  /** Name and TCP only; closes what it opened. */
  readonly knock: (signal: AbortSignal) => Promise<Fault | undefined>
  /** What is wrong with cable or address; undefined when nothing is. Must be cheap. */
  readonly network?: (() => Fault | undefined) | undefined
  /** Finds out more about a fault that leaves room for doubt; asked once each time it appears. */
  readonly diagnose?: ((fault: Fault, signal: AbortSignal) => Promise<Fault>) | undefined
  readonly clock?: Clock | undefined
  readonly chance?: Chance | undefined
}

export class LinkWatch {
  readonly #options: LinkWatchOptions
  readonly #clock: Clock
  readonly #chance: Chance
  readonly #end = new AbortController()
  #inputs: LinkInputs = NOTHING_KNOWN
  #told: LinkState
  /** Failures above TCP in a row. */
  #failures = 0
  #mode: 'rest' | 'knock' | 'backoff' = 'rest'
  #cancel: (() => void) | undefined
  #dialing = false
  /** All knocks of this round; aborted when one has won. */
  #round = new AbortController()
  #knocks = 0
  #imageAt = Number.NEGATIVE_INFINITY

  constructor(options: LinkWatchOptions) {
    this.#options = options
    this.#clock = options.clock ?? REAL_CLOCK
    this.#chance = options.chance ?? Math.random
    this.#told = linkState(this.#inputs)
  }

  get state(): LinkState {
    return linkState(this.#inputs)
  }

  /** The far side sent A-ASSOCIATE-AC, or answered on an association. */
  noteSuccess(): void {
    if (this.#closed) return
    this.#inputs = passed(this.#inputs, 'association', this.#clock.now())
    // Whatever C-ECHO said earlier: associations are taken now.
    this.#inputs = { ...this.#inputs, echo: { kind: 'unknown' } }
    this.#failures = 0
    this.#rest()
    this.#tell()
  }

  /**
   * An association could not be opened, or broke. A code that is not about the link (`stepOf`)
   * only makes a connected link be proven anew.
   */
  noteFailure(fault: Fault): void {
    if (this.#closed) return
    if (stepOf(fault.code) === undefined) {
      if (this.#mode === 'rest') this.#dial()
      return
    }
    this.#fail(fault)
    this.#tell()
  }

  /** An image waits for this destination. Tries at once, unless images come all the time anyway. */
  imageWaiting(): void {
    if (this.#closed) return
    const now = this.#clock.now()
    const quiet = now - this.#imageAt >= LIMITS.linkQuietMillis
    this.#imageAt = now
    if (quiet && this.#mode !== 'rest') this.#atOnce()
  }

  /** Cable or address changed: look again, try at once. */
  networkChanged(): void {
    if (this.#closed) return
    this.#see()
    if (linkState(this.#inputs).state !== 'unknown') this.#atOnce()
    this.#tell()
  }

  /** Certificate, authority or revocation list changed: what was refused may pass now. */
  identityChanged(): void {
    if (!this.#closed && this.#mode !== 'rest') this.#atOnce()
  }

  /** Proves the link now: at the start, or because a person asked. */
  check(): void {
    if (!this.#closed) this.#atOnce()
  }

  close(): void {
    this.#end.abort()
    this.#round.abort()
    this.#cancel?.()
  }

  get #closed(): boolean {
    return this.#end.signal.aborted
  }

  /** Carrier and address as the machine sees them; without `network` they stay unknown. */
  #see(): void {
    const { network } = this.#options
    if (network === undefined) return
    const fault = network()
    const now = this.#clock.now()
    this.#inputs =
      fault !== undefined && isLinkCode(fault.code)
        ? failed(this.#inputs, fault.code, fault.fields, now)
        : passed(this.#inputs, 'address', now)
  }

  #fail(fault: Fault): void {
    if (!isLinkCode(fault.code)) throw new Error(`link: ${fault.code} names no step`)
    const before = linkState(this.#inputs).code
    this.#see()
    this.#inputs = failed(this.#inputs, fault.code, fault.fields, this.#clock.now())
    const step = LINK_CODES[fault.code]
    if (step === 'tls' || step === 'association' || step === 'echo') {
      if (this.#mode !== 'backoff' || this.#cancel === undefined) this.#failures += 1
      this.#enter('backoff', backoffWait(this.#failures, this.#chance))
    } else if (this.#mode !== 'knock') this.#enter('knock', knockWait(this.#chance))
    if (before !== fault.code) this.#diagnose(fault)
  }

  #diagnose(fault: Fault): void {
    void this.#options.diagnose?.(fault, this.#end.signal).then((better) => {
      if (this.#closed || linkState(this.#inputs).code !== fault.code || !isLinkCode(better.code)) return
      this.#inputs = failed(this.#inputs, better.code, better.fields, this.#clock.now())
      this.#tell()
    }, () => {})
  }

  #atOnce(): void {
    this.#failures = 0
    if (this.#mode === 'knock') {
      this.#set(0)
    } else this.#dial()
  }

  #rest(): void {
    this.#enter('rest', idleWait(this.#chance))
  }

  #enter(mode: 'rest' | 'knock' | 'backoff', wait: number): void {
    if (this.#mode === 'knock' && mode !== 'knock') this.#newRound()
    this.#mode = mode
    this.#set(wait)
  }

  #newRound(): void {
    this.#round.abort()
    this.#round = new AbortController()
    this.#knocks = 0
  }

  #set(wait: number): void {
    this.#cancel?.()
    this.#cancel = this.#clock.after(wait, () => {
      this.#cancel = undefined
      if (this.#mode === 'knock') this.#knock()
      else this.#dial()
    })
  }

  #knock(): void {
    this.#set(knockWait(this.#chance))
    if (this.#knocks >= LIMITS.knocksPending) return
    const round = this.#round
    this.#knocks += 1
    void this.#options.knock(round.signal).then(
      (fault) => {
        // A knock of an earlier round lost to the one that ended it.
        if (round !== this.#round || round.signal.aborted || this.#closed) return
        this.#knocks -= 1
        if (fault === undefined) this.#reached()
        else this.#missed(fault)
      },
      () => {
        if (round === this.#round) this.#knocks -= 1
      },
    )
  }

  #reached(): void {
    this.#inputs = passed(this.#inputs, 'tcp', this.#clock.now())
    this.#newRound()
    this.#tell()
    this.#dial()
  }

  #missed(fault: Fault): void {
    if (!isLinkCode(fault.code)) return
    this.#see()
    this.#inputs = failed(this.#inputs, fault.code, fault.fields, this.#clock.now())
    this.#tell()
  }

  #dial(): void {
    if (this.#dialing || this.#closed) return
    this.#dialing = true
    this.#cancel?.()
    this.#cancel = undefined
    const limit = new AbortController()
    const callOff = this.#clock.after(LIMITS.dialMillis, () => limit.abort())
    void this.#options
      .dial(AbortSignal.any([this.#end.signal, limit.signal]))
      .then(
        (fault) => fault,
        (error: unknown) => error,
      )
      .then((result) => {
        callOff()
        this.#dialing = false
        if (this.#closed) return
        if (result === undefined) this.noteSuccess()
        else if (isFault(result) && isLinkCode(result.code)) this.noteFailure(result)
        else this.#enter('backoff', backoffWait((this.#failures += 1), this.#chance))
      })
  }

  #tell(): void {
    const state = linkState(this.#inputs)
    const { state: name, code, sentence, since } = this.#told
    if (state.state === name && state.code === code && state.sentence === sentence && state.since === since) return
    this.#told = state
    this.#options.onState(state)
  }
}

const isLinkCode = (code: string): code is LinkCode => code in LINK_CODES
const isFault = (value: unknown): value is Fault => value instanceof Error && value.name === 'Fault'

/** Unref'd: a watch alone keeps no process alive. */
const REAL_CLOCK: Clock = {
  now: Date.now,
  after: (millis, work) => {
    const timer = setTimeout(work, millis)
    timer.unref()
    return () => clearTimeout(timer)
  },
}
