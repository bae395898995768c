/**
 * The instruments themselves: if these lie, every other test does.
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { capture } from './capture.ts'
import { certificates } from './certificates.ts'
import { corpus, readable } from './corpus.ts'
import { dataSetOf, part10 } from './dataset.ts'
import { dcmsend, echoscu, storescp, storescu } from './dcmtk.ts'
import { dimseScp, dimseScu } from './dimse.ts'
import { orthanc } from './orthanc.ts'
import { answersOn, descendants, finish, freePort, scratch, start, until } from './process.ts'

const { present, sentence, series } = corpus()
t.comment(sentence)
/**
 * A few real files, rewritten by DCMTK with explicit lengths: only such does it send without
 * changing them. Without the corpus, one that DCMTK makes, so that every test below still runs.
 */
function samples(): string[] {
  const folder = scratch('sample')
  const made = (index: number) => join(folder, `${index}.dcm`)
  if (present) {
    for (const [index, path] of series.slice(0, 3).entries()) spawnSync('dcmconv', ['+te', '+e', path, made(index)])
    return [made(0), made(1), made(2)]
  }
  const dump = join(folder, 'a.dump')
  writeFileSync(dump, '(0008,0016) UI 1.2.840.10008.5.1.4.1.1.7\n(0008,0018) UI 1.2.3.4\n(0010,0010) PN Sample\n(0020,000d) UI 1.2.3\n(0020,000e) UI 1.2.3.1\n')
  spawnSync('dump2dcm', ['+te', dump, made(0)])
  return [made(0)]
}
const files = samples()
const wanted = new Map(files.map((path) => [part10(readFileSync(path)).sopInstance, dataSetOf(path)]))
const set = certificates()

t.test('data sets of the corpus lie where dcmdump sees them', async (t) => {
  const all = readable(present ? [...corpus().mixed, ...series.slice(0, 2)] : files)
  t.ok(all.length >= (present ? 80 : 1), `${all.length} readable files`)
  for (const file of all.slice(0, 12)) {
    const { output } = await finish('dcmdump', ['-q', '+P', '0002,0010', '+P', '0002,0003', '-Un', file.path])
    t.ok(output.includes(file.transferSyntax) && output.includes(file.sopInstance), file.name)
  }
  t.throws(() => part10(Buffer.alloc(200)), 'not Part 10')
})

t.test('plain: what DCMTK sends, +B receives byte for byte', async (t) => {
  const scp = await storescp({ noDelay: true })
  t.teardown(() => scp.stop())
  const echo = await echoscu({ port: scp.port })
  t.equal(echo.status, 0, 'echo')
  const sent = await dcmsend({ port: scp.port, noDelay: true }, files)
  t.equal(sent.status, 0, sent.output)
  t.equal(scp.files().length, files.length)
  for (const path of scp.files()) {
    const got = part10(readFileSync(path))
    t.ok(wanted.get(got.sopInstance)?.equals(got.dataSet), got.sopInstance)
  }
  await scp.stop()
  t.not((await echoscu({ port: scp.port })).status, 0, 'stopped means gone')
})

t.test('mutual TLS: each kind of certificate does what its name says', async (t) => {
  const { ca, hub } = set
  const scp = await storescp({ tls: { identity: hub, ca: ca.cert, crl: ca.crl } })
  t.teardown(() => scp.stop())
  const knock = async (name: 'box' | 'expired' | 'notYetValid' | 'revoked' | 'foreign' | 'tenantless') =>
    (await echoscu({ port: scp.port, tls: { identity: set[name], ca: ca.cert } })).status === 0
  t.equal(await knock('box'), true, 'box')
  t.equal(await knock('tenantless'), true, 'tenantless: valid, but says no tenant')
  for (const name of ['expired', 'notYetValid', 'revoked', 'foreign'] as const) t.equal(await knock(name), false, name)
  t.not((await echoscu({ port: scp.port, tls: { ca: ca.cert } })).status, 0, 'no certificate')
  t.not((await echoscu({ port: scp.port, tls: { identity: set.box, ca: set.wrongCa.cert } })).status, 0, 'hub from the wrong CA')
  const text = spawnSync('openssl', ['x509', '-in', set.box.cert, '-noout', '-ext', 'subjectAltName'], { encoding: 'utf8' }).stdout
  t.match(text, 'URI:urn:sallyport:tenant:north')

  const stale = await storescp({ tls: { identity: hub, ca: ca.cert, crl: ca.writeCrl(`${ca.crl}.stale`, new Date(Date.now() - 3600_000)) } })
  t.teardown(() => stale.stop())
  t.not((await echoscu({ port: stale.port, tls: { identity: set.box, ca: ca.cert } })).status, 0, 'expired revocation list')
})

