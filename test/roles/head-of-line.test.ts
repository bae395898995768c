/**
 * One stuck thing delays nothing else: a destination in a black hole, one that rejects, one that
 * is full; and the order in which what waits leaves.
 */
import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import t from 'tap'
import { associate } from '../../firmware/dicom/requestor.ts'
import { LIMITS } from '../../firmware/domain/limits.ts'
import { scp, type ScpOptions } from '../dicom/scp.ts'
import { Proxy } from '../faults/proxy.ts'
import { makeSide, type Side } from '../pair.ts'
import { freePort, scratch, until } from '../peers/process.ts'
import { EXPLICIT, SECONDARY_CAPTURE } from './element.ts'
import { writeStudy, type StudyImage } from './study.ts'

const folder = scratch('study')
const TIMES = { progressMillis: 30_000, answerMillis: 30_000 }
const CONTEXTS = [{ abstractSyntax: SECONDARY_CAPTURE, transferSyntaxes: [EXPLICIT] }]

/** Sends one after the other over one association, a few milliseconds apart. @returns when each was acknowledged. */
async function feed(port: number, images: readonly StudyImage[], restMillis: number): Promise<Map<string, number>> {
  const socket = connect({ port, host: '127.0.0.1' })
  await once(socket, 'connect')
  const association = await associate(socket, { calledAe: 'BOX', callingAe: 'CT', contexts: CONTEXTS }, LIMITS)
  const [context] = association.contexts
  const acknowledged = new Map<string, number>()
  for (const { sopInstance, dataSet } of images) {
    const { status } = await association.store({ contextId: context?.id ?? 1, sopClass: SECONDARY_CAPTURE, sopInstance }, oneChunk(dataSet), TIMES)
    if (status !== 0) throw new Error(`status ${status.toString(16)}`)
    acknowledged.set(sopInstance, performance.now())
    if (restMillis > 0) await setTimeout(restMillis)
  }
  await association.release()
  return acknowledged
}

async function* oneChunk(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes
}

/** A far side that notes when it had each image. */
async function far(t: Parameters<typeof scp>[0], answer: ScpOptions['store'] = (_rq, kept) => kept) {
  const arrivals = new Map<string, number>()
  const one = await scp(t, {
    keep: false,
    store: (rq, kept) => {
      const outcome = answer(rq, kept)
      if (outcome !== kept) return outcome
      const end = () => {
        arrivals.set(rq.sopInstance, performance.now())
        return kept.end()
      }
      return { ...kept, end }
    },
  })
  return { port: one.port, arrivals }
}

const plain = (name: string, port: number, settings = {}) => ({ name, kind: 'dicom', host: '127.0.0.1', port, calledAe: name.toUpperCase(), ...settings })

/** `median 3 ms, p99 12 ms` of what lies between acknowledgement and arrival. */
function delays(acknowledged: ReadonlyMap<string, number>, arrivals: ReadonlyMap<string, number>): string {
  const all = [...acknowledged].map(([uid, at]) => (arrivals.get(uid) ?? Infinity) - at).sort((a, b) => a - b)
  const of = (share: number): string => `${(all[Math.min(all.length - 1, Math.floor(all.length * share))] ?? 0).toFixed(1)} ms`
  return `${all.length} images, median ${of(0.5)}, p99 ${of(0.99)}`
}

