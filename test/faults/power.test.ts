/**
 * Issue part 3, where `kill -9` cannot reach: a power cut takes what was only in the page cache.
 * Box and hub stand still at a random instant, their disk is put back as it was at that instant,
 * unwritten pages lost, and they start again. And the order of system calls that this rests on.
 */
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { drained, makeSide, startPair, type Pair } from '../pair.ts'
import { freePort } from '../peers/process.ts'
import { Chance } from './chance.ts'
import { anySize, image, newRoot } from './images.ts'
import { Ledger } from './ledger.ts'
import { Modality } from './modality.ts'
import { trace, whyNoTracing } from './syscalls.ts'
import { Volume, whyNoVolume } from './volume.ts'

t.setTimeout(300_000)

const CUTS = 6
const DISK_MEBIBYTES = 128

/**
 * What must last lies on three disks, both spools and the folder of delivered files: on one, a
 * sync of any of them would commit the journal, and with it what another forgot to sync.
 */
interface Scene {
  readonly pair: Pair
  readonly volumes: readonly Volume[]
  readonly delivered: string
  /** All processes of both stand still, the disks are as they are, and nothing else survives. */
  readonly cutPower: () => Promise<void>
  readonly remove: () => Promise<void>
}

async function scene(): Promise<Scene> {
  const pair = await startPair({ idle: true })
  const [ofBox, ofHub, ofDelivered] = [new Volume(DISK_MEBIBYTES), new Volume(DISK_MEBIBYTES), new Volume(DISK_MEBIBYTES)]
  const volumes = [ofBox, ofHub, ofDelivered]
  const delivered = join(ofDelivered.path, 'delivered')
  pair.box.configure({ state: join(ofBox.path, 'state'), runtime: join(pair.box.folder, 'state', 'run') })
  pair.hub.configure({
    state: join(ofHub.path, 'state'),
    runtime: join(pair.hub.folder, 'state', 'run'),
    destinations: [
      { name: 'delivered', kind: 'folder', path: delivered },
      { name: 'clinic', kind: 'dicom-tls', host: '127.0.0.1', port: pair.ports.boxTls, calledAe: 'SALLYPORT' },
    ],
  })
  await Promise.all([pair.box.start(), pair.hub.start()])
  return {
    pair,
    volumes,
    delivered,
    cutPower: async () => {
      const trees = [pair.box.tree, pair.hub.tree]
      for (const tree of trees) for (const { pid } of tree.members()) tree.freeze(pid)
      await sleep(60) // calls that were in the kernel return; answers that were on the wire arrive
      const snapshots = volumes.map((volume) => volume.snapshot())
      await Promise.all(trees.map((tree) => tree.killAll()))
      for (const [at, volume] of volumes.entries()) volume.replace(snapshots[at] as string)
    },
    remove: async () => {
      await pair.stop()
      for (const volume of volumes) volume.remove()
    },
  }
}

function load(pair: Pair, chance: Chance, ledger: Ledger): Modality[] {
  const root = newRoot()
  let number = 0
  const next = () => image(root, (number += 1), anySize(chance) / 4 & ~1)
  return ['CT1', 'CT2', 'CT3'].map((callingAe) => new Modality({ port: pair.ports.box, callingAe, ledger, chance: new Chance(chance.between(0, 2 ** 31)), next, restMillis: 10 }))
}

t.test('power cuts', { skip: whyNoVolume() ?? false }, async (t) => {
  const { pair, delivered, cutPower, remove } = await scene()
  const chance = new Chance()
  t.comment(`seed ${chance.seed}`)
  const ledger = new Ledger()
  const modalities = load(pair, chance, ledger)
  t.teardown(async () => {
    await remove()
    await Promise.all(modalities.map((modality) => modality.leave()))
  })
  const promised: number[] = []
  for (let cut = 1; cut <= CUTS; cut++) {
    for (const modality of modalities) modality.start()
    await sleep(chance.between(200, 1800))
    await cutPower()
    promised.push(ledger.acknowledged)
    await Promise.all([pair.box.start(), pair.hub.start()])
  }
  await Promise.all(modalities.map((modality) => modality.stop()))
  await drained(pair.box)
  await drained(pair.hub)
  t.same(ledger.compare(delivered), { lost: [], altered: [], twice: [] }, 'nothing that was acknowledged is lost, altered or doubled')
  t.comment(`acknowledged at each of ${CUTS} cuts: ${promised.join(', ')}; in all ${ledger.acknowledged}`)
  for (const side of [pair.box, pair.hub]) t.same((await side.status()).alarms, [], `${side.role}: no alarm`)
  t.ok(ledger.acknowledged > CUTS * 3, 'under load')
})