t.test('tcpdump reads plain DICOM and cannot read TLS', async (t) => {
  if (process.getuid?.() !== 0) return t.comment('capture needs root')
  const { box, hub, ca } = set
  for (const secret of [false, true]) {
    const scp = await storescp(secret ? { tls: { identity: hub, ca: ca.cert } } : {})
    t.teardown(() => scp.stop())
    const seen = await capture(`tcp port ${scp.port}`)
    await storescu({ port: scp.port, ...(secret ? { tls: { identity: box, ca: ca.cert } } : {}) }, files)
    const recording = await seen.stop()
    t.ok(recording.bytes > 1000, 'something was sent')
    for (const uid of wanted.keys()) t.equal(recording.contains(uid), !secret, `${uid} ${secret ? 'hidden' : 'seen'}`)
  }
})

t.test('Orthanc stores, gives back, forgets, and routes on over TLS', async (t) => {
  const { box, hub, ca } = set
  const next = await storescp({ tls: { identity: hub, ca: ca.cert } })
  t.teardown(() => next.stop())
  const pacs = await orthanc({
    modalities: { next: { aet: 'NEXT', port: next.port, tls: true } },
    autoRoute: ['next'],
    tls: { identity: box, ca: ca.cert },
  })
  t.teardown(() => pacs.stop())
  t.equal((await storescu({ port: pacs.port, called: pacs.aet }, files)).status, 0)
  const ids = await pacs.instances()
  t.equal(ids.length, files.length)
  const back = part10(await pacs.file(ids[0] ?? ''))
  t.ok(wanted.get(back.sopInstance)?.equals(back.dataSet), 'given back as stored')
  await until('routed on', () => next.files().length === files.length, 30_000)
  t.equal(await pacs.send('next', ids.slice(0, 1)), true, 'sent on demand')
  await pacs.remove(ids[0] ?? '')
  t.equal((await pacs.instances()).length, files.length - 1)
  t.equal(await pacs.upload(readFileSync(files[0] ?? '')).then((id) => ids.includes(id)), true, 'uploaded again')
  await t.rejects(pacs.file('nothing'), 'HTTP errors are not silent')
  await next.stop()
  t.equal(await pacs.send('next', ids.slice(0, 1)), false, 'a dead modality is told')
})

t.test('dcmjs-dimse receives as it came and reports statuses', async (t) => {
  const tls = { caPem: set.ca.certPem }
  const scp = await dimseScp({ tls: { ...tls, identity: set.hub } })
  t.teardown(() => scp.stop())
  const echo = await dimseScu({ port: scp.port, tls: { ...tls, identity: set.box } })
  t.same(echo.statuses, [0], echo.output)
  t.same((await dimseScu({ port: scp.port, tls: { ...tls, identity: set.foreign } })).statuses, [-1], 'wrong CA')
  const sent = await storescu({ port: scp.port, tls: { identity: set.box, ca: set.ca.cert } }, files)
  t.equal(sent.status, 0, sent.output)
  t.equal(scp.files().length, files.length)
  for (const path of scp.files()) t.ok(wanted.get(path.slice(path.lastIndexOf('/') + 1))?.equals(readFileSync(path)), 'byte for byte')

  const full = await dimseScp({ status: 0xa700 })
  t.teardown(() => full.stop())
  const refused = await dimseScu({ port: full.port }, files)
  t.same(refused.statuses, files.map(() => 0xa700), refused.output)
})

t.test('what is started is stopped, with its children, and its words are kept', async (t) => {
  const peer = await start('sh', ['-c', 'echo ready; sleep 1000 & wait'], { ready: /ready/ })
  const [child] = descendants(peer.pid)
  t.ok(child, 'the sleep is its descendant')
  t.same(await peer.stop(), { code: null, signal: 'SIGTERM' })
  await until('the sleep to end', () => !descendants(process.pid).includes(child ?? 0) && spawnSync('ps', ['-p', String(child)]).status !== 0)
  await t.rejects(start('sh', ['-c', 'echo no room >&2; exit 3'], { ready: /ready/ }), { message: /ended with 3.*\nno room/s })
  await t.rejects(start('sallyport-no-such-program', [], { ready: /ready/ }), { message: /ENOENT/ })
  t.equal((await finish('sleep', ['1000'], { millis: 50 })).status, -1, 'bounded')
  t.equal(await answersOn(await freePort()), false)
  mkdirSync(join(scratch(), 'writable'))
  await t.rejects(until('never', () => false, 1), { message: 'never: not within 0.001 s' })
})
