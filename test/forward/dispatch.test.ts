/**
 * One destination's dispatch over real associations: the far side is ours, scripted; the queue a
 * list in memory, since the spool's own is tested elsewhere.
 */
import { createHash } from 'node:crypto'
import net from 'node:net'
import t from 'tap'
import { LIMITS } from '../../firmware/domain/limits.ts'
import type { Lease, ObjectFacts, Outcome } from '../../firmware/domain/spool.ts'
import { DicomTransport } from '../../firmware/forward/dicom/transport.ts'
import { Dispatch } from '../../firmware/forward/dispatch.ts'
import type { ObjectSource, Outlet } from '../../firmware/forward/outlet.ts'
import { Fault } from '../../firmware/domain/errors.ts'
import { scp, type ScpOptions } from '../dicom/scp.ts'
import { Proxy } from '../faults/proxy.ts'
import { until } from '../peers/process.ts'

const SECONDARY_CAPTURE = '1.2.840.10008.5.1.4.1.1.7'
const EXPLICIT = '1.2.840.10008.1.2.1'
const DATA_SET = Buffer.alloc(2048, 7)

/** Everything of one class; due at once, in the order of arrival. */
class Queue implements Outlet {
  readonly leases: Lease[] = []
  readonly ended = new Map<string, Outcome>()
  readonly attempts = new Map<string, number>()
  readonly delays: number[] = []

  constructor(names: readonly string[]) {
    for (const name of names) this.add(name)
  }
  add(name: string): void {
    const facts: ObjectFacts = {
      id: name, tenant: 'north', sopClass: SECONDARY_CAPTURE, sopInstance: `1.2.3.${name}`, transferSyntax: EXPLICIT,
      source: { listener: 'lan', callingAe: 'A', calledAe: 'B', peer: '' }, receivedAt: 0,
      bytes: DATA_SET.length, digest: createHash('sha256').update(DATA_SET).digest('hex'), study: '1', series: '1',
    }
    this.leases.push({ id: name, destination: 'far', path: '', cipher: 'aes-256-gcm', key: '', facts, version: 1, attempts: this.attempts.get(name) ?? 0 })
  }
  lease(count: number) {
    const waiting = this.leases.length
    return Promise.resolve({ leases: this.leases.splice(0, count), waiting, nextDue: 0 })
  }
  settle({ id }: Lease, outcome: Outcome, delayMillis: number): void {
    if (outcome.event === 'stored' || outcome.event === 'rejected') this.ended.set(id, outcome)
    else {
      if (outcome.event === 'refused') this.attempts.set(id, (this.attempts.get(id) ?? 0) + 1)
      this.delays.push(delayMillis)
      this.add(id)
    }
  }
  waiting = () => Promise.resolve([{ sopClass: SECONDARY_CAPTURE, transferSyntax: EXPLICIT, count: this.leases.length }])
  hold(): void {}
}

const source = (lease: Lease): Promise<ObjectSource> =>
  Promise.resolve({
    facts: lease.facts,
    close: () => Promise.resolve(),
    [Symbol.asyncIterator]: async function* () {
      yield DATA_SET
    },
  })

async function far(t: Parameters<typeof scp>[0], queue: Queue, options: ScpOptions, via?: (port: number) => Promise<number>) {
  const one = await scp(t, options)
  const port = (await via?.(one.port)) ?? one.port
  const transport = new DicomTransport({
    connect: () =>
      new Promise((resolve, reject) => {
        const socket = net.connect(port, '127.0.0.1', () => resolve({ socket, address: '', roundTripMillis: 0, explain: () => new Fault('CONNECTION_RESET', { host: '', port: 0 }) }))
        socket.once('error', reject)
      }),
    waiting: queue.waiting,
    calledAe: 'FAR',
    callingAe: 'NEAR',
    times: { progressMillis: 5000, answerMillis: 5000 },
    limits: LIMITS,
  })
  const failures: Fault[] = []
  const dispatch = new Dispatch({
    outlet: queue, transport, open: source, most: 2, holdMillis: 1000, random: () => 0, now: Date.now, reached: () => {}, failed: (fault) => failures.push(fault),
  })
  t.teardown(() => void dispatch.close())
  return { one, dispatch, failures }
}

const names = (count: number, from = 0): string[] => Array.from({ length: count }, (_, i) => String(from + i))

