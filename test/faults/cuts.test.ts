/**
 * Issue part 4: the link between box and hub is cut in every way a link is cut, under load.
 * Everything arrives once, and the box sends again soon after the far side is back.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { drained, startPair, type Pair } from '../pair.ts'
import { until } from '../peers/process.ts'
import { Chance } from './chance.ts'
import { anySize, image, newRoot } from './images.ts'
import { Ledger } from './ledger.ts'
import { answersOf, Modality } from './modality.ts'
import { Proxy } from './proxy.ts'

t.setTimeout(590_000)

/** How often each: 200 in all. */
const CUTS = {
  'FIN': 24,
  'reset': 24,
  'reset inside a PDU': 50,
  'cut inside an answer': 20,
  'answer lost, then reset': 34,
  'answer lost, nothing more': 4,
  'black hole': 14,
  'refused for a while': 10,
  'hub restarted': 6,
  'hub killed before its answer': 8,
  'hub killed after its answer was lost': 6,
} as const
type Cut = keyof typeof CUTS

/** Long enough for a machine that does ten other things; the figures are in the comments. */
const BACK_MILLIS = 10_000
const ANSWER_SECONDS = 2

t.test('200 cuts under load', async (t) => {
  const pair = await startPair({ idle: true })
  const proxy = await Proxy.open({ port: pair.ports.hubTls })
  const chance = new Chance()
  const ledger = new Ledger()
  const root = newRoot()
  let number = 0
  let delivered = 0
  // Always something on the way, and never so much that the end waits for a backlog.
  const next = () => (number - delivered < 60 ? image(root, (number += 1), anySize(chance)) : undefined)
  const modalities = ['CT1', 'CT2', 'MR1'].map((callingAe) =>
    new Modality({ port: pair.ports.box, callingAe, ledger, chance: new Chance(chance.between(0, 2 ** 31)), next, restMillis: 20 }))
  t.teardown(async () => {
    await pair.stop()
    await Promise.all(modalities.map((modality) => modality.leave()))
    await proxy.close()
  })
  t.comment(`seed ${chance.seed}`)
  pair.box.configure({
    destinations: [
      { name: 'hub', kind: 'dicom-tls', host: '127.0.0.1', port: proxy.port, calledAe: 'HUB', progressSeconds: 1, answerSeconds: ANSWER_SECONDS },
      { name: 'returned', kind: 'folder', path: 'returned' },
    ],
  })
  await Promise.all([pair.box.start(), pair.hub.start()])
  for (const modality of modalities) modality.start()
  await sendsAgain(pair, 0)

  const back = new Map<Cut, number[]>()
  const late: string[] = []
  for (const cut of shuffled(chance)) {
    await sleep(chance.between(0, 150))
    const returned = await commit(cut, { pair, proxy, chance })
    const before = (delivered = (await pair.box.destination('hub')).delivered)
    await sendsAgain(pair, before).catch(() => late.push(cut))
    back.set(cut, [...(back.get(cut) ?? []), performance.now() - returned])
  }
  t.same(late, [], `after each the box sends again within ${BACK_MILLIS / 1000} s`)
  await Promise.all(modalities.map((modality) => modality.stop()))
  for (const side of [pair.box, pair.hub]) {
    await drained(side).catch(async (error: unknown) => t.fail(String(error), { status: await side.status(), queue: await side.queue(), log: side.log().slice(-40) }))
  }
  t.same(ledger.compare(pair.delivered), { lost: [], altered: [], twice: [] }, 'everything arrived, once, unaltered')
  for (const side of [pair.box, pair.hub]) {
    const { alarms, destinations } = await side.status()
    t.same(alarms, [], `${side.role}: no alarm`)
    t.same(destinations.map(({ held }) => held), [0, 0], `${side.role}: nothing is held`)
  }
  t.ok(ledger.acknowledged > 200, 'under load')
  t.comment(`${ledger.acknowledged} images, ${(ledger.bytes / 1e6).toFixed(0)} MB; answers ${answersOf(modalities)}`)
  t.comment('milliseconds from the far side\'s return to the next image stored there: median, 95 %, most')
  for (const [cut, millis] of [...back, ['all', [...back.values()].flat()] as const]) t.comment(`  ${cut}: ${figures(millis)}`)
})

