/**
 * Issue part 6: the disk is full, or refuses, at every step. New images are refused with A700,
 * what was acknowledged before stays and goes on, and when the disk is well again so is
 * everything, without a person and without a restart.
 */
import { join } from 'node:path'
import { readdirSync, readlinkSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { writeSyntheticSeries } from '../../firmware/cli/synthetic.ts'
import { drained, startPair, type Pair, type Side } from '../pair.ts'
import { storescu } from '../peers/dcmtk.ts'
import { scratch, until } from '../peers/process.ts'
import { Chance } from './chance.ts'
import { image, newRoot } from './images.ts'
import { Ledger } from './ledger.ts'
import { answersOf, Modality } from './modality.ts'
import { Proxy } from './proxy.ts'
import { trace, whyNoTracing } from './syscalls.ts'
import { Volume, whyNoVolume } from './volume.ts'

t.setTimeout(290_000)

const RECOVERY_MILLIS = 45_000

/** One sender that goes on until it is told Success, and what it was told. */
class Load {
  readonly ledger = new Ledger()
  readonly modality: Modality
  readonly #root = newRoot()
  #number = 0

  constructor(port: number, delivered: () => number, kilobytes = 40) {
    const next = () => (this.#number - delivered() < 80 ? image(this.#root, (this.#number += 1), kilobytes * 1000) : undefined)
    this.modality = new Modality({ port, callingAe: 'CT1', ledger: this.ledger, chance: new Chance(1), most: 5, restMillis: 10, next })
  }

  told(answer: string): number {
    return this.modality.answers.get(answer) ?? 0
  }

  /** Sends until so many more are taken. */
  async send(count: number): Promise<void> {
    const wanted = this.ledger.acknowledged + count
    this.modality.start()
    await until(`${count} images to be taken`, () => this.ledger.acknowledged >= wanted, RECOVERY_MILLIS)
    await this.modality.stop()
  }
}

const stateOn = (side: Side, volume: Volume) =>
  side.configure({ state: join(volume.path, 'state'), runtime: join(side.folder, 'state', 'run'), spool: { highWaterPercent: 80, lowWaterPercent: 70 } })

/** Which processes run: none of them may be another afterwards. */
const pidsOf = (side: Side) => side.tree.members().map(({ pid }) => pid)

async function allThere(t: Test, pair: Pair, { ledger }: Load, delivered = pair.delivered): Promise<void> {
  for (const side of [pair.box, pair.hub]) {
    await drained(side, RECOVERY_MILLIS).catch(async (error: unknown) => t.fail(String(error), { status: await side.status(), log: side.log().slice(-30) }))
    const { alarms, destinations } = await side.status()
    // A read or write of the index that failed may have it made anew: that is told, and loses nothing.
    t.same(alarms.filter(({ code }) => code !== 'INDEX_DAMAGED'), [], `${side.role}: no alarm is left`)
    t.same(destinations.map(({ held }) => held), destinations.map(() => 0), `${side.role}: nothing is held`)
  }
  t.same(ledger.compare(delivered), { lost: [], altered: [], twice: [] }, `all ${ledger.acknowledged} acknowledged are there, once, unaltered`)
}

t.test('the disk of the box is filled from outside', { skip: whyNoVolume() ?? false }, async (t) => {
  const volume = new Volume(96)
  const pair = await startPair({ idle: true })
  const proxy = await Proxy.open({ port: pair.ports.hubTls })
  stateOn(pair.box, volume)
  pair.box.configure({ destinations: [{ name: 'hub', kind: 'dicom-tls', host: '127.0.0.1', port: proxy.port, calledAe: 'HUB' }, { name: 'returned', kind: 'folder', path: 'returned' }] })
  const load = new Load(pair.ports.box, () => Infinity)
  t.teardown(async () => {
    await pair.stop()
    await load.modality.leave()
    await proxy.close()
    volume.remove()
  })
  await proxy.refuse()
  await Promise.all([pair.box.start(), pair.hub.start()])
  const pids = pidsOf(pair.box)
  const [file = ''] = await writeSyntheticSeries(scratch('ct'), 1, 64)

  await load.send(30)
  volume.fill(12_000_000)
  // Slots that were given out before the mark was reached may still be filled: two of a tenant.
  const refused = await until('storescu to be refused', async () => {
    const { output } = await storescu({ port: pair.ports.box }, [file])
    return /Received Store Response \((?!Success)/.test(output) && output
  })
  t.match(refused, /Refused: *OutOfResources|0xa700/i, 'storescu sees A700')
  t.match((await pair.box.status()).sentence, /disk is full.*safe on it/)
  const before = load.told('a700')
  load.modality.start()
  await until('our sender to see A700', () => load.told('a700') > before)
  t.ok((await pair.box.destination('hub')).queued >= 30, 'what was acknowledged waits')

  await proxy.reopen()
  await until('it to leave, though the disk is full', async () => (await pair.box.status()).spool.instances === 0)
  t.equal((await pair.box.status()).spool.full, true, 'while new ones are still refused')
  volume.relieve()
  await load.modality.stop()
  t.pass('there is room again, and the sender got rid of what it had')
  await load.send(5)
  t.same(pidsOf(pair.box), pids, 'nothing was started anew')
  // Those of storescu lie there as well.
  const findings = load.ledger.compare(pair.delivered)
  await drained(pair.hub)
  t.same([load.ledger.compare(pair.delivered).lost, findings.twice], [[], []])
  t.comment(`answers ${answersOf([load.modality])}`)
})

t.test('the disk of the box is full to the last byte', { skip: whyNoVolume() ?? false }, async (t) => {
  const volume = new Volume(64)
  const pair = await startPair({ idle: true })
  stateOn(pair.box, volume)
  // The mark is out of the way: what refuses here is the disk itself, in the middle of things.
  pair.box.configure({ spool: { highWaterPercent: 99, lowWaterPercent: 98 } })
  await Promise.all([pair.box.start(), pair.hub.start()])
  const load = new Load(pair.ports.box, () => Infinity)
  t.teardown(async () => {
    await pair.stop()
    await load.modality.leave()
    volume.remove()
  })
  const pids = pidsOf(pair.box)
  for (const millis of [300, 1500, 4000]) {
    load.modality.start()
    const [taken, refused] = [load.told('0000'), load.told('a700')]
    await until('images to be taken', () => load.told('0000') > taken + 10, RECOVERY_MILLIS)
    volume.fill(0)
    await until('A700', () => load.told('a700') > refused)
    await sleep(millis)
    volume.relieve()
    const now = load.told('0000')
    await until('images to be taken again', () => load.told('0000') > now, RECOVERY_MILLIS)
  }
  await load.modality.stop()
  t.same(pidsOf(pair.box), pids, 'nothing was started anew')
  t.notOk([...load.modality.answers.keys()].find((answer) => answer !== '0000' && answer !== 'a700'), `answers ${answersOf([load.modality])}`)
  await allThere(t, pair, load)
})

t.test('the disks of the hub are full', { skip: whyNoVolume() ?? false }, async (t) => {
  const [ofSpool, ofDelivered] = [new Volume(64), new Volume(64)]
  const delivered = join(ofDelivered.path, 'delivered')
  const pair = await startPair({ idle: true })
  stateOn(pair.hub, ofSpool)
  pair.hub.configure({
    destinations: [
      { name: 'delivered', kind: 'folder', path: delivered },
      { name: 'clinic', kind: 'dicom-tls', host: '127.0.0.1', port: pair.ports.boxTls, calledAe: 'SALLYPORT' },
    ],
  })
  await Promise.all([pair.box.start(), pair.hub.start()])
  const load = new Load(pair.ports.box, () => Infinity)
  t.teardown(async () => {
    await pair.stop()
    await load.modality.leave()
    ofSpool.remove()
    ofDelivered.remove()
  })
  await load.send(5)
  ofSpool.fill(0)
  await load.send(20)
  await until('the hub to have refused', async () => (await pair.hub.status()).spool.full || pair.hub.log('store-refused').length > 0)
  t.ok((await pair.box.destination('hub')).queued > 0, 'the box keeps what the hub has no room for')
  t.equal((await pair.box.destination('hub')).held, 0, 'and holds nothing back for a person')
  ofSpool.relieve()
  await drained(pair.box, RECOVERY_MILLIS)
  t.pass('it leaves when there is room')

  ofDelivered.fill(0)
  await load.send(10)
  await drained(pair.box, RECOVERY_MILLIS)
  await sleep(500)
  t.ok((await pair.hub.status()).spool.instances > 0, 'the hub keeps what the folder has no room for')
  ofDelivered.relieve()
  await allThere(t, pair, load, delivered)
})

/** Descriptors of a process below a folder, as paths. */
function openBelow(pid: number, folder: string): string[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      const path = readlinkSync(`/proc/${pid}/fd/${fd}`)
      return path.startsWith(folder) ? [path] : []
    } catch {
      return []
    }
  })
}

