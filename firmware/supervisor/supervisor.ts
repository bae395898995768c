/**
 * The supervisor: owns the spool's index and the states, starts the workers, answers the control
 * socket. It listens on no network port and parses nothing that a stranger sent.
 */
import type { ChildProcess } from 'node:child_process'
import type { Settings } from '../config/file.ts'
import { Fault } from '../domain/errors.ts'
import type { Log } from '../domain/log.ts'
import { LIMITS } from '../domain/limits.ts'
import { targetsOf } from '../domain/route.ts'
import type { CommitOutcome, Lease, ObjectFacts } from '../domain/spool.ts'
import { backoffMillis } from '../forward/backoff.ts'
import type { Spool } from '../spool/spool.ts'
import { Admissions } from './admissions.ts'
import { Channel, Misconduct } from './channel.ts'
import type { Distrust, Methods } from './channel.ts'
import { FORWARD_CLAIMS, RECEIVE_CLAIMS } from './claims.ts'
import type { Claims } from './claims.ts'
import { LinkTests } from './link-tests.ts'
import type { ForwardService, ForwardWorker, ReceiveService, ReceiveWorker } from './methods.ts'
import { report } from './report.ts'
import type { Linked, Sum } from './report.ts'
import type { Status } from './status.ts'
import { Worker } from './worker.ts'

export interface SupervisorOptions {
  readonly settings: Settings
  readonly spool: Spool
  readonly log: Log
  readonly version: string
  /** The firmware's entry, forked for each worker. */
  readonly main: string
}

/** @returns when, milliseconds since 1970; 0 = at once */
const dueAfter = (millis: number): number => (millis > 0 ? Date.now() + Math.min(millis, LIMITS.delayMillis) : 0)

type ForwardChannel = Channel<ForwardService, ForwardWorker>

/** What it asked for in its last moments is answered after them: nobody would ever give it back. */
const isGone = (child: ChildProcess): boolean => child.exitCode !== null || child.signalCode !== null

export class Supervisor {
  readonly #options: SupervisorOptions
  readonly #admissions: Admissions
  readonly #links = new Map<string, Linked>()
  readonly #workers: Worker[] = []
  readonly #forwards = new Map<number, ForwardChannel>()
  readonly #since = Date.now()
  readonly #received = { instances: 0, bytes: 0, duplicates: 0, versions: 0 }
  readonly #delivered = new Map<string, Sum>()
  readonly #ready = new Set<string>()
  readonly tests: LinkTests
  #allReady: (() => void) | undefined
  #notReady: ((fault: Fault) => void) | undefined

  constructor(options: SupervisorOptions) {
    this.#options = options
    this.#admissions = new Admissions(options.settings.limits, options.log)
    this.tests = new LinkTests((destination) => this.#forwards.get(this.#workerOf(destination)))
    options.spool.onQueued((destination) => this.#forwards.get(this.#workerOf(destination))?.note('queued', { destination }))
  }

  /** Resolves when every listener listens and every forward worker runs. @throws Fault why a worker cannot */
  start(): Promise<void> {
    const { settings } = this.#options
    const { receive, forward } = settings.workers
    const ready = new Promise<void>((resolve, reject) => {
      this.#allReady = resolve
      this.#notReady = reject
    })
    for (let number = 0; number < receive; number++) this.#startReceive(number)
    for (let number = 0; number < forward; number++) this.#startForward(number)
    return ready
  }

  async stop(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.stop()))
  }

