/**
 * The index on disk is flipped, cut, emptied, exchanged. Whatever happens: nothing intact is lost,
 * nothing is delivered altered, and the damage is told.
 */
import { cpSync, existsSync, readFileSync, readdirSync, renameSync, rmSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { ObjectFacts } from '../../firmware/domain/spool.ts'
import type { Spool } from '../../firmware/spool/spool.ts'
import { Place, newUid, read } from './place.ts'

const IMAGES = 60

interface Filled {
  readonly waiting: Map<string, ObjectFacts>
  readonly held: string
  readonly delivered: Set<string>
}

/** Sixty waiting, one held, ten delivered; in two sessions, so that there are tables and a log. */
async function fill(place: Place): Promise<Filled> {
  const waiting = new Map<string, ObjectFacts>()
  let spool = await place.open()
  for (let count = 0; count < 10; count += 1) await place.put(spool)
  const delivered = new Set(await place.take(spool))
  for (let count = 0; count < IMAGES / 2; count += 1) {
    const { facts } = await place.put(spool, { bytes: Buffer.alloc(500, count), sopInstance: newUid() })
    waiting.set(facts.id, facts)
  }
  await spool.close()
  spool = await place.open()
  for (let count = 0; count < IMAGES / 2; count += 1) {
    const { facts } = await place.put(spool, { bytes: Buffer.alloc(500, count), sopInstance: newUid() })
    waiting.set(facts.id, facts)
  }
  const { facts } = await place.put(spool, { targets: [{ destination: 'archive', priority: 'normal' }] })
  await spool.lease('archive', 1)
  await spool.settle(facts.id, 'archive', { event: 'rejected', code: 'REJECTED', detail: 'test' })
  await spool.close()
  return { waiting, held: facts.id, delivered }
}

const index = (place: Place): string => join(place.directory, 'index')
const filesOf = (place: Place, pattern: RegExp): string[] =>
  readdirSync(index(place)).filter((name) => pattern.test(name)).map((name) => join(index(place), name))

function flipAt(path: string, share: number): void {
  const bytes = readFileSync(path)
  const at = Math.min(bytes.length - 1, Math.floor(bytes.length * share))
  bytes[at] = (bytes[at] as number) ^ 0x10
  writeFileSync(path, bytes)
}

/** Everything that waits is read, compared and delivered; @returns ids that came to `hub`. */
async function deliver(t: Tap, spool: Spool, filled: Filled): Promise<Set<string>> {
  const came = new Set<string>()
  let patience = 300
  for (;;) {
    const leases = await spool.lease('hub', 50)
    // A flip found only now: nothing is leased while the index is made anew.
    if (leases.length === 0 && spool.countsOf('hub').queued > 0 && (patience -= 1) > 0) await new Promise((resolve) => setTimeout(resolve, 20))
    else if (leases.length === 0) return came
    for (const lease of leases) {
      const bytes = await read(lease)
      const facts = filled.waiting.get(lease.id)
      if (facts && (bytes.length !== facts.bytes || lease.facts.digest !== facts.digest)) t.fail(`${lease.id} is altered`)
      if (came.has(lease.id)) t.fail(`${lease.id} came twice`)
      came.add(lease.id)
      await spool.settle(lease.id, 'hub', { event: 'stored' })
    }
  }
}
type Tap = { fail(message: string): unknown }

const damages: Record<string, (place: Place) => void> = {
  'MANIFEST short by 7 bytes': (place) => filesOf(place, /^MANIFEST/).forEach((path) => truncateSync(path, readFileSync(path).length - 7)),
  'MANIFEST flipped': (place) => filesOf(place, /^MANIFEST/).forEach((path) => flipAt(path, 0.5)),
  'MANIFEST gone': (place) => filesOf(place, /^MANIFEST/).forEach((path) => unlinkSync(path)),
  'CURRENT gone': (place) => unlinkSync(join(index(place), 'CURRENT')),
  'CURRENT empty': (place) => writeFileSync(join(index(place), 'CURRENT'), ''),
  'index folder gone': (place) => rmSync(index(place), { recursive: true }),
  'index folder emptied': (place) => readdirSync(index(place)).forEach((name) => unlinkSync(join(index(place), name))),
  'all tables cut to nothing': (place) => filesOf(place, /\.ldb$/).forEach((path) => truncateSync(path, 0)),
  'all tables gone': (place) => filesOf(place, /\.ldb$/).forEach((path) => unlinkSync(path)),
  'log gone': (place) => filesOf(place, /\.log$/).forEach((path) => unlinkSync(path)),
  'log emptied': (place) => filesOf(place, /\.log$/).forEach((path) => truncateSync(path, 0)),
  'log cut in half': (place) => filesOf(place, /\.log$/).forEach((path) => truncateSync(path, readFileSync(path).length >> 1)),
  'witness gone': (place) => unlinkSync(join(place.directory, 'generation')),
  'witness flipped': (place) => flipAt(join(place.directory, 'generation'), 0.7),
  'index and witness gone': (place) => {
    rmSync(index(place), { recursive: true })
    unlinkSync(join(place.directory, 'generation'))
  },
}
for (const share of [0.05, 0.3, 0.6, 0.95]) {
  damages[`log flipped at ${share}`] = (place) => filesOf(place, /\.log$/).forEach((path) => flipAt(path, share))
  damages[`tables flipped at ${share}`] = (place) => filesOf(place, /\.ldb$/).forEach((path) => flipAt(path, share))
}

void t.test('damage of the index', async (t) => {
  const original = new Place()
  t.teardown(() => original.remove())
  const filled = await fill(original)
  let told = 0
  for (const [name, damage] of Object.entries(damages)) {
    const place = new Place()
    cpSync(original.directory, place.directory, { recursive: true })
    damage(place)
    const spool = await place.open()
    const atOnce = spool.alarms().some((alarm) => alarm.code === 'INDEX_DAMAGED')
    told += atOnce ? 1 : 0
    if (!name.includes('flipped')) t.ok(atOnce, `${name}: told`)
    const held = await spool.show(filled.held)
    t.ok(held, `${name}: the held one is there`)
    const came = await deliver(t, spool, filled)
    t.same([...filled.waiting.keys()].filter((id) => !came.has(id)), [], `${name}: all that waited came`)
    t.same([...came].filter((id) => !filled.waiting.has(id) && id !== filled.held), [], `${name}: nothing else came`)
    t.notOk(spool.alarms().some((alarm) => alarm.code === 'OBJECT_MISSING'), `${name}: nothing is missing`)
    await spool.close()
    const again = await place.open()
    t.equal((await again.list({ destination: 'hub', state: 'queued' })).rows.length, 0, `${name}: and stays so`)
    await again.close()
    place.remove()
  }
  t.comment(`${told} of ${Object.keys(damages).length} were noticed at opening; a flip in a part no key depends on need not be`)
  t.ok(told >= 14)
})

void t.test('an old copy of the index put back is not believed', async (t) => {
  const place = new Place()
  t.teardown(() => place.remove())
  let spool = await place.open()
  const first = [await place.put(spool), await place.put(spool)]
  await spool.close()
  cpSync(index(place), join(place.directory, 'copy'), { recursive: true })
  spool = await place.open()
  t.equal((await place.take(spool)).length, 2)
  const later = await place.put(spool)
  await spool.close()
  rmSync(index(place), { recursive: true })
  renameSync(join(place.directory, 'copy'), index(place))
  spool = await place.open()
  t.match(spool.alarms(), [{ code: 'INDEX_DAMAGED' }], 'told, and what was delivered since is not called missing')
  t.same((await spool.list()).rows.map((row) => row.id), [later.facts.id])
  t.equal(await spool.show(first[0]?.facts.id as string), undefined)
  await spool.close()
})

void t.test('an index of another box is not believed', async (t) => {
  const place = new Place()
  const other = new Place()
  t.teardown(() => (place.remove(), other.remove()))
  let spool = await place.open()
  const mine = await place.put(spool)
  await spool.close()
  const strange = await other.open()
  await other.put(strange)
  await strange.close()
  rmSync(index(place), { recursive: true })
  cpSync(index(other), index(place), { recursive: true })
  spool = await place.open()
  t.match(spool.alarms(), [{ code: 'INDEX_DAMAGED' }])
  t.same((await spool.list()).rows.map((row) => row.id), [mine.facts.id])
  await spool.close()
})

void t.test('files: one that is gone, one that is altered, one that nobody knows', async (t) => {
  const place = new Place()
  t.teardown(() => place.remove())
  let spool = await place.open()
  const gone = await place.put(spool)
  const altered = await place.put(spool, { bytes: Buffer.alloc(5000, 7) })
  const whole = await place.put(spool)
  const paths = new Map((await spool.objects()).map((lease) => [lease.id, lease.path]))
  await spool.close()
  unlinkSync(paths.get(gone.facts.id) as string)
  flipAt(paths.get(altered.facts.id) as string, 0.7)
  spool = await place.open()
  t.match(spool.alarms(), [{ code: 'OBJECT_MISSING', count: 1 }])
  t.match((await spool.show(gone.facts.id))?.deliveries, [{ state: 'held', code: 'OBJECT_MISSING' }])
  const progress: unknown[] = []
  t.same(await spool.verify((done) => progress.push(done)), { sound: 1, damaged: 2 })
  t.equal(progress.length, 3)
  t.match((await spool.show(altered.facts.id))?.deliveries, [{ state: 'held', code: 'OBJECT_DAMAGED' }])
  t.same(await place.take(spool), [whole.facts.sopInstance])
  t.same(spool.alarms().map(({ code, count }) => ({ code, count })), [{ code: 'OBJECT_MISSING', count: 1 }, { code: 'OBJECT_DAMAGED', count: 1 }])
  t.equal(await spool.discard(gone.facts.id, undefined, 'sent again'), 1)
  await spool.close()
  // A stranger's file where objects are: set aside, not removed, not delivered.
  writeFileSync(paths.get(gone.facts.id) as string, Buffer.concat([Buffer.alloc(300, 1), Buffer.from([0, 0, 0, 40]), Buffer.from('SALLYEND')]))
  spool = await place.open()
  t.ok(spool.alarms().some((alarm) => alarm.code === 'FILES_SET_ASIDE'))
  t.notOk(existsSync(paths.get(gone.facts.id) as string))
  await spool.close()
})

void t.test('a row that turns bad while the spool runs', async (t) => {
  const place = new Place()
  t.teardown(() => place.remove())
  const spool = await place.open()
  const put = await place.put(spool)
  await spool.rebuild()
  t.match((await spool.show(put.facts.id)), { id: put.facts.id })
  const during = Promise.all([spool.rebuild(), ...Array.from({ length: 20 }, () => place.put(spool).catch(() => undefined))])
  const outcomes = (await during).slice(1).filter((one) => one !== undefined)
  t.comment(`${outcomes.length} of 20 were taken while the index was made anew`)
  const acknowledged = outcomes.filter((one) => one.outcome.kind === 'queued').map((one) => one.facts.id)
  const { rows } = await spool.list({ limit: 1000 })
  t.same(acknowledged.filter((id) => !rows.some((row) => row.id === id)), [])
  t.equal((await place.take(spool)).length, rows.length)
  await spool.close()
})