t.test('one image the far side always refuses for want of resources: held in the end, and nobody waits for it', async (t) => {
  const queue = new Queue(['666', ...names(40)])
  const tries: string[] = []
  const { dispatch } = await far(t, queue, {
    store: ({ sopInstance }, kept) => {
      tries.push(sopInstance)
      // Something new comes in all the time.
      if (tries.length % 4 === 0 && tries.length < 400) queue.add(`${1000 + tries.length}`)
      return sopInstance === '1.2.3.666' ? { status: 0xa700 } : kept
    },
  })
  dispatch.setUp(true)
  dispatch.wake()
  const outcome = await until('the refused one to be held', () => queue.ended.get('666'), 20_000)
  t.match(outcome, { event: 'rejected', status: 0xa700, code: 'REFUSED', detail: /A700H out of resources; alone refused 8 times/ })
  t.equal([...queue.ended.values()].filter(({ event }) => event === 'rejected').length, 1, 'nothing else is')
  await until('the others to be sent', () => names(40).every((name) => queue.ended.get(name)?.event === 'stored'))
  const times = tries.filter((uid) => uid === '1.2.3.666').length
  t.ok(times <= 60, `tried ${times} times`)
})

t.test('one image on which the far side aborts: held in the end, the others pass', async (t) => {
  const queue = new Queue([...names(5), '666', ...names(40, 10)])
  const { one, dispatch } = await far(t, queue, {
    store: ({ sopInstance }, kept) => {
      queue.add(`${1000 + one.taken.length}`)
      if (sopInstance === '1.2.3.666') for (const acceptor of one.acceptors) if (acceptor.established) acceptor.abort('it chokes')
      return kept
    },
  })
  dispatch.setUp(true)
  dispatch.wake()
  const outcome = await until('it to be held', () => queue.ended.get('666'), 20_000)
  t.match(outcome, { event: 'rejected', code: 'ASSOCIATION_ABORTED', detail: /aborted the association.*alone refused 8 times/ })
})

t.test('a far side that is full: nothing is held, everything arrives when there is room', async (t) => {
  const queue = new Queue(names(6))
  let refusals = 0
  const { dispatch, one } = await far(t, queue, { store: (_rq, kept) => ((refusals += 1) <= 3 ? { status: 0xa700 } : kept) })
  dispatch.setUp(true)
  dispatch.wake()
  await until('all to arrive', () => queue.ended.size === 6, 20_000)
  t.ok([...queue.ended.values()].every(({ event }) => event === 'stored'))
  t.ok(one.taken.length < 20, `${one.taken.length} transfers: it is not hammered`)
})

t.test('associations that only break prove nothing against an image', async (t) => {
  const queue = new Queue(['666', ...names(30)])
  const proxies: Proxy[] = []
  let broken = 0
  const store: ScpOptions['store'] = ({ sopInstance }, kept) => {
    if (sopInstance === '1.2.3.666' && (broken += 1) <= 12) for (const proxy of proxies) proxy.cut('reset')
    else queue.add(`${1000 + broken}`)
    return kept
  }
  const { dispatch } = await far(t, queue, { store }, async (port) => (proxies[proxies.push(await Proxy.open({ port })) - 1] as Proxy).port)
  t.teardown(() => Promise.all(proxies.map((proxy) => proxy.close())))
  dispatch.setUp(true)
  dispatch.wake()
  await until('it to arrive', () => queue.ended.get('666')?.event === 'stored', 20_000)
  t.equal(broken, 13)
})

t.test('closed in the middle of an image: it is sent to its end, the rest is given back', async (t) => {
  const queue = new Queue(names(20))
  const answers: (() => void)[] = []
  const { dispatch } = await far(t, queue, {
    store: (_rq, kept) => ({ ...kept, write: kept.write.bind(kept), end: () => new Promise((resolve) => answers.push(() => resolve({ status: 0 }))) }),
  })
  dispatch.setUp(true)
  dispatch.wake()
  await until('one to be under way', () => answers.length > 0)
  const closed = dispatch.close()
  for (const answer of answers) answer()
  await closed
  t.equal(queue.ended.size, answers.length, `${answers.length} under way: stored and settled`)
  t.equal(queue.leases.length, 20 - answers.length, 'the others were given back')
})