t.test('the instrument: where syncs are left out, a power cut loses what was acknowledged', { skip: whyNoVolume() ?? whyNoTracing() ?? false }, async (t) => {
  const { pair, delivered, cutPower, remove } = await scene()
  const ledger = new Ledger()
  const modalities = load(pair, new Chance(), ledger)
  t.teardown(async () => {
    await remove()
    await Promise.all(modalities.map((modality) => modality.leave()))
  })
  const pids = [pair.box, pair.hub].flatMap((side) => side.tree.members().map(({ pid }) => pid))
  const tracing = await trace(pids, ['trace=fdatasync,fsync', 'inject=fdatasync,fsync:retval=0'])
  for (const modality of modalities) modality.start()
  await sleep(1500)
  await cutPower()
  await tracing.stop()
  await Promise.all([pair.box.start(), pair.hub.start()])
  await Promise.all(modalities.map((modality) => modality.leave()))
  await drained(pair.box)
  await drained(pair.hub)
  const { lost } = ledger.compare(delivered)
  t.ok(lost.length > 0, `${lost.length} of ${ledger.acknowledged} lost`)
})

t.test('what is on the disk before an answer leaves', { skip: whyNoTracing() ?? false }, async (t) => {
  const port = await freePort()
  const box = makeSide('box', {
    tenant: 'north',
    listeners: [{ name: 'lan', protocol: 'dicom', port }],
    destinations: [{ name: 'hub', kind: 'folder', path: 'delivered' }],
    routes: [{ to: ['hub'] }],
  })
  t.teardown(() => box.stop())
  const tree = await box.start()
  const pids = tree.members().filter(({ command }) => !/\bforward\b/.test(command)).map(({ pid }) => pid)
  const tracing = await trace(pids, ['trace=%desc,mkdir,mkdirat'], ['-yy', '-s', '0'])
  const ledger = new Ledger()
  const root = newRoot()
  const images = [1, 2, 3, 4].map((number) => image(root, number, number === 4 ? 2_000_000 : 10_000))
  const modality = new Modality({ port, callingAe: 'CT1', ledger, chance: new Chance(), most: 1, next: () => images.shift() })
  modality.start()
  for (let rounds = 0; ledger.acknowledged < 4 && rounds < 600; rounds++) await sleep(50)
  await modality.leave()
  await tracing.stop()

  const done = doneIn(tracing.lines())
  let from = 0
  for (let answered = 1; answered <= 4; answered++) {
    // Of one association in one connection, what goes out is the A-ASSOCIATE-AC, the answer, the A-RELEASE-RP.
    const object = done.findIndex(({ call, path }, at) => at >= from && call === 'fdatasync' && path.endsWith('.obj'))
    const index = done.findIndex(({ call, path }, at) => at > object && call === 'fdatasync' && /\/index\/\d+\.log$/.test(path))
    const answer = done.findIndex(({ call, path }, at) => at > object && /^write|^send/.test(call) && path.startsWith(`TCP`) && path.includes(`:${port}->`))
    const prepared = done.findIndex(({ call, path }) => call === 'fsync' && done[object]?.path.startsWith(`${path}/`) === true)
    t.ok(object >= 0 && index > object && answer > index, `image ${answered}: object file synced, then the index, then the answer`, { object, index, answer })
    t.ok(prepared >= 0 && prepared < object, `image ${answered}: its directory entry was synced before`, { prepared, object })
    const late = done.findIndex(({ call, path }, at) => at > object && at < answer && /write/.test(call) && path === done[object]?.path)
    t.equal(late, -1, `image ${answered}: nothing was written to it after it was synced`)
    from = answer
  }
})

interface Done {
  readonly call: string
  /** Of its first descriptor. */
  readonly path: string
}

/** Calls in the order in which they returned; those that write, in the order in which they began. */
function doneIn(lines: readonly string[]): Done[] {
  const open = new Map<string, Done>()
  const done: Done[] = []
  for (const line of lines) {
    const [, pid = '', rest = ''] = /^(\d+)\s+[\d.]+\s+(.*)$/.exec(line) ?? []
    const resumed = /^<\.\.\. (\w+) resumed>/.exec(rest)
    if (resumed) {
      const begun = open.get(pid)
      if (begun && !/^write|^send/.test(begun.call)) done.push(begun)
      open.delete(pid)
      continue
    }
    const [, call = '', path = ''] = /^(\w+)\(\d+<(.*?)>(?:[,)]| <unf)/.exec(rest) ?? []
    if (call === '') continue
    if (!rest.endsWith('<unfinished ...>')) done.push({ call, path })
    else {
      open.set(pid, { call, path })
      if (/^write|^send/.test(call)) done.push({ call, path })
    }
  }
  return done
}
