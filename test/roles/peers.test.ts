/**
 * Real peers on both ends: what stock senders send arrives, and what stock receivers get is what
 * was sent. Who may not come in is told in the words his program prints, and named in the status.
 */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { dicomFiles, drained, keep, makeSide, startPair } from '../pair.ts'
import { certificates, type CertificateSet } from '../peers/certificates.ts'
import { part10 } from '../peers/dataset.ts'
import { dcmsend, echoscu, onlyTls, storescp, storescu } from '../peers/dcmtk.ts'
import { dimseScp, dimseScu } from '../peers/dimse.ts'
import { freePort, scratch, until } from '../peers/process.ts'
import { associate, type Association } from '../../firmware/dicom/requestor.ts'
import { VERIFICATION } from '../../firmware/dicom/sop-classes.ts'
import { LIMITS } from '../../firmware/domain/limits.ts'
import type { Status } from '../../firmware/supervisor/status.ts'
import { IMPLICIT } from './element.ts'
import { send } from './fidelity.ts'
import { writeStudy, type Study } from './study.ts'

const folder = scratch('study')

/** Files by SOP Instance UID. */
const arrived = (paths: readonly string[]): Map<string, Buffer> =>
  new Map(paths.map((path) => part10(readFileSync(path))).map(({ sopInstance, dataSet }) => [sopInstance, dataSet]))

/** An association with nothing on it. */
async function holdAssociation(port: number): Promise<Association> {
  const socket = connect({ port, host: '127.0.0.1' })
  await once(socket, 'connect')
  return associate(socket, { calledAe: 'BOX', callingAe: 'HOLDS', contexts: [{ abstractSyntax: VERIFICATION, transferSyntaxes: [IMPLICIT] }] }, LIMITS)
}

/** How many images of a study are there, byte for byte. */
function identical(study: Study, there: ReadonlyMap<string, Buffer>): number {
  return study.images.filter(({ sopInstance, dataSet }) => there.get(sopInstance)?.equals(dataSet) === true).length
}

t.test('stock senders into the box', async (t) => {
  const pair = await startPair()
  t.teardown(() => pair.stop())
  const port = pair.ports.box
  const studies: Study[] = []
  for (const noDelay of [false, true]) {
    const how = noDelay ? 'TCP_NODELAY=1' : 'stock'
    const echo = await echoscu({ port, noDelay })
    t.equal(echo.status, 0, `echoscu, ${how}: ${echo.output}`)
    for (const program of [storescu, dcmsend]) {
      const study = writeStudy(folder, 5)
      studies.push(study)
      const { status, output } = await program({ port, noDelay }, study.paths)
      t.equal(status, 0, `${program.name}, ${how}: ${status === 0 ? '' : output}`)
    }
  }
  // DCMTK 3.6.7 knows no IPv6.
  const last = writeStudy(folder, 5)
  studies.push(last)
  const { sent } = await send(port, last.paths, 'SALLYPORT', '[::1]')
  t.ok([...sent.values()].every(({ ok }) => ok), 'IPv6: our own sender')
  // dcmjs writes data sets anew as it sends them: it is asked for its statuses only.
  for (const host of ['127.0.0.1', '::1']) {
    t.strictSame((await dimseScu({ host, port }, writeStudy(folder, 3).paths)).statuses, [0, 0, 0], `dcmjs-dimse, ${host}: each is stored`)
    t.strictSame((await dimseScu({ host, port })).statuses, [0], `dcmjs-dimse, ${host}: echo`)
  }
  await drained(pair.box)
  await drained(pair.hub)
  const there = arrived(pair.files())
  for (const study of studies) t.equal(identical(study, there), 5, 'byte for byte at the hub')
  t.equal(there.size, studies.length * 5 + 6)
  const { knocks, listeners } = await pair.box.status()
  t.strictSame(knocks, [], 'nobody was refused')
  t.equal(listeners[0]?.associations, 0, 'and all have left')
})

