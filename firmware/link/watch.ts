/**
 * Keeps one destination's link state true, and brings the link back when it is down.
 *
 * It learns from the associations that images travel on (`noteSuccess`, `noteFailure`), and tries
 * by itself when there are none: `knock` (name and TCP only) while TCP is what fails, `dial`
 * (up to A-ASSOCIATE-AC and C-ECHO) otherwise. schedule.ts says when, and why so.
 *
 * INVARIANTS:
 * - At most one dial and `knocksPending` knocks that are not called off are under way.
 * - `onState` is called only when the state differs from the one told before, never re-entrantly
 *   from the constructor.
 * - The link is never given up: unless connected or never used, something is under way or set.
 */
import { Fault } from '../domain/errors.ts'
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
  #dialing: AbortController | undefined
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
    const fault = this.#see()
    // What is under way left by the old network, and may hang there for its whole time-out.
    this.#newRound()
    const dialed = this.#dialing !== undefined
    this.#dialing?.abort()
    this.#dialing = undefined
    this.#failures = 0
    if (fault !== undefined) this.#enter('knock', knockWait(this.#chance))
    else if (this.#mode === 'knock') this.#set(0)
    else if (dialed || linkState(this.#inputs).state !== 'unknown') this.#dial()
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
  #see(): Fault | undefined {
    const { network } = this.#options
    if (network === undefined) return undefined
    const fault = network()
    const now = this.#clock.now()
    this.#inputs = fault === undefined ? passed(this.#inputs, 'address', now) : failed(this.#inputs, codeOf(fault), fault.fields, now)
    return fault
  }

  #fail(fault: Fault): void {
    const code = codeOf(fault)
    const before = linkState(this.#inputs).code
    this.#see()
    this.#inputs = failed(this.#inputs, code, fault.fields, this.#clock.now())
    const step = LINK_CODES[code]
    if (step === 'tls' || step === 'association' || step === 'echo') {
      // Several associations fail together for one reason: that counts once.
      if (this.#mode !== 'backoff' || this.#cancel === undefined) {
        this.#failures += 1
        this.#enter('backoff', backoffWait(this.#failures, this.#chance))
      }
    } else if (this.#mode !== 'knock' || this.#cancel === undefined) this.#enter('knock', knockWait(this.#chance))
    if (before !== fault.code) this.#diagnose(fault)
  }

  #diagnose(fault: Fault): void {
    const { diagnose } = this.#options
    if (diagnose === undefined) return
    void settled(diagnose(fault, this.#end.signal), this.#end.signal).then((better) => {
      if (this.#closed || !(better instanceof Fault) || linkState(this.#inputs).code !== fault.code) return
      this.#inputs = failed(this.#inputs, codeOf(better), better.fields, this.#clock.now())
      this.#tell()
    })
  }

  #atOnce(): void {
    this.#failures = 0
    if (this.#mode === 'knock') this.#set(0)
    else this.#dial()
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
    void settled(this.#options.knock(round.signal), round.signal).then((result) => {
      // A knock of an earlier round lost to what ended it.
      if (round !== this.#round || this.#closed) return
      this.#knocks -= 1
      if (result === undefined) this.#reached()
      else if (result !== 'aborted') this.#missed(result)
    })
  }

  #reached(): void {
    this.#inputs = passed(this.#inputs, 'tcp', this.#clock.now())
    this.#newRound()
    this.#tell()
    this.#dial()
  }

  #missed(fault: Fault): void {
    this.#see()
    this.#inputs = failed(this.#inputs, codeOf(fault), fault.fields, this.#clock.now())
    this.#tell()
  }

  #dial(): void {
    if (this.#dialing !== undefined || this.#closed) return
    const dialing = new AbortController()
    this.#dialing = dialing
    this.#cancel?.()
    this.#cancel = undefined
    const callOff = this.#clock.after(LIMITS.dialMillis, () => dialing.abort())
    const signal = AbortSignal.any([this.#end.signal, dialing.signal])
    void settled(this.#options.dial(signal), signal).then((result) => {
      callOff()
      if (dialing !== this.#dialing || this.#closed) return
      this.#dialing = undefined
      if (result === undefined) this.noteSuccess()
      else if (result === 'aborted') this.noteFailure(new Fault('ASSOCIATION_SILENT', { seconds: LIMITS.dialMillis / 1000 }))
      else if (stepOf(result.code) === undefined) this.noteFailure(new Fault('ASSOCIATION_BROKEN', { detail: result.code }))
      else this.noteFailure(result)
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

function codeOf(fault: Fault): LinkCode {
  if (stepOf(fault.code) === undefined) throw new Error(`link: ${fault.code} names no step`)
  return fault.code as LinkCode
}

/**
 * How an attempt ended. An attempt that throws anything but a fault or its abort has a defect, and
 * the process dies of it (an unhandled rejection) rather than carry on with a link in no state.
 */
async function settled(attempt: Promise<Fault | undefined>, signal: AbortSignal): Promise<Fault | undefined | 'aborted'> {
  try {
    return await attempt
  } catch (error) {
    if (signal.aborted) return 'aborted'
    if (error instanceof Fault) return error
    throw error
  }
}

/** Unref'd: a watch alone keeps no process alive. */
const REAL_CLOCK: Clock = {
  now: Date.now,
  after: (millis, work) => {
    const timer = setTimeout(work, millis)
    timer.unref()
    return () => clearTimeout(timer)
  },
}
