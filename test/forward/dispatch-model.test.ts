/**
 * The promises of the dispatch, whatever far side, link and queue do: each lease is settled once,
 * nothing is forgotten, and what can be sent is sent without anybody calling again.
 *
 * Queue and far side are scripted, and the clock is turned by hand. The queue behaves as the
 * supervisor does: answers come later than they were made out, a delay that has run out is
 * announced by nobody.
 */
import { mock } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import fc from 'fast-check'
import t from 'tap'
import { Fault } from '../../firmware/domain/errors.ts'
import type { Lease, ObjectFacts, Outcome } from '../../firmware/domain/spool.ts'
import { Dispatch } from '../../firmware/forward/dispatch.ts'
import type { Carrier, ObjectSource, Outlet, Transport } from '../../firmware/forward/outlet.ts'

mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'], now: 1_000_000 })

const EXPLICIT = '1.2.840.10008.1.2.1'

interface Item {
  readonly lease: Lease
  state: 'queued' | 'leased' | 'stored' | 'held'
  notBefore: number
  attempts: number
}

class Queue implements Outlet {
  readonly items = new Map<string, Item>()
  readonly holds: string[] = []
  /** Settled although it was not leased. */
  readonly wrong: string[] = []
  asked = 0
  announce: () => void = () => {}

  add(kind = '1.1'): string {
    const id = String(this.items.size).padStart(4, '0')
    const facts: ObjectFacts = {
      id, tenant: 'north', sopClass: kind, sopInstance: `1.2.${Number(id)}`, transferSyntax: EXPLICIT,
      source: { listener: 'lan', callingAe: 'A', calledAe: 'B', peer: '' }, receivedAt: 0, bytes: 1, digest: '', study: '1', series: '1',
    }
    this.items.set(id, { lease: { id, destination: 'far', path: '', cipher: 'aes-256-gcm', key: '', facts, version: 1, attempts: 0 }, state: 'queued', notBefore: 0, attempts: 0 })
    this.announce()
    return id
  }
  in(state: Item['state']): string[] {
    return [...this.items].filter(([, item]) => item.state === state).map(([id]) => id)
  }
  async lease(count: number) {
    this.asked += 1
    await turn()
    const queued = [...this.items.values()].filter(({ state }) => state === 'queued')
    const due = queued.filter(({ notBefore }) => notBefore <= Date.now()).slice(0, count)
    for (const item of due) item.state = 'leased'
    const later = queued.filter((item) => !due.includes(item) && item.notBefore > Date.now()).map(({ notBefore }) => notBefore)
    const answer = {
      leases: due.map(({ lease, attempts }) => ({ ...lease, attempts })),
      waiting: queued.length + this.in('leased').length,
      nextDue: later.length > 0 ? Math.min(...later) : 0,
    }
    await turn()
    return answer
  }
  settle({ id }: Lease, outcome: Outcome, delayMillis: number): void {
    const item = this.items.get(id)
    if (item?.state !== 'leased') return void this.wrong.push(`${id} ${item?.state} ${outcome.event}`)
    if (outcome.event === 'stored') item.state = 'stored'
    else if (outcome.event === 'rejected') item.state = 'held'
    else {
      if (outcome.event === 'refused') item.attempts += 1
      item.notBefore = delayMillis > 0 ? Date.now() + delayMillis : 0
      // In the index only a moment later.
      void turn().then(() => {
        item.state = 'queued'
        if (delayMillis === 0) this.announce()
      })
    }
  }
  waiting = () => Promise.resolve([])
  hold({ sopClass }: { sopClass: string }): void {
    this.holds.push(sopClass)
    for (const item of this.items.values()) if (item.state === 'queued' && item.lease.facts.sopClass === sopClass) item.state = 'held'
  }
}

