/**
 * Issue part 7: bits that flip and files that end early, in object files and in the index, of a
 * box and of a hub that hold images. What was damaged is found, held and never delivered; what
 * was intact is delivered; the index is made anew.
 */
import { hash } from 'node:crypto'
import { cpSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import t from 'tap'
import { dicomFiles, drained, startPair, type Pair, type Side } from '../pair.ts'
import { part10 } from '../peers/dataset.ts'
import { until } from '../peers/process.ts'
import { Chance } from './chance.ts'
import { image, newRoot, type Image } from './images.ts'
import { Ledger } from './ledger.ts'
import { Modality } from './modality.ts'

t.setTimeout(290_000)

const ROUNDS = 10
const IMAGES = 20

/** The spools of both as they are before anything is damaged, each holding every image. */
interface Held {
  readonly pair: Pair
  readonly ledger: Ledger
  readonly images: readonly Image[]
  /** Puts a spool back as it was; the other side, and all that was delivered, begins anew. Neither may run. */
  readonly restore: (side: Side) => void
}

const spoolOf = (side: Side, ...parts: string[]): string => join(side.folder, 'state', 'spool', ...parts)
const kept = (side: Side, name: string): string => join(side.folder, `kept-${name}`)

async function holding(): Promise<Held> {
  const pair = await startPair({ idle: true })
  const { box, hub } = pair
  const root = newRoot()
  const sizes = [2_000, 30_000, 70_000, 400_000, 1_500_000]
  const images = Array.from({ length: IMAGES }, (_, number) => image(root, number, sizes[number % sizes.length] as number))
  const left = [...images]
  let allowed = 0
  const ledger = new Ledger()
  const modality = new Modality({ port: pair.ports.box, callingAe: 'CT1', ledger, chance: new Chance(1), next: () => (ledger.acknowledged < allowed ? left.shift() : undefined) })
  t.teardown(async () => {
    await pair.stop()
    await modality.leave()
  })
  const take = async (count: number) => {
    allowed = count
    modality.start()
    await until('images to be taken', () => ledger.acknowledged >= count)
    await modality.stop()
  }
  // The hub is away. A second start makes a table of the first log, and a third a second one.
  await box.start()
  await take(8)
  await box.stop()
  cpSync(spoolOf(box, 'index'), kept(box, 'old-index'), { recursive: true })
  await box.start()
  await take(IMAGES)
  await box.stop()
  cpSync(join(box.folder, 'state'), kept(box, 'state'), { recursive: true })
  // Now the hub takes them, and has nowhere to put them.
  writeFileSync(pair.delivered, 'not a folder')
  await Promise.all([hub.start(), box.start()])
  await until('the hub to hold them', async () => (await hub.status()).spool.instances === IMAGES)
  await drained(box)
  await Promise.all([hub.stop(), box.stop()])
  cpSync(join(hub.folder, 'state'), kept(hub, 'state'), { recursive: true })
  cpSync(spoolOf(hub, 'index'), kept(hub, 'old-index'), { recursive: true })
  const restore = (side: Side) => {
    for (const one of [box, hub]) rmSync(join(one.folder, 'state'), { recursive: true, force: true })
    rmSync(pair.delivered, { recursive: true, force: true })
    cpSync(kept(side, 'state'), join(side.folder, 'state'), { recursive: true })
  }
  return { pair, ledger, images, restore }
}

const below = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((name) => join(folder, name)).filter((path) => statSync(path).isFile()).sort()
const objectsOf = (side: Side): string[] => below(spoolOf(side, 'objects')).filter((path) => statSync(path).size > 0)

/** @returns what was done to it, for the report */
function damage(path: string, chance: Chance): string {
  const { size } = statSync(path)
  const name = basename(path)
  if (size > 0 && chance.hits(0.6)) {
    const bytes = readFileSync(path)
    const [at, bit] = [chance.between(0, size - 1), chance.between(0, 7)]
    bytes[at] = (bytes[at] as number) ^ (1 << bit)
    writeFileSync(path, bytes)
    return `${name}: bit ${bit} of byte ${at} of ${size}`
  }
  // An object of no bytes cannot be told from a place kept ready for one.
  const length = chance.between(1, Math.max(1, size - 1))
  truncateSync(path, length)
  return `${name}: ${length} of ${size} bytes`
}

function damageIndex(side: Side, chance: Chance): string[] {
  const index = spoolOf(side, 'index')
  const how = chance.weighted({ files: 70, 'no CURRENT': 10, 'no index': 10, 'an old copy': 10 })
  if (how === 'no CURRENT') rmSync(join(index, 'CURRENT'))
  else if (how === 'no index') rmSync(index, { recursive: true })
  else if (how === 'an old copy') {
    rmSync(index, { recursive: true })
    cpSync(kept(side, 'old-index'), index, { recursive: true })
  } else {
    const files = [...below(index).filter((path) => /\.log$|\.ldb$|MANIFEST|CURRENT/.test(path)), spoolOf(side, 'generation')]
    return Array.from({ length: chance.between(1, 3) }, () => damage(chance.pick(files), chance))
  }
  return [how]
}

/** SOP Instance UIDs by object file, as the undamaged side tells them. */
async function namesOf(side: Side): Promise<Map<string, string>> {
  await side.start()
  const rows = await side.queue()
  await side.stop()
  return new Map(rows.map(({ id, sopInstance }) => [`${id}.obj`, sopInstance]))
}

const { pair, ledger, images, restore } = await holding()

t.test('random damage', async (t) => {
  const chance = new Chance()
  t.comment(`seed ${chance.seed}`)
  const names = new Map<Side, Map<string, string>>()
  for (const side of [pair.box, pair.hub]) {
    restore(side)
    // Nothing leaves while they are asked: the other side is away, or the folder is none.
    writeFileSync(pair.delivered, 'not a folder')
    names.set(side, await namesOf(side))
  }
  for (let round = 1; round <= ROUNDS; round++) {
    const side = round % 2 === 0 ? pair.hub : pair.box
    const what = chance.weighted({ objects: 35, index: 35, both: 30 })
    restore(side)
    const done: string[] = []
    const hit = new Set<string>()
    if (what !== 'index') {
      for (let left = chance.between(1, 4); left > 0; left--) {
        const path = chance.pick(objectsOf(side))
        hit.add(names.get(side)?.get(basename(path)) ?? path)
        done.push(damage(path, chance))
      }
    }
    if (what !== 'objects') done.push(...damageIndex(side, chance))
    const story = `round ${round}, ${side.role}: ${done.join('; ')}`

    if (what === 'objects') {
      const verify = await side.cli('spool', 'verify')
      t.equal(verify.status, 1, `${story}: verify says so`)
      t.same(new Set([...verify.output.matchAll(/^DAMAGED \S+ (\S+)/gm)].map(([, sopInstance]) => sopInstance)), hit, 'and names them')
    } else if (chance.hits(0.3)) t.equal((await side.cli('spool', 'rebuild')).status, 0, `${story}: rebuilt offline`)
    await Promise.all(side === pair.box ? [pair.box.start(), pair.hub.start()] : [pair.hub.start()])
    const wanted = images.filter(({ sopInstance }) => !hit.has(sopInstance)).map(({ sopInstance }) => sopInstance)
    await until('what is intact to arrive', () => pair.files().length >= wanted.length, 30_000).catch(() => undefined)
    await until('nothing to wait', async () => (await side.status()).destinations.every(({ queued, forwarding }) => queued + forwarding === 0)).catch(() => undefined)

    const found = ledger.compare(pair.delivered)
    t.same({ ...found, lost: new Set(found.lost) }, { lost: hit, altered: [], twice: [] }, `${story}: all that was intact is there, nothing that was not`)
    const { alarms, destinations } = await side.status()
    const setAside = readdirSync(spoolOf(side, 'quarantine')).length
    const held = destinations.reduce((sum, one) => sum + one.held, 0)
    t.equal(held + setAside, hit.size, 'the damaged ones are held or set aside, none is gone')
    if (hit.size > 0) t.ok(alarms.some(({ code }) => code === 'OBJECT_DAMAGED' || code === 'FILES_SET_ASIDE'), 'and a person is told', { alarms })
    t.same(side.tree.output().split('\n').filter((line) => line !== '' && !line.startsWith('{')), [], 'no trace of a crash')
    await pair.stop()
  }
})

t.test('what the commands say and do', async (t) => {
  const { box, hub } = pair
  const digests = new Map(images.map(({ sopInstance, digest }) => [sopInstance, digest]))
  const exported = (folder: string) => dicomFiles(folder).map((path) => {
    const { sopInstance, dataSet } = part10(readFileSync(path))
    return hash('sha256', dataSet) === digests.get(sopInstance) && basename(path) === `${sopInstance}.dcm`
  })
  for (const running of [false, true]) {
    const how = running ? 'running' : 'stopped'
    restore(box)
    if (running) await box.start()
    t.equal((await box.cli('spool', 'verify')).status, 0, `${how}: verify finds nothing`)
    const rebuild = await box.cli('spool', 'rebuild')
    t.match([rebuild.status, rebuild.output], [0, `${IMAGES} images`], `${how}: rebuild keeps all`)
    const whole = join(box.folder, `export-${how}`)
    t.equal((await box.cli('spool', 'export', whole)).status, 0)
    t.same(exported(whole), images.map(() => true), `${how}: export writes all of them, byte for byte`)

    const victim = objectsOf(box)[3] as string
    const bytes = readFileSync(victim)
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] as number) ^ 1
    writeFileSync(victim, bytes)
    const verify = await box.cli('spool', 'verify')
    t.equal(verify.status, 1)
    t.match(verify.output, `DAMAGED ${basename(victim, '.obj')}`, `${how}: verify names the damaged one`)
    const rest = join(box.folder, `export-rest-${how}`)
    t.equal((await box.cli('spool', 'export', rest)).status, 1)
    t.same(exported(rest), images.slice(1).map(() => true), `${how}: export leaves out the damaged one alone`)
    if (running) await box.stop()
  }

  // The modality still has the image: what it sends replaces what was damaged, and outlives the index.
  await Promise.all([box.start(), hub.start()])
  await until('the damaged one to be held', async () => (await box.destination('hub')).held === 1)
  await drainedBut(box, 1)
  await hub.stop()
  const [row] = await box.queue('state=held')
  const again = images.find(({ sopInstance }) => sopInstance === row?.sopInstance) as Image
  const sender = new Modality({ port: pair.ports.box, callingAe: 'CT1', ledger: new Ledger(), chance: new Chance(1), next: once(again) })
  sender.start()
  await until('it to be taken again', () => sender.answers.get('0000') === 1)
  await sender.stop()
  await box.stop()
  rmSync(spoolOf(box, 'index'), { recursive: true })
  await Promise.all([box.start(), hub.start()])
  await until('it to arrive', () => ledger.compare(pair.delivered).lost.length === 0).catch(() => undefined)
  t.same(ledger.compare(pair.delivered), { lost: [], altered: [], twice: [] }, 'sent again, it arrives, though the index was lost in between')
  await Promise.all([box.stop(), hub.stop()])
})

