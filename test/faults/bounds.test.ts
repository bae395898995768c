/**
 * Memory is bounded by configuration, not by input, and nobody is served worse for a stranger's
 * sake: a 2 GiB object, eight large ones at once, and crowds of strangers at both kinds of port.
 */
import { createHash } from 'node:crypto'
import { createReadStream, openSync, readSync, closeSync, statfsSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { writeSyntheticMultiFrame, writeSyntheticSeries } from '../../firmware/cli/synthetic.ts'
import { element, elementHeader, encodeElements } from '../../firmware/dicom/element.ts'
import { associate } from '../../firmware/dicom/requestor.ts'
import { LIMITS } from '../../firmware/domain/limits.ts'
import { newUid } from '../../firmware/dicom/uid.ts'
import { drained, startPair, type Pair, type Side } from '../pair.ts'
import { part10 } from '../peers/dataset.ts'
import { storescu } from '../peers/dcmtk.ts'
import { scratch, start, until } from '../peers/process.ts'
import { Crowd, PLAYS, type Play } from './crowd.ts'
import { FIRMWARE, inspect } from './processes.ts'

const MIB = 1024
const MOST_MIB = 160
/** With many at once: each association has up to 1 MiB on its way to the disk, and buffers not yet collected. */
const MANY_MIB = 192
const GIB = 1024 ** 3
const LONG = 300_000
const CT = '1.2.840.10008.5.1.4.1.1.2'
const EXPLICIT = '1.2.840.10008.1.2.1'

/** SHA-256 of the data set of a Part 10 file of any size. */
async function digestOf(file: string): Promise<string> {
  const head = Buffer.alloc(16 * 1024)
  const handle = openSync(file, 'r')
  const length = readSync(handle, head, 0, head.length, 0)
  closeSync(handle)
  const from = length - part10(head.subarray(0, length)).dataSet.length
  const hash = createHash('sha256')
  for await (const bytes of createReadStream(file, { start: from, highWaterMark: 1024 * 1024 })) hash.update(bytes as Buffer)
  return hash.digest('hex')
}

const nameOf = (command: string): string => /main\.ts ((?:worker )?\w+)/.exec(command)?.[1] ?? command

/** Peaks of all processes of the pair while `work` runs, MiB, by `box worker receive` and the like. */
async function peaksOf(pair: Pair, work: () => Promise<void>): Promise<[string, number][]> {
  const sides = [pair.box, pair.hub].map((side) => ({ role: side.role, watch: side.tree.watchMemory() }))
  await work()
  return sides.flatMap(({ role, watch }) => [...watch.stop()].map(([command, kib]): [string, number] => [`${role} ${nameOf(command)}`, Math.round(kib / MIB)]))
}
const list = (peaks: readonly [string, number][]): string => peaks.map(([name, mib]) => `${name} ${mib}`).join(', ')
const residents = (side: Side): [string, number][] => side.tree.members().map(({ command, residentKiB }) => [`${side.role} ${nameOf(command)}`, Math.round(residentKiB / MIB)])

interface Sent {
  readonly status: number
  readonly output: string
  readonly peakMib: number
  readonly millis: number
}

/** `sallyport send` as a process of its own, its memory watched. */
async function send(...args: string[]): Promise<Sent> {
  const began = performance.now()
  const peer = await start(process.execPath, [FIRMWARE, 'send', ...args])
  let peak = 0
  const timer = setInterval(() => (peak = Math.max(peak, inspect(peer.pid)?.peakKiB ?? 0)), 50)
  const { code } = await peer.exited
  clearInterval(timer)
  return { status: code ?? -1, output: peer.output(), peakMib: Math.round(peak / MIB), millis: performance.now() - began }
}

/** One object of `bytes` that was never on a disk. @returns its status and the digest of what was sent */
async function sendEndless(port: number, callingAe: string, bytes: number): Promise<{ status: number; sopInstance: string; digest: string }> {
  const sopInstance = newUid()
  const hash = createHash('sha256')
  const piece = Buffer.alloc(256 * 1024, callingAe)
  async function* source(): AsyncGenerator<Buffer> {
    const head = encodeElements([
      element(0x00080016, 'UI', CT), element(0x00080018, 'UI', sopInstance),
      element(0x0020000d, 'UI', newUid()), element(0x0020000e, 'UI', newUid()),
    ])
    const pieces = Math.floor(bytes / piece.length)
    const first = Buffer.concat([head, elementHeader(0x7fe00010, 'OW', pieces * piece.length)])
    for (const part of [first, ...Array.from({ length: pieces }, () => piece)]) {
      hash.update(part)
      yield part
    }
  }
  const socket = connect({ port, host: '127.0.0.1' })
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject))
  const association = await associate(socket, { calledAe: 'SALLYPORT', callingAe, contexts: [{ abstractSyntax: CT, transferSyntaxes: [EXPLICIT] }] }, LIMITS)
  const contextId = association.contexts[0]?.id ?? 0
  const { status } = await association.store({ contextId, sopClass: CT, sopInstance }, source(), { progressMillis: LONG, answerMillis: LONG })
  await association.release()
  return { status, sopInstance, digest: hash.digest('hex') }
}

