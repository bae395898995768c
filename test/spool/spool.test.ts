import t from 'tap'
import { spoolContract } from './contract.ts'
import type { SpoolPort, Trial } from './contract.ts'
import { Place, read } from './place.ts'
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