  /** A destination belongs to one forward worker, so that its order is kept by one. */
  #workerOf(destination: string): number {
    const { settings } = this.#options
    const at = settings.destinations.findIndex((one) => one.name === destination)
    return Math.max(0, at) % settings.workers.forward
  }

  #noteReady(worker: string): void {
    this.#ready.add(worker)
    const { receive, forward } = this.#options.settings.workers
    if (this.#ready.size < receive + forward) return
    this.#notReady = undefined
    this.#allReady?.()
  }

  /** At the start it ends the start; later it is a worker that is tried again. */
  #noteFailed(fault: Fault, child: ChildProcess): void {
    this.#options.log.warn('worker-failed', { code: fault.code, sentence: fault.message, remedy: fault.remedy })
    this.#notReady?.(fault)
    child.kill('SIGTERM')
  }

  /** A worker that says what it cannot say is not ours any more, or broken: it ends at once, and another takes its place. */
  #distrust<M extends Methods>(kind: string, child: ChildProcess, claims: Claims<M>): Distrust<M> {
    const { log, settings } = this.#options
    return {
      claims,
      most: LIMITS.callsUnderWay + 4 * settings.limits.associations + 128 * settings.destinations.length,
      lied: (why) => {
        log.warn('worker-lied', { worker: kind, pid: child.pid ?? 0, detail: why })
        child.kill('SIGKILL')
      },
      failed: (method, fault) => log.warn('not-done', { worker: kind, method, code: fault.code, sentence: fault.message }),
    }
  }

  #worker(kind: 'receive' | 'forward', number: number, started: (child: ChildProcess) => void, ended: () => void): void {
    const { main, log } = this.#options
    this.#workers.push(new Worker({ kind, number, main, log, started, ended }))
  }

  #startReceive(number: number): void {
    const { spool } = this.#options
    // What this worker holds; when it dies it is taken back.
    const slots = new Map<string, string>()
    const service = (child: ChildProcess): ReceiveService => ({
      settings: () => this.#options.settings,
      ready: () => this.#noteReady(`receive ${number}`),
      failed: ({ code, fields }) => this.#noteFailed(new Fault(code, fields), child),
      admit: ({ knock, tenant }) =>
        isGone(child) ? { refused: 'WORKER_DIED', fields: {} } : this.#admissions.admit(number, knock, tenant),
      closed: ({ admission }) => this.#admissions.close(number, admission),
      refused: ({ knock, code, fields }) => this.#admissions.refused(knock, code, fields),
      slot: async ({ tenant }) => {
        if (!this.#takes(tenant)) throw new Misconduct('a tenant nothing is taken from')
        if (slots.size >= LIMITS.slotsHeld + this.#options.settings.limits.associations) throw new Misconduct('more slots than it can need')
        const slot = await spool.slot(tenant)
        if (isGone(child)) spool.giveBack(slot.id)
        else slots.set(slot.id, tenant)
        return slot
      },
      giveBack: ({ id }) => {
        if (slots.delete(id)) spool.giveBack(id)
      },
      commit: async ({ facts }) => {
        // A worker commits only what it was given, for the tenant it was given it for.
        if (slots.get(facts.id) !== facts.tenant) throw new Misconduct('a slot it does not hold')
        slots.delete(facts.id)
        return this.#commit(facts)
      },
    })
    this.#worker('receive', number, (child) => void new Channel<ReceiveService, ReceiveWorker>(child, service(child), this.#distrust('receive', child, RECEIVE_CLAIMS)), () => {
      this.#admissions.workerEnded(number)
      for (const id of slots.keys()) spool.giveBack(id)
      slots.clear()
    })
  }

  /** Whether images of this tenant may come in at all. */
  #takes(tenant: string): boolean {
    const { listeners, routes, tenant: own } = this.#options.settings
    if (own !== undefined && tenant !== own) return false
    return listeners.some(({ name }) => targetsOf(routes, { listener: name, tenant }).length > 0)
  }

  async #commit(facts: ObjectFacts): Promise<CommitOutcome> {
    const { spool, settings } = this.#options
    const targets = targetsOf(settings.routes, { listener: facts.source.listener, tenant: facts.tenant })
    const outcome = await spool.commit(facts, targets)
    if (outcome.kind === 'queued') {
      this.#received.instances += 1
      this.#received.bytes += facts.bytes
      if (outcome.version > 1) this.#received.versions += 1
    } else if (outcome.kind === 'duplicate') this.#received.duplicates += 1
    return outcome
  }

  #startForward(number: number): void {
    const { spool, log } = this.#options
    const leased = new Map<string, Lease>()
    const own = (destination: string): void => {
      if (!this.#isConfigured(destination) || this.#workerOf(destination) !== number) throw new Misconduct('a destination of another')
    }
    const service = (child: ChildProcess): ForwardService => ({
      settings: () => this.#options.settings,
      ready: () => this.#noteReady(`forward ${number}`),
      lease: async ({ destination, count }) => {
        own(destination)
        const leases = await spool.lease(destination, Math.min(count, LIMITS.leasesAtOnce))
        if (isGone(child)) spool.loseLeases((lease) => leases.includes(lease))
        else for (const lease of leases) leased.set(`${lease.id} ${destination}`, lease)
        const counts = spool.countsOf(destination)
        return { leases, waiting: counts.queued + counts.forwarding, nextDue: await spool.nextDue(destination) }
      },
      settle: async ({ id, destination, outcome, delayMillis }) => {
        if (!leased.delete(`${id} ${destination}`)) return
        // Given back unsent: no attempt was made.
        if (outcome.event === 'lease-lost') return spool.loseLeases((lease) => lease.id === id && lease.destination === destination)
        const facts = await spool.settle(id, destination, outcome, dueAfter(delayMillis))
        if (outcome.event === 'stored' && facts) {
          const delivered = this.#delivered.get(destination) ?? { instances: 0, bytes: 0 }
          delivered.instances += 1
          delivered.bytes += facts.bytes
          this.#delivered.set(destination, delivered)
        } else if (outcome.event === 'rejected') log.warn('held', { id, destination, code: outcome.code ?? '', status: outcome.status ?? 0 })
      },
      waiting: ({ destination }) => spool.waitingContexts(destination),
      hold: async ({ destination, sopClass, transferSyntax, detail }) => {
        own(destination)
        const held = await spool.hold(destination, { sopClass, transferSyntax }, { code: 'CONTEXT_REFUSED', detail })
        if (held > 0) log.warn('held', { destination, code: 'CONTEXT_REFUSED', detail, count: held })
      },
      link: ({ destination, state, associations }) => {
        own(destination)
        const before = this.#links.get(destination)?.state
        this.#links.set(destination, { state, associations })
        if (before?.state !== state.state || before.code !== state.code) log.info('link', { destination, state: state.state, sentence: state.sentence })
      },
      testStep: ({ test, step }) => this.tests.step(test, step),
    })
    this.#worker('forward', number, (child) => this.#forwards.set(number, new Channel(child, service(child), this.#distrust('forward', child, FORWARD_CLAIMS))), () => {
      this.#forwards.delete(number)
      this.tests.ended()
      // Which of them it died of is not known; one that does it again and again steps back.
      for (const { id, destination, attempts } of leased.values()) {
        const delay = backoffMillis('WORKER_DIED', attempts + 1, Math.random())
        spool.settle(id, destination, { event: 'lease-lost', code: 'WORKER_DIED' }, dueAfter(delay)).catch((error: unknown) => {
          // At the very end: every lease is lost with the process.
          if (!(error instanceof Fault)) throw error
        })
      }
      leased.clear()
    })
  }

  /** A person retried something: its destination may have to be woken. */
  wake(destination: string): void {
    this.#forwards.get(this.#workerOf(destination))?.note('queued', { destination })
  }

  status(): Status {
    const { settings, spool, version } = this.#options
    return report({
      settings, spool, version,
      admissions: this.#admissions, links: this.#links, workers: this.#workers,
      received: this.#received, delivered: this.#delivered, since: this.#since,
    })
  }

  #isConfigured(destination: string): boolean {
    return this.#options.settings.destinations.some(({ name }) => name === destination)
  }
}