/** What the far side does with one instance. */
type Answer = 'stored' | 'full' | 'busy' | 'rejected' | 'lost' | 'unreadable' | 'damaged'
const OUTCOMES: Record<Exclude<Answer, 'lost' | 'unreadable' | 'damaged'>, Outcome> = {
  stored: { event: 'stored', status: 0 },
  full: { event: 'refused', code: 'REFUSED', status: 0xa700 },
  busy: { event: 'refused', code: 'REFUSED', status: 0x0110 },
  rejected: { event: 'rejected', code: 'REJECTED', status: 0xc000 },
}

class Far implements Transport {
  readonly roundTripMillis = 5
  readonly sent: string[] = []
  readonly carriers = new Set<FarCarrier>()
  opened = 0
  /** Most at one time. */
  peak = 0
  /** Answers in turn; afterwards everything is stored. */
  plan: Answer[] = []
  opens = true
  most = Infinity
  readonly refuses = new Set<string>()
  takesMillis = 0

  async open(needed: readonly { sopClass: string }[]): Promise<Carrier> {
    await turn()
    if (!this.opens) throw new Fault('CONNECTION_REFUSED', { host: 'far', port: 104 })
    if ([...this.carriers].filter(({ alive }) => alive).length >= this.most) throw new Fault('ASSOCIATION_REFUSED', { detail: 'full' })
    this.opened += 1
    const carrier = new FarCarrier(this, new Set(needed.map(({ sopClass }) => sopClass)))
    this.carriers.add(carrier)
    this.peak = Math.max(this.peak, [...this.carriers].filter(({ alive }) => alive).length)
    return carrier
  }
}

class FarCarrier implements Carrier {
  readonly #far: Far
  readonly #proposed: ReadonlySet<string>
  alive = true
  closed = 0
  busy = false
  lastSendMillis = 1
  lastWaitMillis = 5
  constructor(far: Far, proposed: ReadonlySet<string>) {
    this.#far = far
    this.#proposed = proposed
  }
  readonly fits = ({ sopClass }: ObjectFacts) =>
    !this.#proposed.has(sopClass) ? 'unproposed' : this.#far.refuses.has(sopClass) ? { refused: `no ${sopClass}` } : 'yes'

  async send({ id }: Lease): Promise<Outcome> {
    if (this.busy || this.closed > 0) throw new Error('a carrier was given two at once, or one when it was closed')
    // It may have died while the object was opened.
    if (!this.alive) return { event: 'refused', code: 'ASSOCIATION_LOST', detail: '' }
    this.busy = true
    this.#far.sent.push(id)
    await turn()
    if (this.#far.takesMillis > 0) await new Promise((resolve) => setTimeout(resolve, this.#far.takesMillis))
    this.busy = false
    const answer = this.#far.plan.shift() ?? 'stored'
    if (answer === 'lost') this.alive = false
    if (!this.alive || answer === 'lost') return { event: 'refused', code: 'ASSOCIATION_LOST', detail: 'Doe^John' }
    if (answer === 'damaged') throw new Fault('OBJECT_DAMAGED', { detail: 'digest' })
    return OUTCOMES[answer as keyof typeof OUTCOMES] ?? OUTCOMES.stored
  }
  async close(): Promise<void> {
    if (this.busy) throw new Error('closed in the middle')
    this.closed += 1
    this.alive = false
    await turn()
  }
}

class World {
  readonly queue = new Queue()
  readonly far = new Far()
  readonly failures: Fault[] = []
  readonly sources = { open: 0 }
  readonly unreadable = new Map<string, Fault>()
  readonly dispatch: Dispatch