t.test('from the box to storescp, which checks our certificate, and to dcmjs-dimse', async (t) => {
  // RSA: the suites that DCMTK allows with TLS 1.2 know no other.
  const set = certificates('north', 'rsa')
  const { ca, box: identity, hub } = set
  const checked = { identity: hub, ca: ca.cert, crl: ca.crl }
  const ends = {
    tls12: await storescp({ tls: { ...checked, openssl: onlyTls('1.2') } }),
    tls13: await storescp({ tls: { ...checked, openssl: onlyTls('1.3') } }),
    plain: await storescp(),
    stock: await storescp({ noDelay: true }),
  }
  const dimse = await dimseScp()
  const dimseTls = await dimseScp({ tls: { identity: hub, caPem: ca.certPem } })
  const peers = { ...ends, dimse, 'dimse-tls': dimseTls }
  const lan = await freePort()
  const names = Object.keys(peers)
  const box = makeSide('box', {
    tenant: 'north',
    listeners: [{ name: 'lan', port: lan }],
    destinations: Object.entries(peers).map(([name, peer]) => ({
      name, kind: /tls/.test(name) ? 'dicom-tls' : 'dicom', host: 'localhost', port: peer.port, calledAe: 'FAR',
    })),
    routes: [{ to: names }],
  })
  keep(join(box.folder, 'credentials', 'link'), identity, ca)
  t.teardown(() => Promise.all([box.stop(), ...Object.values(peers).map((peer) => peer.stop())]))
  await box.start()
  const study = writeStudy(folder, 12)
  await send(lan, study.paths)
  await drained(box)
  for (const [name, scp] of Object.entries(ends)) t.equal(identical(study, arrived(scp.files())), 12, `${name}: byte for byte`)
  for (const [name, scp] of Object.entries({ dimse, dimseTls })) {
    const there = new Map(scp.files().map((path) => [path.slice(path.lastIndexOf('/') + 1), readFileSync(path)]))
    t.equal(identical(study, there), 12, `${name}: byte for byte`)
  }
  // storescp serves one association after the other, and the box still holds one: the test of the link must not stand behind it.
  for (const [name, version] of [['tls12', 'TLSv1.2'], ['tls13', 'TLSv1.3']] as const) {
    const { status, output } = await box.cli('link', 'test', name)
    t.equal(status, 0, name)
    t.match(output, new RegExp(`ok +tls +\\d+ ms +${version} .*hub until`), output)
  }
  t.equal((await box.receipts()).filter(({ sentAs, end }) => sentAs === undefined && end === 'delivered').length, 12 * names.length)
})