t.test('one destination in a black hole, one that rejects all, one that is full: the healthy one gets everything', async (t) => {
  const healthy = await far(t)
  const lost = await far(t)
  const rejecting = await far(t, () => ({ status: 0xc000, comment: 'not today' }))
  const full = await far(t, () => ({ status: 0xa700 }))
  const proxy = await Proxy.open({ port: lost.port })
  const [lan, quiet] = [await freePort(), await freePort()]
  const box = makeSide('box', {
    tenant: 'north',
    listeners: [{ name: 'quiet', port: quiet }, { name: 'lan', port: lan }],
    destinations: [plain('healthy', healthy.port), plain('hole', proxy.port), plain('rejecting', rejecting.port), plain('full', full.port)],
    routes: [{ listener: 'quiet', to: ['healthy', 'hole'] }, { listener: 'lan', to: ['healthy', 'hole', 'rejecting', 'full'] }],
  })
  t.teardown(async () => {
    await box.stop()
    await proxy.close()
  })
  await box.start()
  const count = 200
  // A few first, so that neither run pays for what a first image costs.
  await feed(quiet, writeStudy(folder, 20, 4000).images, 0)
  const before = await feed(quiet, writeStudy(folder, count, 20_000).images, 8)
  await until('all to arrive at both', () => [...before.keys()].every((uid) => healthy.arrivals.has(uid) && lost.arrivals.has(uid)))
  t.comment(`both destinations well:                            ${delays(before, healthy.arrivals)}`)

  proxy.blackHole()
  const beside = await feed(lan, writeStudy(folder, count, 20_000).images, 8)
  await until('all to arrive at the healthy one', () => [...beside.keys()].every((uid) => healthy.arrivals.has(uid)))
  t.comment(`beside a black hole, a rejecting and a full one:   ${delays(beside, healthy.arrivals)}`)
  const at = async (name: string) => box.destination(name)
  const hole = await at('hole')
  t.equal(hole.queued + hole.forwarding, count, 'what is for the black hole waits')
  t.equal(lost.arrivals.size, count + 20, 'and has not got there')
  await until('all rejected ones to be held', async () => (await at('rejecting')).held === count)
  const held = (await box.queue('state=held&destination=rejecting')).flatMap(({ deliveries }) => deliveries.filter(({ state }) => state === 'held'))
  t.equal(held.length, count)
  t.ok(held.every(({ code, detail }) => code === 'REJECTED' && /C000H/.test(detail ?? '')), 'each with the status it was rejected with')
  const waiting = await at('full')
  t.equal(waiting.queued + waiting.forwarding, count, 'what the full one refused is tried again')

  await proxy.reopen()
  await until('the rest to arrive when the hole is gone', () => [...beside.keys()].every((uid) => lost.arrivals.has(uid)), 90_000)
  t.equal((await at('hole')).held, 0, 'nothing was given up')
})

/** Images that wait at a box for a destination that is not there yet. */
async function waitingAt(t: Parameters<typeof scp>[0] & { teardown(close: () => Promise<unknown>): void }) {
  const arrived: string[] = []
  const end = await far(t, ({ sopInstance }, kept) => {
    arrived.push(sopInstance)
    return kept
  })
  const proxy = await Proxy.open({ port: end.port })
  await proxy.refuse()
  const [lan, urgent] = [await freePort(), await freePort()]
  const box: Side = makeSide('box', {
    tenant: 'north',
    listeners: [{ name: 'lan', port: lan }, { name: 'urgent', port: urgent }],
    destinations: [plain('pacs', proxy.port, { associations: 1 })],
    routes: [{ listener: 'lan', to: ['pacs'] }, { listener: 'urgent', to: ['pacs'], priority: 'high' }],
  })
  t.teardown(async () => {
    await box.stop()
    await proxy.close()
  })
  await box.start()
  return { arrived, proxy, lan, urgent, box }
}

t.test('order: priority, then study, then arrival', async (t) => {
  const { arrived, proxy, lan, urgent, box } = await waitingAt(t)
  const [first, second, third, emergency] = [writeStudy(folder, 15), writeStudy(folder, 15), writeStudy(folder, 15), writeStudy(folder, 10)]
  // Two modalities at once: their images come in turns.
  const mixed = first.images.flatMap((image, index) => [image, second.images[index] as StudyImage])
  await feed(lan, [...mixed, ...third.images], 0)
  await feed(urgent, emergency.images, 0)
  t.equal((await box.destination('pacs')).queued, 55)
  await proxy.reopen()
  await until('all to arrive', () => arrived.length === 55, 60_000)
  const wanted = [emergency, first, second, third].flatMap(({ images }) => images.map(({ sopInstance }) => sopInstance))
  t.strictSame(arrived, wanted)
})

t.test('what is urgent overtakes what is on its way', async (t) => {
  const { arrived, proxy, lan, urgent } = await waitingAt(t)
  await proxy.reopen()
  proxy.limit(200_000)
  const [many, few] = [writeStudy(folder, 60, 20_000), writeStudy(folder, 5, 20_000)]
  const sent = feed(lan, many.images, 0)
  await until('some to have left', () => arrived.length >= 5, 60_000)
  await feed(urgent, few.images, 0)
  const gone = arrived.length
  proxy.limit(2_000_000)
  await sent
  await until('all to arrive', () => arrived.length === 65, 60_000)
  const last = Math.max(...few.images.map(({ sopInstance }) => arrived.indexOf(sopInstance)))
  // Those already leased go first: two for each association and two more.
  t.ok(last <= gone + few.images.length + 8, `the last urgent one was number ${last + 1}; ${gone} had arrived when it came in`)
  t.ok(last < 60)
})
