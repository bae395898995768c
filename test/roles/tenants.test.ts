/**
 * Whose images are whose, on the way there and back, and what strangers on the way can read.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { InstanceRow } from '../../firmware/domain/spool.ts'
import { dicomFiles, drained, startPair } from '../pair.ts'
import { capture, type Capture } from '../peers/capture.ts'
import { certificates } from '../peers/certificates.ts'
import { corpus } from '../peers/corpus.ts'
import { part10 } from '../peers/dataset.ts'
import { dcmsend, storescp, storescu } from '../peers/dcmtk.ts'
import { freePort, scratch, until } from '../peers/process.ts'
import { send } from './fidelity.ts'
import { writeStudy } from './study.ts'

const folder = scratch('study')
const { present, sentence, series } = corpus()

t.test('the way back: from the PACS at the hub to a plain device in the clinic', async (t) => {
  const device = await storescp({ aet: 'WORKSTATION', noDelay: true })
  const pair = await startPair({
    box: {
      destinations: [{ name: 'device', kind: 'dicom', host: '127.0.0.1', port: device.port, calledAe: 'WORKSTATION' }],
      routes: [{ listener: 'from-hub', to: ['device'] }],
    },
  })
  t.teardown(() => Promise.all([pair.stop(), device.stop()]))
  const study = writeStudy(folder, 8)
  const paths = [...study.paths, ...series.slice(0, 12)]
  t.comment(present ? sentence : `without the corpus: ${sentence}`)
  const { sent } = await send(pair.ports.hub, paths)
  t.ok(paths.every((path) => sent.get(path)?.ok === true), 'the hub takes them for the tenant of its listener')
  await drained(pair.hub)
  await drained(pair.box)
  const there = device.files().map((path) => part10(readFileSync(path)))
  for (const path of paths) {
    const wanted = part10(readFileSync(path))
    t.ok(there.some((one) => one.sopInstance === wanted.sopInstance && one.transferSyntax === wanted.transferSyntax && one.dataSet.equals(wanted.dataSet)), 'byte for byte')
  }
  t.equal(there.length, paths.length, 'and nothing else')
  t.ok((await pair.box.receipts()).every(({ tenant }) => tenant === pair.certificates.tenant))
})

t.test('two clinics, the same UIDs: two things', async (t) => {
  const set = certificates()
  const { ca, tenant } = set
  const other = `${tenant}-2`
  const pair = await startPair({ certificates: set })
  t.teardown(() => pair.stop())
  const { hub } = pair
  // What one destination takes, the other, which is not there, keeps waiting.
  await hub.stop()
  hub.configure({
    destinations: [
      { name: 'delivered', kind: 'folder', path: 'delivered' },
      { name: 'pacs', kind: 'dicom', host: '127.0.0.1', port: await freePort(), calledAe: 'PACS' },
    ],
    routes: [{ listener: 'boxes', to: ['delivered', 'pacs'] }, { listener: 'pacs', to: ['pacs'] }],
  })
  await hub.start()
  const study = writeStudy(folder, 4)
  const port = pair.ports.hubTls
  for (const identity of [set.box, set.other]) t.equal((await storescu({ port, tls: { identity, ca: ca.cert } }, study.paths)).status, 0)
  await until('both to be in the folder', () => pair.files().length === 8)
  for (const name of [tenant, other]) {
    const there = dicomFiles(join(pair.delivered, name)).map((path) => part10(readFileSync(path)))
    for (const { sopInstance, dataSet } of study.images) t.ok(there.some((one) => one.sopInstance === sopInstance && one.dataSet.equals(dataSet)), `${name}: in a folder of its own`)
    t.equal(there.length, 4)
  }
  const ids: string[][] = []
  for (const name of [tenant, other]) {
    const { output } = await hub.cli('queue', 'list', '--json', '--tenant', name)
    const rows = output.trim().split('\n').map((line) => JSON.parse(line) as InstanceRow)
    t.strictSame([...new Set(rows.map((row) => row.tenant))], [name], `${name} sees its own only`)
    t.strictSame(rows.map(({ sopInstance }) => sopInstance).sort(), study.images.map(({ sopInstance }) => sopInstance).sort(), 'and all of it')
    t.ok(rows.every(({ version }) => version === 1), 'the first of its name')
    ids.push(rows.map(({ id }) => id))
  }
  t.equal(new Set(ids.flat()).size, 8, 'nothing is shared')
  t.match((await hub.status()).received, { instances: 8, duplicates: 0, versions: 0 }, 'neither is a duplicate or a version of the other')
  t.equal((await storescu({ port, tls: { identity: set.other, ca: ca.cert } }, study.paths)).status, 0, 'sent again by one')
  t.match((await hub.status()).received, { instances: 8, duplicates: 4 }, 'it is a duplicate of its own')
})

t.test('on the WAN nothing of the patient can be read', async (t) => {
  const pair = await startPair()
  t.teardown(() => pair.stop())
  let [lan, wan]: (Capture | undefined)[] = []
  try {
    lan = await capture(`tcp port ${pair.ports.box}`)
    wan = await capture(`tcp port ${pair.ports.hubTls}`)
  } catch (error) {
    await lan?.stop()
    return t.pass(`no capture without the right to (CAP_NET_RAW): ${(error as Error).message.split('\n')[0]}`)
  }
  const study = writeStudy(folder, 10)
  t.equal((await dcmsend({ port: pair.ports.box, noDelay: true }, study.paths)).status, 0)
  await drained(pair.box)
  await drained(pair.hub)
  t.equal(pair.files().length, 10)
  const [inside, outside] = [await lan.stop(), await wan.stop()]
  const secrets: Record<string, string | Buffer> = { ...study.secrets }
  study.images.forEach(({ sopInstance }, index) => (secrets[`SOP instance UID ${index}`] = sopInstance))
  for (const [what, secret] of Object.entries(secrets)) {
    t.ok(inside.contains(secret), `${what}: in the clear on the LAN`)
    t.notOk(outside.contains(secret), `${what}: not on the WAN`)
  }
  t.ok(outside.bytes > 10 * 20_000, `${outside.bytes} bytes seen on the WAN`)
  t.ok(outside.contains(Buffer.from('160301', 'hex')), 'a TLS handshake among them')
  for (const { role, tree } of [pair.box, pair.hub]) t.notOk(tree.output().includes(study.secrets.name), `nor in the log of the ${role}`)
})