t.test('who may not come in is told why, and named', async (t) => {
  const set: CertificateSet = certificates()
  const { ca } = set
  const lines = { box: await freePort(), called: await freePort(), calling: await freePort(), peer: await freePort(), tls: await freePort() }
  const listeners = [
    { name: 'called', port: lines.called, aeTitles: ['ARCHIVE', 'STORE2'] },
    { name: 'calling', port: lines.calling, callers: ['CT1'] },
    { name: 'peer', port: lines.peer, peers: ['192.0.2.0/24', '2001:db8::/32'] },
    { name: 'tls', protocol: 'dicom-tls', port: lines.tls, certificates: ['box'] },
    { name: 'unrouted', port: lines.box },
  ]
  const box = makeSide('box', {
    tenant: 'north',
    listeners,
    destinations: [{ name: 'kept', kind: 'folder', path: 'kept' }],
    routes: ['called', 'calling', 'peer', 'tls'].map((listener) => ({ listener, to: ['kept'] })),
  })
  keep(join(box.folder, 'credentials', 'listener'), ca.issue('box-listener', { dns: ['localhost'], use: 'server' }), ca)
  t.teardown(() => box.stop())
  await box.start()

  const knock = async (listener: string, code: string): Promise<Status['knocks'][number] | undefined> =>
    until(`${listener} to name ${code}`, async () => {
      const { output } = await box.cli('status', '--json')
      return (JSON.parse(output) as Status).knocks.find((one) => one.listener === listener && one.code === code)
    })
  const refused = async (listener: string, options: Parameters<typeof echoscu>[0], wanted: { code: string; says: RegExp; sentence: RegExp }) => {
    const { status, output } = await echoscu(options)
    t.not(status, 0, `${listener}: refused`)
    t.match(output, wanted.says, `${listener}: ${output.replaceAll('\n', ' ')}`)
    const found = await knock(listener, wanted.code)
    t.match(found, { peer: '127.0.0.1', callingAe: options.calling ?? 'MODALITY', calledAe: options.called ?? 'SALLYPORT', times: 1, sentence: wanted.sentence }, `${listener}: in the status`)
    t.ok(found?.remedy, `${listener}: with a remedy`)
    t.match(box.log('refused').filter((line) => line.listener === listener), [{ code: wanted.code, callingAe: options.calling ?? 'MODALITY' }], `${listener}: in the log`)
  }
  const permanent = (reason: string) => new RegExp(`Rejected Permanent, Source: Service User\\s+F: Reason: ${reason}`)
  await refused('called', { port: lines.called }, { code: 'CALLED_AE_UNKNOWN', says: permanent('Called AE Title Not Recognized'), sentence: /SALLYPORT/ })
  t.match(await knock('called', 'CALLED_AE_UNKNOWN'), { remedy: /ARCHIVE, STORE2/ })
  await refused('calling', { port: lines.calling, calling: 'CT2' }, { code: 'CALLING_AE_UNKNOWN', says: permanent('Calling AE Title Not Recognized'), sentence: /CT2/ })
  await refused('peer', { port: lines.peer }, { code: 'PEER_UNKNOWN', says: permanent('No Reason'), sentence: /127\.0\.0\.1/ })
  await refused('unrouted', { port: lines.box }, { code: 'ROUTE_MISSING', says: permanent('No Reason'), sentence: /unrouted/ })
  await refused('tls', { port: lines.tls, tls: { identity: set.other, ca: ca.cert } }, { code: 'CERTIFICATE_UNKNOWN', says: permanent('No Reason'), sentence: /other/ })

  for (const [what, options] of Object.entries({
    called: { port: lines.called, called: 'STORE2' },
    calling: { port: lines.calling, calling: 'CT1' },
    tls: { port: lines.tls, tls: { identity: set.box, ca: ca.cert } },
  })) t.equal((await echoscu(options)).status, 0, `${what}: who may come in does`)
  t.equal((await echoscu({ port: lines.calling, calling: 'CT2' })).status, 1)
  await until('the same caller to count up', async () => (await box.status()).knocks.find(({ code }) => code === 'CALLING_AE_UNKNOWN')?.times === 2)
  t.strictSame(dicomFiles(join(box.folder, 'kept')), [])
})

t.test('all associations taken: told to come again, and served as soon as one leaves', async (t) => {
  const port = await freePort()
  const box = makeSide('box', {
    tenant: 'north',
    listeners: [{ name: 'lan', port }],
    destinations: [{ name: 'kept', kind: 'folder', path: 'kept' }],
    routes: [{ to: ['kept'] }],
    limits: { associationsPerPeer: 2 },
  })
  t.teardown(() => box.stop())
  await box.start()
  const [one, other] = await Promise.all([holdAssociation(port), holdAssociation(port)])
  const { output } = await echoscu({ port })
  t.match(output, /Rejected Transient, Source: Service Provider \(Presentation( Related)?\)\s+F: Reason: Local Limit Exceeded/i, output)
  await until('it to be named', async () => (await box.status()).knocks.find(({ code }) => code === 'ASSOCIATIONS_PER_PEER_FULL'))
  await one.release()
  await until('the next to be let in', async () => (await echoscu({ port })).status === 0)
  await other.release()
})