interface Scene {
  readonly pair: Pair
  readonly proxy: Proxy
  readonly chance: Chance
}

/** Does it; resolves, when the far side can be reached again, with the time at which it could. */
async function commit(cut: Cut, { pair, proxy, chance }: Scene): Promise<number> {
  switch (cut) {
    case 'FIN':
      proxy.cut('fin')
      return performance.now()
    case 'reset':
      proxy.cut('reset')
      return performance.now()
    case 'reset inside a PDU':
      await proxy.cutAfter('toServer', chance.between(1, 150_000))
      return performance.now()
    case 'cut inside an answer':
      await proxy.cutAfter('toClient', chance.between(1, 300), chance.pick(['fin', 'reset']))
      return performance.now()
    case 'answer lost, then reset':
      await proxy.swallow(chance.between(0, 50_000), 'reset')
      await proxy.reopen()
      return performance.now()
    case 'answer lost, nothing more':
      await proxy.swallow(chance.between(0, 50_000), 'silent')
      await sleep(ANSWER_SECONDS * 1000 + 300)
      await proxy.reopen()
      return performance.now()
    case 'black hole':
      proxy.blackHole()
      await sleep(chance.between(100, 2500))
      await proxy.reopen()
      return performance.now()
    case 'refused for a while':
      await proxy.refuse()
      proxy.cut(chance.pick(['fin', 'reset']))
      await sleep(chance.between(100, 1500))
      await proxy.reopen()
      return performance.now()
    case 'hub restarted':
      return away(proxy, () => pair.hub.stop(), () => pair.hub.start())
    case 'hub killed before its answer':
      // Its supervisor is deaf, so it takes every byte and has nobody to make it durable: there it dies.
      pair.hub.tree.freeze(pair.hub.tree.pid)
      await quiet(proxy)
      return away(proxy, () => pair.hub.tree.killAll(), () => pair.hub.start())
    case 'hub killed after its answer was lost':
      await proxy.swallow(0, 'silent')
      return away(proxy, () => pair.hub.tree.killAll(), () => pair.hub.start())
  }
}

/** While the hub is away its port is closed, as it is where no relay stands before it. */
async function away(proxy: Proxy, leave: () => Promise<unknown>, come: () => Promise<unknown>): Promise<number> {
  await proxy.refuse()
  await leave()
  await come()
  await proxy.reopen()
  return performance.now()
}

/** Nothing more goes to the hub: all that fits was sent, and nothing was answered. */
async function quiet(proxy: Proxy): Promise<void> {
  for (let before = -1, rounds = 0; proxy.bytes.toServer !== before && rounds < 50; rounds++) {
    before = proxy.bytes.toServer
    await sleep(80)
  }
}

const sendsAgain = (pair: Pair, before: number) =>
  until('the box to send again', async () => (await pair.box.destination('hub')).delivered > before, BACK_MILLIS)

function shuffled(chance: Chance): Cut[] {
  const cuts = (Object.entries(CUTS) as [Cut, number][]).flatMap(([cut, times]) => new Array<Cut>(times).fill(cut))
  for (let at = cuts.length - 1; at > 0; at--) {
    const other = chance.between(0, at)
    ;[cuts[at], cuts[other]] = [cuts[other] as Cut, cuts[at] as Cut]
  }
  return cuts
}

function figures(millis: readonly number[]): string {
  const sorted = [...millis].sort((a, b) => a - b)
  const at = (part: number) => Math.round(sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? 0)
  return `${at(0.5)}, ${at(0.95)}, ${at(1)} (${sorted.length})`
}