interface Step {
  readonly who: 'supervisor' | 'receive' | 'forward'
  readonly calls: string
  readonly error: string
  /** Only every so many; all of them if absent. */
  readonly every?: number
  /** Only on the files of the index: elsewhere the same call speaks to a socket. */
  readonly index?: boolean
}

const STEPS: readonly Step[] = [
  { who: 'receive', calls: 'pwritev,pwrite64', error: 'EIO' },
  { who: 'receive', calls: 'pwritev,pwrite64', error: 'ENOSPC', every: 3 },
  { who: 'receive', calls: 'fdatasync', error: 'EIO' },
  { who: 'receive', calls: 'fdatasync', error: 'ENOSPC', every: 2 },
  { who: 'receive', calls: 'openat', error: 'EIO', every: 2 },
  { who: 'receive', calls: 'openat', error: 'EMFILE' },
  { who: 'supervisor', calls: 'fdatasync', error: 'EIO' },
  { who: 'supervisor', calls: 'fdatasync', error: 'ENOSPC', every: 3 },
  { who: 'supervisor', calls: 'fsync', error: 'EIO' },
  { who: 'supervisor', calls: 'write', error: 'EIO', index: true },
  { who: 'supervisor', calls: 'write', error: 'ENOSPC', index: true, every: 2 },
  { who: 'supervisor', calls: 'openat', error: 'ENOSPC' },
  { who: 'supervisor', calls: 'openat', error: 'EIO', every: 3 },
  { who: 'supervisor', calls: 'unlink,unlinkat,rename,renameat2,link,linkat', error: 'EIO' },
  { who: 'supervisor', calls: 'fdatasync,mkdir,mkdirat', error: 'ENOSPC', every: 2 },
  { who: 'supervisor', calls: 'fdatasync,fsync,openat,unlink,rename,link,mkdir', error: 'EIO', every: 4 },
  { who: 'forward', calls: 'openat', error: 'EMFILE' },
  { who: 'forward', calls: 'pread64', error: 'ENOMEM', every: 2 },
]

