import { Level } from 'level'
import t from 'tap'
import { spoolContract } from './contract.ts'
import type { SpoolPort, Trial } from './contract.ts'
import { Place, read, write } from './place.ts'
import type { Spool } from '../../firmware/spool/spool.ts'

class LevelTrial extends Place implements Trial {
  read = read
  override put(spool: SpoolPort, image = {}) {
    return super.put(spool as Spool, image)
  }
  override take(spool: SpoolPort, destination?: string, count?: number) {
    return super.take(spool as Spool, destination, count)
  }
}

void t.test('contract', async (t) => spoolContract(t, () => new LevelTrial()))

void t.test('a spool is of one process', async (t) => {
  const place = new Place()
  const spool = await place.open()
  await t.rejects(place.open(), 'a second one may not touch it')
  await place.put(spool)
  await spool.close()
  const again = await place.open()
  t.equal(again.totals().instances, 1)
  t.same(again.alarms(), [])
  await again.close()
  place.remove()
})

void t.test('a command at a bad moment is refused in words, not by a crash', async (t) => {
  const place = new Place()
  const spool = await place.open()
  await place.put(spool)
  const rebuilding = spool.rebuild()
  await t.rejects(spool.list(), { code: 'DISK_FAILED' })
  await t.rejects(spool.hold('hub', { sopClass: '1', transferSyntax: '2' }, { code: 'CONTEXT_REFUSED' }), { code: 'DISK_FAILED' })
  t.same(await spool.lease('hub', 1), [])
  await rebuilding
  t.equal((await spool.list()).rows.length, 1)
  await spool.close()
  place.remove()
})

void t.test('a destination that is not configured any more: what waits for it is held, and goes when it is back or a route leads on', async (t) => {
  const place = new Place()
  t.teardown(() => place.remove())
  const to = (...destinations: string[]) => destinations.map((destination) => ({ destination, priority: 'normal' as const }))
  let spool = await place.open({ destinations: ['old', 'other'] })
  const { facts } = await place.put(spool, { targets: to('old', 'other') })
  const { facts: rejected } = await place.put(spool, { targets: to('old') })
  const [, second] = await spool.lease('old', 2)
  t.equal(second?.id, rejected.id)
  await spool.settle(rejected.id, 'old', { event: 'rejected', code: 'REJECTED' })
  await spool.close()
  spool = await place.open({ destinations: ['other'], targets: () => to('other') })
  t.match(spool.countsOf('old'), { queued: 0, held: 2 })
  t.match((await spool.show(facts.id))?.deliveries, [{ destination: 'old', state: 'held', code: 'DESTINATION_UNKNOWN' }, { destination: 'other', state: 'queued' }])
  t.equal(await spool.retry({ id: facts.id, destination: 'old' }), 0, 'it goes nowhere else')
  await spool.close()
  spool = await place.open({ destinations: ['old', 'other'], targets: () => to('old') })
  t.match(spool.countsOf('old'), { queued: 1, held: 1 }, 'back: queued again, but for what was held for another reason')
  await spool.close()
  spool = await place.open({ destinations: ['new', 'other'], targets: () => to('new') })
  t.equal(await spool.retry({ destination: 'old' }), 2, 'a person sends it on by the route of now')
  t.match(spool.countsOf('old'), { queued: 0, held: 0 })
  t.same((await place.take(spool, 'new')).sort(), [facts.sopInstance, rejected.sopInstance].sort())
  t.same(await place.take(spool, 'other'), [facts.sopInstance])
  t.equal(spool.totals().instances, 0)
  await spool.close()
})

void t.test('what came without a route goes when there is one', async (t) => {
  const place = new Place()
  t.teardown(() => place.remove())
  let spool = await place.open({ destinations: ['hub'] })
  const facts = await write(await spool.slot('clinic'), {}, Date.now())
  await spool.close()
  spool = await place.open({ destinations: ['hub'], targets: () => [] })
  t.match(spool.countsOf('unrouted'), { held: 1 })
  await spool.close()
  spool = await place.open({ destinations: ['hub'] })
  t.same(await place.take(spool), [facts.sopInstance])
  await spool.close()
})

void t.test('more versions of one UID than are compared: the index still knows what it holds', async (t) => {
  const place = new Place()
  t.teardown(() => place.remove())
  let spool = await place.open()
  for (let count = 0; count < 70; count += 1) await place.put(spool, { sopInstance: '1.2.3.4', bytes: Buffer.from(String(count)) })
  for (const left of [40, 3, 0]) {
    await place.take(spool, 'hub', spool.totals().instances - left)
    await spool.close()
    spool = await place.open()
    t.same(spool.alarms(), [], `${left} are left`)
    t.equal(spool.totals().instances, left)
  }
  await spool.close()
})

void t.test('what is given up while it is being leased is not leased', async (t) => {
  const place = new Place()
  t.teardown(() => place.remove())
  const spool = await place.open()
  const { facts } = await place.put(spool)
  // The read that decides is answered late, as on a machine whose other threads get all the time.
  const { getMany } = Level.prototype as unknown as { getMany: (keys: string[]) => Promise<unknown> }
  let answer = (): void => undefined
  const late = new Promise<void>((resolve) => (answer = resolve))
  Level.prototype.getMany = async function (this: object, keys: string[]) {
    const values = await getMany.call(this, keys)
    if (keys.every((key) => key.startsWith('i/'))) await late
    return values
  } as never
  t.teardown(() => (Level.prototype.getMany = getMany as never))
  const leasing = spool.lease('hub', 1)
  await new Promise((resolve) => setTimeout(resolve, 50))
  t.equal(await spool.discard(facts.id, undefined, 'given up'), 1)
  answer()
  t.same(await leasing, [])
  t.equal(spool.countsOf('hub').forwarding, 0)
  await spool.close()
})