  constructor(options: { most?: number; holdMillis?: number } = {}) {
    this.dispatch = new Dispatch({
      outlet: this.queue,
      transport: this.far,
      open: async (lease): Promise<ObjectSource> => {
        await turn()
        const fault = this.unreadable.get(lease.id)
        if (fault) throw fault
        this.sources.open += 1
        return { facts: lease.facts, close: () => Promise.resolve(void (this.sources.open -= 1)), async *[Symbol.asyncIterator]() {} }
      },
      most: options.most ?? 3,
      holdMillis: options.holdMillis ?? 5_000,
      random: () => 0.5,
      now: Date.now,
      reached: () => {},
      failed: (fault) => this.failures.push(fault),
    })
    this.queue.announce = () => this.dispatch.wake()
  }
  async settle(turns = 20): Promise<void> {
    for (let n = 0; n < turns; n++) await turn()
  }
  /** Lets time pass in small steps. */
  async pass(millis: number, step = 500): Promise<void> {
    for (let left = millis; left > 0; left -= step) {
      mock.timers.tick(Math.min(step, left))
      await this.settle(8)
    }
    await this.settle()
  }
}

t.test('in order, each once, over no more carriers than allowed', async (t) => {
  const one = new World({ most: 3 })
  for (let n = 0; n < 50; n++) one.queue.add()
  one.dispatch.setUp(true)
  await one.settle(300)
  t.equal(one.queue.in('stored').length, 50)
  t.ok(one.far.peak <= 3, `${one.far.peak} carriers at once`)
  t.same(new Set(one.far.sent).size, 50, 'none was sent twice')
  const worst = Math.max(...one.far.sent.map((id, at) => Math.abs(Number(id) - at)))
  t.ok(worst <= 3, 'carriers overtake each other by no more than there are of them')
  t.same(one.queue.wrong, [])
  await one.pass(6_000)
  t.ok([...one.far.carriers].every(({ closed }) => closed === 1), 'what idles is closed once')
  await one.dispatch.close()
})

t.test('an image that arrives while the queue is being asked is not forgotten', async (t) => {
  const one = new World()
  one.dispatch.setUp(true)
  for (let n = 0; n < 30; n++) {
    // At each possible moment of the asking.
    for (let at = 0; at < n % 6; at++) await turn()
    one.queue.add()
    if (n % 3 === 0) await one.settle(40)
  }
  await one.settle(60)
  t.equal(one.queue.in('stored').length, 30)
  await one.dispatch.close()
})

t.test('no room: one pause for all that hear it in the same moment, twice as long each time, and it ends by itself', async (t) => {
  const one = new World({ most: 4 })
  one.far.takesMillis = 10
  for (let n = 0; n < 30; n++) one.queue.add()
  one.far.plan = Array.from({ length: 400 }, () => 'full')
  one.dispatch.setUp(true)
  await one.pass(100, 10)
  const first = one.far.sent.length
  t.ok(first > 0 && first <= 4, `${first} were sent before the pause: nothing follows a refusal`)
  t.equal(one.queue.in('leased').length, 0, 'what was leased is given back')
  await one.pass(500, 50)
  t.equal(one.far.sent.length, first, 'nothing while it lasts')
  await one.pass(1_000, 50)
  t.ok(one.far.sent.length > first, 'after a second it is tried again, not after sixteen')
  one.far.plan = []
  await one.pass(120_000, 250)
  t.equal(one.queue.in('stored').length, 30, 'and when there is room everything goes, without a call from outside')
  t.same(one.queue.wrong, [])
  await one.dispatch.close()
})

t.test('delays run out by themselves, whatever other delays there are, and whatever the clock does', async (t) => {
  const one = new World()
  one.far.plan = ['busy', 'busy', 'busy', 'stored', 'busy']
  for (let n = 0; n < 6; n++) one.queue.add()
  one.dispatch.setUp(true)
  await one.pass(60_000)
  t.equal(one.queue.in('stored').length, 6)
  const asked = one.queue.asked
  one.queue.items.forEach((item) => Object.assign(item, { state: 'queued', notBefore: Date.now() + 90 * 24 * 3_600_000 }))
  one.dispatch.wake()
  await one.pass(10_000)
  t.ok(one.queue.asked - asked < 20, `a delay of months does not make it ask all the time: ${one.queue.asked - asked}`)
  await one.dispatch.close()
})

t.test('what the far side does not take is held, once a kind and carrier; what was not proposed is proposed', async (t) => {
  const one = new World({ most: 2 })
  one.far.refuses.add('1.9')
  for (let n = 0; n < 20; n++) one.queue.add(n % 2 === 0 ? '1.9' : '1.1')
  one.dispatch.setUp(true)
  await one.settle(200)
  t.equal(one.queue.in('held').length, 10)
  t.equal(one.queue.in('stored').length, 10)
  t.ok(one.queue.holds.length <= one.far.opened, `${one.queue.holds.length} looks through the queue for ${one.far.opened} carriers`)
  const before = one.far.opened
  for (const kind of ['1.2', '1.3', '1.2', '1.4']) one.queue.add(kind)
  await one.settle(400)
  t.equal(one.queue.in('stored').length, 14, 'kinds no carrier had proposed')
  t.ok(one.far.opened - before <= 8, `${one.far.opened - before} more carriers for three kinds`)
  t.same(one.queue.wrong, [])
  await one.pass(1_000)
  t.equal(one.sources.open, 0, 'every object is closed')
  await one.dispatch.close()
})

t.test('an object that cannot be read: damaged is held, a disk that hiccups is tried again', async (t) => {
  const one = new World()
  const [good, bad, hiccup] = [one.queue.add(), one.queue.add(), one.queue.add()]
  one.unreadable.set(bad, new Fault('OBJECT_DAMAGED', { detail: 'digest' }))
  one.unreadable.set(hiccup, new Fault('DISK_FAILED', { detail: 'EIO' }))
  one.dispatch.setUp(true)
  await one.settle(60)
  t.same([one.queue.in('stored'), one.queue.in('held')], [[good], [bad]])
  one.unreadable.clear()
  await one.pass(10_000)
  t.same(one.queue.in('stored'), [good, hiccup])
  await one.dispatch.close()
})

t.test('the link goes down: what is leased is given back, what is under way is finished, nothing new begins', async (t) => {
  const one = new World({ most: 2 })
  one.far.takesMillis = 200
  for (let n = 0; n < 20; n++) one.queue.add()
  one.dispatch.setUp(true)
  await one.pass(300, 50)
  one.dispatch.setUp(false)
  const sent = one.far.sent.length
  await one.pass(1_000, 50)
  t.equal(one.far.sent.length, sent, 'nothing more')
  t.equal(one.queue.in('leased').length, 0)
  t.equal(one.queue.in('stored').length, sent)
  one.far.plan = ['lost', 'lost']
  one.dispatch.setUp(true)
  await one.pass(20_000, 100)
  t.equal(one.queue.in('stored').length, 20)
  t.ok(one.failures.every(({ message }) => !message.includes('Doe')), 'the far side\'s words stay with the image')
  t.same(one.queue.wrong, [])
  await one.dispatch.close()
})

t.test('opening: an extra association that is refused is not asked for again and again, and never more than allowed', async (t) => {
  const one = new World({ most: 8 })
  one.far.most = 1
  for (let n = 0; n < 60; n++) one.queue.add()
  one.dispatch.setUp(true)
  await one.settle(600)
  t.equal(one.queue.in('stored').length, 60)
  t.equal(one.far.opened, 1)
  t.same(one.failures, [], 'that is no failure of the link')
  await one.dispatch.close()

  const single = new World({ most: 1 })
  single.queue.add()
  single.dispatch.setUp(true)
  await Promise.all([single.dispatch.probe(), single.dispatch.probe()])
  await single.settle(50)
  t.equal(single.far.peak, 1, 'two probes and an image have one association at a time')
  t.same(single.queue.in('stored').length, 1)
  await single.dispatch.close()

  const down = new World()
  down.far.opens = false
  down.queue.add()
  down.dispatch.setUp(true)
  await down.settle(30)
  t.match(down.failures, [{ code: 'CONNECTION_REFUSED' }], 'told once')
  await t.rejects(down.dispatch.probe(), { code: 'CONNECTION_REFUSED' })
  await down.dispatch.close()
})

t.test('told to stop: what is under way is sent to its end; what does not end is given back; nothing stays', async (t) => {
  const one = new World({ most: 2 })
  one.far.takesMillis = 1_000
  for (let n = 0; n < 20; n++) one.queue.add()
  one.dispatch.setUp(true)
  await one.pass(100, 50)
  const sent = one.far.sent.length
  const closing = one.dispatch.close()
  await one.pass(2_000, 100)
  await closing
  t.ok(sent > 0)
  t.equal(one.queue.in('stored').length, sent)
  t.equal(one.queue.in('leased').length, 0)
  t.ok([...one.far.carriers].every(({ closed }) => closed === 1))

  const stuck = new World({ most: 2 })
  stuck.far.takesMillis = 3_600_000
  stuck.queue.add()
  stuck.dispatch.setUp(true)
  await stuck.settle()
  let done = false
  const end = stuck.dispatch.close().then(() => (done = true))
  await stuck.pass(5_000)
  t.ok(done, 'within the time a worker has')
  await end
  t.equal(stuck.queue.in('leased').length, 0)
  await stuck.pass(3_600_000, 1_800_000)
  t.same(stuck.queue.wrong, [], 'and not settled a second time by what comes too late')
})

t.test('model: whatever happens, in the end everything has ended once', async (t) => {
  const step = fc.oneof(
    { weight: 4, arbitrary: fc.record({ do: fc.constant('arrive' as const), kind: fc.constantFrom('1.1', '1.2', '1.3', '1.9') }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('pass' as const), millis: fc.constantFrom(10, 100, 900, 5_000) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('turns' as const), turns: fc.integer({ min: 1, max: 6 }) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('up' as const), up: fc.boolean() }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('opens' as const), opens: fc.boolean() }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('die' as const) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('probe' as const) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('takes' as const), millis: fc.constantFrom(0, 50, 2_000) }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('plan' as const), plan: fc.array(fc.constantFrom<Answer>('stored', 'stored', 'full', 'busy', 'rejected', 'lost', 'damaged'), { maxLength: 5 }) }) },
  )
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 40 }), fc.integer({ min: 1, max: 4 }), async (steps, most) => {
      const one = new World({ most })
      one.far.refuses.add('1.9')
      one.dispatch.setUp(true)
      for (const each of steps) {
        if (each.do === 'arrive') one.queue.add(each.kind)
        else if (each.do === 'pass') await one.pass(each.millis)
        else if (each.do === 'turns') await one.settle(each.turns)
        else if (each.do === 'up') one.dispatch.setUp(each.up)
        else if (each.do === 'opens') one.far.opens = each.opens
        else if (each.do === 'takes') one.far.takesMillis = each.millis
        else if (each.do === 'plan') one.far.plan.push(...each.plan)
        else if (each.do === 'probe') void one.dispatch.probe().catch(() => {})
        else for (const carrier of one.far.carriers) if (!carrier.busy) carrier.alive = false
      }
      // The weather clears; nobody calls but the link watch, once.
      Object.assign(one.far, { opens: true, plan: [], takesMillis: 0 })
      await one.settle()
      one.dispatch.setUp(false)
      one.dispatch.setUp(true)
      await one.pass(700_000, 20_000)
      const ended = one.queue.in('stored').length + one.queue.in('held').length
      if (ended !== one.queue.items.size) throw new Error(`forgotten: ${one.queue.in('queued').join()} queued, ${one.queue.in('leased').join()} leased`)
      await one.dispatch.close()
      if (one.queue.wrong.length > 0) throw new Error(one.queue.wrong.join())
      if (one.sources.open !== 0) throw new Error(`${one.sources.open} objects left open`)
      for (const { closed } of one.far.carriers) if (closed !== 1) throw new Error(`a carrier was closed ${closed} times`)
    }),
    { numRuns: 150 },
  )
  t.pass('150 histories')
})
