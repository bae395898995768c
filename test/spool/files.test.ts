/**
 * Object files whose rows are gone, that are not what their names say, that cannot be understood:
 * what is whole is taken in, and nothing is removed of which it is not certain that it may go.
 */
import { cpSync, existsSync, readFileSync, readdirSync, renameSync, unlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'
import type { Lease } from '../../firmware/domain/spool.ts'
import { ObjectFiles } from '../../firmware/spool/files.ts'
import { newObjectId } from '../../firmware/spool/object/id.ts'
import { Place, read, write } from './place.ts'

function flip(path: string): void {
  const bytes = readFileSync(path)
  const at = Math.floor(bytes.length * 0.7)
  bytes[at] = (bytes[at] as number) ^ 1
  writeFileSync(path, bytes)
}

void t.test('the only sound copy is never taken for a repetition of one that is not', async (t) => {
  for (const [name, spoil] of [['gone', unlinkSync], ['altered', flip]] as const) {
    const place = new Place()
    let spool = await place.open()
    const image = { sopInstance: '1.2.3.9', bytes: Buffer.alloc(5000, 7) }
    await place.put(spool, image)
    const [spoilt] = await spool.objects()
    // Complete, and its row was never written.
    const again = await write(await spool.slot('clinic'), image, Date.now())
    await spool.close()
    spoil(spoilt?.path as string)
    spool = await place.open()
    t.ok((await spool.list()).rows.some((row) => row.id === again.id), `the first is ${name}: the second is taken in`)
    const [lease] = (await spool.lease('hub', 2)).filter((one) => one.id === again.id)
    t.same(await read(lease as Lease), image.bytes)
    await spool.close()
    place.remove()
  }
})

void t.test('a key that is missing: what it opens waits for it, and what comes meanwhile is safe with another', async (t) => {
  const place = new Place()
  t.teardown(() => place.remove())
  const keys = join(place.directory, 'keys')
  let spool = await place.open()
  const before = await place.put(spool)
  await spool.close()
  renameSync(keys, `${keys}.elsewhere`)
  spool = await place.open()
  const during = await place.put(spool)
  t.same(await place.take(spool), [during.facts.sopInstance])
  for (let count = 0; count < 100 && spool.countsOf('hub').held === 0; count += 1) await new Promise((resolve) => setTimeout(resolve, 20))
  t.match(spool.alarms(), [{ code: 'OBJECT_DAMAGED', count: 1 }])
  const later = await place.put(spool)
  await spool.close()
  cpSync(`${keys}.elsewhere`, keys, { recursive: true })
  spool = await place.open()
  t.equal(await spool.retry({}), 1)
  t.same((await place.take(spool)).sort(), [before.facts.sopInstance, later.facts.sopInstance].sort())
  await spool.close()
})

void t.test('what cannot be understood is set aside and never removed, however much it is', async (t) => {
  const place = new Place()
  t.teardown(() => place.remove())
  let spool = await place.open()
  const [lease] = await place.put(spool).then(() => spool.objects())
  const folder = dirname(lease?.path as string)
  await spool.close()
  const strange = Buffer.concat([Buffer.alloc(300, 1), Buffer.from([0, 0, 0, 40]), Buffer.from('SALLYEND')])
  const count = 1100
  const id = lease?.id as string
  for (let number = 0; number < count; number += 1) writeFileSync(join(folder, `${id.slice(0, 10)}${String(number).padStart(16, '0')}.obj`), strange)
  spool = await place.open()
  t.match(spool.alarms(), [{ code: 'FILES_SET_ASIDE', count }])
  t.equal(readdirSync(join(place.directory, 'quarantine')).length, count)
  t.equal(spool.countsOf('hub').queued, 1)
  await spool.close()
})

void t.test('a file is known by what it says, not by its name', async (t) => {
  const place = new Place()
  t.teardown(() => place.remove())
  let spool = await place.open()
  await place.put(spool)
  const [lease] = await spool.objects()
  await spool.close()
  const { path, id } = lease as Lease
  const other = `${id.slice(0, -1)}${id.endsWith('0') ? '1' : '0'}`
  cpSync(path, path.replace(id, other))
  spool = await place.open()
  t.match(spool.alarms(), [{ code: 'FILES_SET_ASIDE', count: 1 }], 'a copy under another name is set aside')
  t.equal((await place.take(spool)).length, 1)
  await spool.close()
})

void t.test('an id that is taken: the object that has it stays', async (t) => {
  const place = new Place()
  t.teardown(() => place.remove())
  const files = await ObjectFiles.open(place.directory)
  const [taken, free] = [newObjectId(Date.now()), newObjectId(Date.now())]
  await files.prepare([taken])
  writeFileSync(files.pathOf(taken), 'an object')
  await t.rejects(files.prepare([free, taken]), { code: 'EEXIST' })
  t.equal(readFileSync(files.pathOf(taken), 'utf8'), 'an object')
  t.notOk(existsSync(files.pathOf(free)), 'and the others are not left behind')
})
