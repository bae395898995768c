/**
 * A folder as destination: whole files under their own names, other bytes beside them, nothing
 * ever replaced, and a folder that fails says so.
 */
import fs from 'node:fs'
import path from 'node:path'
import t from 'tap'
import type { Lease } from '../../firmware/domain/spool.ts'
import type { ObjectSource } from '../../firmware/forward/outlet.ts'
import { FolderTransport } from '../../firmware/forward/folder/transport.ts'
import { Fault } from '../../firmware/domain/errors.ts'
import { dataSetOf } from '../peers/dataset.ts'

const facts = (id: string, more: Partial<ObjectSource['facts']> = {}): ObjectSource['facts'] => ({
  id, tenant: 'north', sopClass: '1.2.840.10008.5.1.4.1.1.2', sopInstance: '1.2.3.4', transferSyntax: '1.2.840.10008.1.2.1',
  source: { listener: 'lan', callingAe: 'CT1', calledAe: 'BOX', peer: '127.0.0.1' }, receivedAt: 0,
  bytes: 0, digest: '', study: '1.2', series: '1.2.3', ...more,
})
const source = (of: ObjectSource['facts'], pieces: readonly Buffer[], fail?: Fault): ObjectSource => ({
  facts: of,
  close: () => Promise.resolve(),
  async *[Symbol.asyncIterator]() {
    yield* pieces
    if (fail) throw fail
  },
})
const id = (n: number): string => `0${String(n).padStart(25, '0')}`
const send = async (transport: FolderTransport, object: ObjectSource) => (await transport.open()).send({ id: object.facts.id } as Lease, object)
const files = (folder: string): string[] => fs.readdirSync(folder, { recursive: true, withFileTypes: true }).filter((e) => e.isFile()).map((e) => e.name).sort()

t.test('one file for each instance, versions beside it, a repetition adds nothing', async (t) => {
  const top = path.join(t.testdir(), 'out')
  const transport = new FolderTransport(top)
  const one = [Buffer.from('first '), Buffer.from('bytes')]
  const stored = await send(transport, source(facts(id(1)), one))
  t.equal(stored.event, 'stored')
  const file = path.join(top, 'north', '1.2', '1.2.3', '1.2.3.4.dcm')
  t.equal(stored.hop, file)
  t.same(dataSetOf(file), Buffer.concat(one))
  t.equal((await send(transport, source(facts(id(2)), one))).hop, file, 'the same bytes again are the same file')
  t.equal((await send(transport, source(facts(id(3)), [Buffer.from('other bytes')]))).hop, file.replace('.dcm', '.v2.dcm'))
  t.equal((await send(transport, source(facts(id(4)), [Buffer.from('other bytes')]))).hop, file.replace('.dcm', '.v2.dcm'))
  t.same(dataSetOf(file), Buffer.concat(one), 'the first is as it was')
  t.same(files(top), ['1.2.3.4.dcm', '1.2.3.4.v2.dcm'])
})

t.test('a folder that was taken away meanwhile is made again', async (t) => {
  const top = path.join(t.testdir(), 'out')
  const transport = new FolderTransport(top)
  t.match(await send(transport, source(facts(id(1)), [Buffer.from('bytes')])), { event: 'stored' })
  // As an archive does that imports a folder and clears it.
  fs.rmSync(path.join(top, 'north'), { recursive: true })
  t.match(await send(transport, source(facts(id(2)), [Buffer.from('bytes')])), { event: 'stored' })
  t.same(files(top), ['1.2.3.4.dcm'])
})

t.test('many writers of one name at once: each version once', async (t) => {
  const top = path.join(t.testdir(), 'out')
  const transport = new FolderTransport(top)
  const outcomes = await Promise.all(Array.from({ length: 24 }, (_, n) => send(transport, source(facts(id(n)), [Buffer.from(`version ${n % 3}`)]))))
  t.ok(outcomes.every((outcome) => outcome.event === 'stored'))
  t.same(files(top), ['1.2.3.4.dcm', '1.2.3.4.v2.dcm', '1.2.3.4.v3.dcm'])
})

t.test('what a crash left is cleared without touching the delivered file', async (t) => {
  const top = path.join(t.testdir(), 'out')
  const transport = new FolderTransport(top)
  const bytes = [Buffer.from('whole')]
  const { hop = '' } = await send(transport, source(facts(id(1)), bytes))
  // Killed between giving the name and taking the other one away: two names of one file.
  fs.linkSync(hop, path.join(path.dirname(hop), `.${id(1)}.part`))
  const inode = fs.statSync(hop).ino
  t.equal((await send(transport, source(facts(id(1)), bytes))).hop, hop)
  t.equal(fs.statSync(hop).ino, inode)
  t.same(dataSetOf(hop), bytes[0])
  t.same(files(top), ['1.2.3.4.dcm'])
})

t.test('a damaged object leaves no file; names out of the ordinary stay inside the folder', async (t) => {
  const top = path.join(t.testdir(), 'out')
  const transport = new FolderTransport(top)
  const damaged = source(facts(id(1)), [Buffer.from('half')], new Fault('OBJECT_DAMAGED', { detail: 'chunk 1' }))
  await t.rejects(send(transport, damaged), { code: 'OBJECT_DAMAGED' })
  t.same(files(top), [])
  const { hop = '' } = await send(transport, source(facts(id(2), { study: '../../etc', series: '' }), [Buffer.from('x')]))
  t.equal(hop, path.join(top, 'north', 'unnamed', 'unnamed', '1.2.3.4.dcm'))
})

t.test('a folder that cannot be written says so, and again can when it can', async (t) => {
  const home = t.testdir({ out: 'a file where the folder should be' })
  const transport = new FolderTransport(path.join(home, 'out'))
  await t.rejects(transport.open(), { code: 'FOLDER_FAILED' })
  fs.rmSync(path.join(home, 'out'))
  const carrier = await transport.open()
  fs.rmSync(path.join(home, 'out'), { recursive: true })
  fs.writeFileSync(path.join(home, 'out'), '')
  const object = source(facts(id(1)), [Buffer.from('x')])
  const outcome = await carrier.send({ id: id(1) } as Lease, object)
  t.match(outcome, { event: 'refused', code: 'FOLDER_FAILED' })
  t.notOk(carrier.alive, 'the next image asks for another')
  fs.rmSync(path.join(home, 'out'))
  t.equal((await send(transport, object)).event, 'stored')
})