t.test('large objects: memory does not grow with them', async (t) => {
  const pair = await startPair()
  t.teardown(() => pair.stop())
  t.comment(`idle, MiB: ${list([pair.box, pair.hub].flatMap(residents))}`)

  await t.test('one of 2 GiB from sender to folder', async (t) => {
    const disk = statfsSync(tmpdir())
    if (disk.bavail * disk.bsize < 9 * GIB) {
      t.pass('not shown: the disk of temporary files has no 9 GiB free')
      return
    }
    const folder = scratch('large')
    const file = join(folder, 'large.dcm')
    const bytes = await writeSyntheticMultiFrame(file, 2 * GIB)
    t.ok(bytes > 2 ** 31, `${bytes} bytes`)
    const began = performance.now()
    const took: number[] = []
    const peaks = await peaksOf(pair, async () => {
      const sent = await send(file, '--to', `127.0.0.1:${pair.ports.box}`, '--timeout', '300')
      t.equal(sent.status, 0, sent.output)
      t.ok(sent.peakMib > 0 && sent.peakMib <= MOST_MIB, `sender ${sent.peakMib} MiB`)
      took.push(performance.now() - began)
      await drained(pair.box, LONG)
      took.push(performance.now() - began)
      await drained(pair.hub, LONG)
      took.push(performance.now() - began)
      t.comment(`sender ${sent.peakMib} MiB`)
    })
    for (const [name, mib] of peaks) t.ok(mib <= MOST_MIB, `${name}: ${mib} MiB`)
    const [arrived = '', ...more] = pair.files()
    t.same(more, [])
    const [there, here] = [await digestOf(arrived), await digestOf(file)]
    t.equal(there, here)
    t.comment(`2 GiB: at the box ${secondsOf(took[0])}, at the hub ${secondsOf(took[1])}, in the folder ${secondsOf(took[2])}; peaks in MiB: ${list(peaks)}`)
  })

  await t.test('eight of 200 MB at once', async (t) => {
    const peaks = await peaksOf(pair, async () => {
      const sent = await Promise.all(Array.from({ length: 8 }, (_, n) => sendEndless(pair.ports.box, `MODALITY${n}`, 200e6)))
      t.same(sent.map(({ status }) => status), Array(8).fill(0))
      await drained(pair.box, LONG)
      await drained(pair.hub, LONG)
      for (const { sopInstance, digest } of sent) {
        const file = pair.files().find((name) => name.endsWith(`${sopInstance}.dcm`))
        t.equal(file && (await digestOf(file)), digest)
      }
    })
    for (const [name, mib] of peaks) t.ok(mib <= MANY_MIB, `${name}: ${mib} MiB`)
    t.comment(`peaks in MiB: ${list(peaks)}`)
  })
})

const secondsOf = (millis = 0): string => `${(millis / 1000).toFixed(1)} s`

/** Time-outs as short as a test can wait for; the TLS greeting's 15 s are not configurable. */
const IMPATIENT = { artimMillis: 5_000, idleMillis: 5_000, slowMillis: 4_000 }
/** What all these strangers together may cost a worker: 512 that knock, at some 60 KiB with TLS, and the last bytes of those shown out. */
const GROWTH_MIB = 96

