/**
 * The supervisor: owns the spool's index and the states, starts the workers, answers the control
 * socket. It listens on no network port and parses nothing that a stranger sent.
 */
import type { ChildProcess } from 'node:child_process'
import type { Settings } from '../config/file.ts'
import { Fault, remedyOf } from '../domain/errors.ts'
import { LINK_STATES } from '../domain/link.ts'
import type { LinkState } from '../domain/link.ts'
import type { Log } from '../domain/log.ts'
import { targetsOf } from '../domain/route.ts'
import type { Lease, ObjectFacts } from '../domain/spool.ts'
import { backoffMillis } from '../forward/backoff.ts'
import type { Spool } from '../spool/spool.ts'
import { Admissions } from './admissions.ts'
import { Channel } from './channel.ts'
import { LinkTests } from './link-tests.ts'
import type { ForwardService, ForwardWorker, ReceiveService, ReceiveWorker } from './methods.ts'
import { sentenceOf } from './status.ts'
import type { DestinationStatus, Status } from './status.ts'
import { Worker } from './worker.ts'

export interface SupervisorOptions {
  readonly settings: Settings
  readonly spool: Spool
  readonly log: Log
  readonly version: string
  /** The firmware's entry, forked for each worker. */
  readonly main: string
}

const CALLING: LinkState = { state: 'connecting', word: LINK_STATES.connecting.word, sentence: 'The far side is being called.', remedy: '', since: 0 }

type ForwardChannel = Channel<ForwardService, ForwardWorker>

/** What it asked for in its last moments is answered after them: nobody would ever give it back. */
const isGone = (child: ChildProcess): boolean => child.exitCode !== null || child.signalCode !== null

export class Supervisor {
  readonly #options: SupervisorOptions
  readonly #admissions: Admissions
  readonly #links = new Map<string, { state: LinkState; associations: number }>()
  readonly #workers: Worker[] = []
  readonly #forwards = new Map<number, ForwardChannel>()
  readonly #since = Date.now()
  readonly #received = { instances: 0, bytes: 0, duplicates: 0, versions: 0 }
  readonly #delivered = new Map<string, { instances: number; bytes: number }>()
  readonly #ready = new Set<number>()
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

  #noteReady(pid: number): void {
    this.#ready.add(pid)
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
      ready: ({ pid }) => this.#noteReady(pid),
      failed: ({ code, fields }) => this.#noteFailed(new Fault(code, fields), child),
      admit: ({ knock, tenant }) =>
        isGone(child) ? { refused: 'WORKER_DIED', fields: {} } : this.#admissions.admit(number, knock, tenant),
      closed: ({ admission }) => this.#admissions.close(number, admission),
      refused: ({ knock, code, fields }) => this.#admissions.refused(knock, code, fields),
      slot: async ({ tenant }) => {
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
        if (slots.get(facts.id) !== facts.tenant) return { kind: 'refused', code: 'DISK_FAILED' }
        slots.delete(facts.id)
        return this.#commit(facts)
      },
    })
    this.#worker('receive', number, (child) => void new Channel<ReceiveService, ReceiveWorker>(child, service(child)), () => {
      this.#admissions.workerEnded(number)
      for (const id of slots.keys()) spool.giveBack(id)
      slots.clear()
    })
  }

  async #commit(facts: ObjectFacts) {
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
    const service = (child: ChildProcess): ForwardService => ({
      settings: () => this.#options.settings,
      ready: ({ pid }) => this.#noteReady(pid),
      lease: async ({ destination, count }) => {
        const leases = await spool.lease(destination, count)
        if (isGone(child)) spool.loseLeases((lease) => leases.includes(lease))
        else for (const lease of leases) leased.set(`${lease.id} ${destination}`, lease)
        const counts = spool.countsOf(destination)
        return { leases, waiting: counts.queued + counts.forwarding, nextDue: await spool.nextDue(destination) }
      },
      settle: async ({ id, destination, outcome, delayMillis }) => {
        if (!leased.delete(`${id} ${destination}`)) return
        // Given back unsent: no attempt was made.
        if (outcome.event === 'lease-lost') return spool.loseLeases((lease) => lease.id === id && lease.destination === destination)
        const facts = await spool.settle(id, destination, outcome, delayMillis > 0 ? Date.now() + delayMillis : 0)
        if (outcome.event === 'stored' && facts) {
          const delivered = this.#delivered.get(destination) ?? { instances: 0, bytes: 0 }
          delivered.instances += 1
          delivered.bytes += facts.bytes
          this.#delivered.set(destination, delivered)
        } else if (outcome.event === 'rejected') log.warn('held', { id, destination, code: outcome.code ?? '', status: outcome.status ?? 0 })
      },
      waiting: ({ destination }) => spool.waitingContexts(destination),
      hold: async ({ destination, sopClass, transferSyntax, detail }) => {
        const held = await spool.hold(destination, { sopClass, transferSyntax }, { code: 'CONTEXT_REFUSED', detail })
        if (held > 0) log.warn('held', { destination, code: 'CONTEXT_REFUSED', detail, count: held })
      },
      link: ({ destination, state, associations }) => {
        const before = this.#links.get(destination)?.state
        this.#links.set(destination, { state, associations })
        if (before?.state !== state.state || before.code !== state.code) log.info('link', { destination, state: state.state, sentence: state.sentence })
      },
      testStep: ({ test, step }) => this.tests.step(test, step),
    })
    this.#worker('forward', number, (child) => this.#forwards.set(number, new Channel(child, service(child))), () => {
      this.#forwards.delete(number)
      this.tests.ended()
      // Which of them it died of is not known; one that does it again and again steps back.
      for (const { id, destination, attempts } of leased.values()) {
        const delay = backoffMillis('WORKER_DIED', attempts + 1, Math.random())
        void spool.settle(id, destination, { event: 'lease-lost', code: 'WORKER_DIED' }, delay > 0 ? Date.now() + delay : 0)
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
    const water = spool.water()
    const status = {
      name: settings.name,
      role: settings.role,
      version,
      tenant: settings.tenant ?? '',
      pid: process.pid,
      since: this.#since,
      now: Date.now(),
      listeners: settings.listeners.map(({ name, protocol, address, port, aeTitles }) => ({
        name, protocol, address, port, aeTitles, associations: this.#admissions.openAt(name),
      })),
      destinations: settings.destinations.map((one) => this.#destination(one)),
      received: { ...this.#received },
      spool: { instances: spool.totals().instances, bytes: spool.totals().bytes, diskPercent: water.percent, full: water.full },
      workers: this.#workers.map(({ kind, pid, restarts }) => ({ kind, pid: pid ?? 0, restarts })),
      knocks: this.#admissions.knocks(),
      alarms: spool.alarms().map(({ code, since, count, sentence }) => ({ code, since, count, sentence, remedy: remedyOf(code) })),
    }
    return { ...status, sentence: sentenceOf(status) }
  }

  #destination(one: Settings['destinations'][number]): DestinationStatus {
    const counts = this.#options.spool.countsOf(one.name)
    const link = this.#links.get(one.name)
    const delivered = this.#delivered.get(one.name) ?? { instances: 0, bytes: 0 }
    return {
      name: one.name,
      kind: one.kind,
      to: one.kind === 'folder' ? one.path : `${one.host}:${one.port}`,
      link: link?.state ?? CALLING,
      associations: link?.associations ?? 0,
      queued: counts.queued,
      forwarding: counts.forwarding,
      held: counts.held,
      queuedBytes: counts.bytes,
      oldest: counts.oldest,
      delivered: delivered.instances,
      deliveredBytes: delivered.bytes,
    }
  }
}