const drainedBut = (side: Side, left: number) => until('the rest to leave', async () => (await side.status()).spool.instances === left)

function once(one: Image): () => Image | undefined {
  const left = [one]
  return () => left.shift()
}

t.test('a damaged key of a tenant', async (t) => {
  restore(pair.box)
  const keys = spoolOf(pair.box, 'keys')
  const [name = ''] = readdirSync(keys).filter((file) => file.startsWith(pair.certificates.tenant))
  const whole = readFileSync(join(keys, name))
  const broken = Buffer.from(whole)
  broken[20] = (broken[20] as number) ^ 1
  writeFileSync(join(keys, name), broken)
  const status = await pair.box.start().then(() => pair.box.status(), (error: unknown) => String(error))
  t.equal(pair.files().length, 0, 'nothing is delivered that cannot be opened')
  t.comment(typeof status === 'string' ? status.split('\n').find((line) => line.includes('key')) ?? status.slice(0, 200) : status.sentence)
  await pair.box.stop()
  writeFileSync(join(keys, name), whole)
  await Promise.all([pair.box.start(), pair.hub.start()])
  const held = (await pair.box.destination('hub')).held
  if (held > 0) await pair.box.cli('queue', 'retry', '--all')
  await until('everything to arrive', () => ledger.compare(pair.delivered).lost.length === 0).catch(() => undefined)
  t.same(ledger.compare(pair.delivered), { lost: [], altered: [], twice: [] }, `with its backup in place nothing is lost (${held} had been held)`)
})