interface Attack {
  readonly name: string
  readonly at: 'box' | 'hubTls'
  readonly count: number
  readonly play: Play
}

const ATTACKS: readonly Attack[] = [
  { name: '2,000 say nothing', at: 'box', count: 2_000, play: PLAYS.silent },
  { name: '100 send a byte a second of a request', at: 'box', count: 100, play: PLAYS.slowRequest },
  { name: '30 send a byte a second of an image', at: 'box', count: 30, play: PLAYS.slowImage },
  { name: '30 hold an association and send nothing', at: 'box', count: 30, play: PLAYS.idle },
  { name: '100 announce a request of 4 GiB', at: 'box', count: 100, play: PLAYS.endlessRequest },
  { name: '30 announce a P-DATA-TF of 4 GiB', at: 'box', count: 30, play: PLAYS.endlessData },
  { name: '100 send garbage', at: 'box', count: 100, play: PLAYS.garbage },
  { name: '30 never read an answer', at: 'box', count: 30, play: PLAYS.deaf },
  { name: '2,000 say nothing, TLS', at: 'hubTls', count: 2_000, play: PLAYS.silent },
  { name: '400 begin a TLS greeting', at: 'hubTls', count: 400, play: PLAYS.halfGreeting },
  { name: '100 send garbage, TLS', at: 'hubTls', count: 100, play: PLAYS.garbage },
]

t.test('strangers: the modality beside them is served, memory stays bounded, all are shown out', async (t) => {
  const pair = await startPair({ box: { limits: IMPATIENT }, hub: { limits: IMPATIENT } })
  const crowds: { name: string; crowd: Crowd }[] = []
  t.teardown(async () => {
    for (const { crowd } of crowds) crowd.disperse()
    await pair.stop()
  })
  const files = await writeSyntheticSeries(join(scratch('modality'), 'series'), 4, 128)
  /** What a modality meets at the box, or a box at the hub. @returns milliseconds */
  const serve = async (at: Attack['at']): Promise<number> => {
    const done = at === 'box'
      ? await storescu({ port: pair.ports.box, noDelay: true }, files)
      : await send(...files, '--to', `127.0.0.1:${pair.ports.hubTls}`, '--tls', join(pair.box.folder, 'credentials', 'link'))
    t.equal(done.status, 0, done.output)
    return Math.round(done.millis)
  }
  const receiver = (at: Attack['at']) => (at === 'box' ? pair.box : pair.hub).tree.workers(/receive/)[0]
  const alone = { box: await serve('box'), hubTls: await serve('hubTls') }
  const before = { box: receiver('box'), hubTls: receiver('hubTls') }
  for (const [n, { name, at, count, play }] of ATTACKS.entries()) {
    const crowd = await Crowd.gather({ port: pair.ports[at], count, from: `127.0.0.${n + 2}`, play })
    crowds.push({ name, crowd })
    const millis = await serve(at)
    t.comment(`${name}: ${crowd.open} still there; served in ${millis} ms, alone ${alone[at]} ms; worker ${Math.round((receiver(at)?.residentKiB ?? 0) / MIB)} MiB`)
  }
  for (const { name, crowd } of crowds) {
    await until(`${name}: to be shown out`, () => crowd.open === 0, 60_000)
    t.pass(`${name}: all shown out`)
  }
  for (const at of ['box', 'hubTls'] as const) {
    const [was, is] = [before[at], receiver(at)]
    t.equal(is?.pid, was?.pid, 'the same worker still')
    const growth = ((is?.peakKiB ?? Infinity) - (was?.peakKiB ?? 0)) / MIB
    t.ok(growth <= GROWTH_MIB, `grew by ${Math.round(growth)} MiB at most`)
    t.ok((is?.peakKiB ?? Infinity) <= MANY_MIB * MIB)
    await serve(at)
  }
  await drained(pair.box)
  await drained(pair.hub)
  t.equal(pair.files().length, files.length, 'each once, however often it was sent')
  const refused = (await pair.box.status()).knocks
  t.ok(refused.some(({ code }) => code === 'NOT_DICOM'), 'the status names those that do not speak DICOM')
  t.comment(`refused callers the box shows: ${refused.map(({ peer, sentence, times }) => `${peer} ×${times} ${sentence}`).join(' | ')}`)
})