t.test('system calls that fail, step by step', { skip: whyNoTracing() ?? false }, async (t) => {
  const pair = await startPair()
  let delivered = 0
  const load = new Load(pair.ports.box, () => delivered)
  t.teardown(async () => {
    await pair.stop()
    await load.modality.leave()
  })
  const pids = pidsOf(pair.box)
  load.modality.start()
  for (const { who, calls, error, every, index } of STEPS) {
    const what = `${who}: ${calls} ${error}${every === undefined ? '' : `, each ${every}th`}`
    const { tree } = pair.box
    const pid = who === 'supervisor' ? tree.pid : (tree.workers(new RegExp(`\\b${who}\\b`))[0]?.pid ?? 0)
    const only = index === true ? openBelow(pid, join(pair.box.folder, 'state', 'spool', 'index')).flatMap((path) => ['-P', path]) : []
    const tracing = await trace([pid], [`trace=${calls}`, `inject=${calls}:error=${error}${every === undefined ? '' : `:when=${every}+${every}`}`], only)
    await sleep(700)
    const failed = tracing.lines().filter((line) => line.includes('(INJECTED)')).length
    await tracing.stop()
    const taken = load.told('0000')
    delivered = (await pair.box.destination('hub')).delivered
    await until(`images to be taken after ${what}`, async () => {
      delivered = (await pair.box.destination('hub')).delivered
      return load.told('0000') > taken + 2
    }, RECOVERY_MILLIS).then(
      () => t.pass(`${what}: ${failed} calls failed`),
      async (late: unknown) => t.fail(String(late), { status: await pair.box.status(), log: pair.box.log().slice(-20) }),
    )
  }
  await load.modality.stop()
  t.same(pidsOf(pair.box), pids, 'nothing was started anew')
  t.same(pair.box.tree.output().split('\n').filter((line) => line !== '' && !line.startsWith('{')), [], 'no trace of a crash')
  t.comment(`answers ${answersOf([load.modality])}`)
  t.notOk([...load.modality.answers.keys()].find((answer) => /^\d|^[a-f]/.test(answer) && answer !== '0000' && answer !== 'a700'), 'no other answer than 0000 and A700')
  await allThere(t, pair, load)
})

t.test('a disk that cannot give back what it holds', { skip: whyNoTracing() ?? false }, async (t) => {
  const pair = await startPair()
  const load = new Load(pair.ports.box, () => Infinity)
  t.teardown(async () => {
    await pair.stop()
    await load.modality.leave()
  })
  const [forward] = pair.box.tree.workers(/\bforward\b/)
  const tracing = await trace([forward?.pid ?? 0], ['trace=pread64', 'inject=pread64:error=EIO'])
  await load.send(5)
  await until('them to be held', async () => (await pair.box.destination('hub')).held >= 5)
  t.match((await pair.box.status()).alarms.map(({ code }) => code), ['OBJECT_DAMAGED'], 'a person is told')
  t.equal(pair.files().length, 0, 'nothing of it is delivered')
  await tracing.stop()
  t.equal((await pair.box.cli('queue', 'retry', '--all')).status, 0)
  await allThere(t, pair, load)
})
