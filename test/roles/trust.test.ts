/**
 * Certificates where it counts: at the hub's door, at the box's far sides, and exchanged while
 * images travel. Whatever is wrong is named to whoever can mend it.
 */
import { once } from 'node:events'
import { createServer as createWebServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import t from 'tap'
import { associate, type Association } from '../../firmware/dicom/requestor.ts'
import { VERIFICATION } from '../../firmware/dicom/sop-classes.ts'
import { LIMITS } from '../../firmware/domain/limits.ts'
import type { Status } from '../../firmware/supervisor/status.ts'
import { dicomFiles, drained, keep, makeSide, startPair } from '../pair.ts'
import { certificates, type Identity, type IssueOptions } from '../peers/certificates.ts'
import { echoscu, onlyTls, storescp, storescu, type StorescpOptions } from '../peers/dcmtk.ts'
import { answersOn, finish, freePort, scratch, until } from '../peers/process.ts'
import { IMPLICIT } from './element.ts'
import { send } from './fidelity.ts'
import { writeStudy } from './study.ts'

const DAY = 24 * 3600_000
const folder = scratch('study')

t.test('at the hub: who is let in, into which folder; who is not, and by what name', async (t) => {
  // RSA: the suites that DCMTK allows with TLS 1.2 know no other.
  const set = certificates('north', 'rsa')
  const { ca } = set
  const pair = await startPair({ certificates: set })
  t.teardown(() => pair.stop())
  const { hub } = pair
  const port = pair.ports.hubTls
  await until('the box to be there', async () => (await pair.box.destination('hub')).link.state === 'connected')

  for (const [tenant, identity] of [['north', set.box], ['north-2', set.other]] as const) {
    for (const version of ['1.2', '1.3'] as const) {
      const study = writeStudy(folder, 3)
      const { status, output } = await storescu({ port, tls: { identity, ca: ca.cert, openssl: onlyTls(version) } }, study.paths)
      t.equal(status, 0, `${tenant}, TLS ${version}: ${status === 0 ? 'stored' : output}`)
      await drained(hub)
      const there = dicomFiles(join(pair.delivered, tenant)).map((path) => path.split('/').at(-1))
      for (const { sopInstance } of study.images) t.ok(there.includes(`${sopInstance}.dcm`), `in the folder of ${tenant}`)
    }
  }
  for (const version of ['tls1_2', 'tls1_3'] as const) {
    const args = ['s_client', `-${version}`, '-connect', `127.0.0.1:${port}`, '-cert', set.box.cert, '-key', set.box.key, '-CAfile', ca.cert, '-verify_return_error']
    const { status, output } = await finish('openssl', args, { input: '' })
    t.equal(status, 0, `openssl, ${version}`)
    t.match(output, new RegExp(`Cipher is (TLS_|ECDHE-).*(GCM|CHACHA20)`), version)
  }
  for (let looks = 0; looks < 5; looks++) t.ok(await answersOn(port), 'somebody looks whether the port is there, as a box does')
  await setTimeout(300)
  t.strictSame((await hub.status()).knocks, [], 'none of them was refused')

  const cases: [string, Identity | undefined, string, RegExp][] = [
    ['expired', set.expired, 'FAR_CERTIFICATE_EXPIRED', /expired, expired on \d{4}-\d\d-\d\d/],
    ['not yet valid', set.notYetValid, 'FAR_CERTIFICATE_EARLY', /not-yet, is valid only from \d{4}-\d\d-\d\d.*our clock says/],
    ['revoked', set.revoked, 'FAR_CERTIFICATE_REVOKED', /revoked, has been revoked/],
    ['another CA of the same name', set.foreign, 'FAR_CA_UNKNOWN', /box, was issued by Test Hub CA, which we do not trust/],
    ['no tenant', set.tenantless, 'TENANT_MISSING', /names no tenant/],
    ['no certificate', undefined, 'FAR_CERTIFICATE_MISSING', /showed no certificate/],
  ]
  const images = writeStudy(folder, 1)
  const before = (await hub.status()).received
  for (const [what, identity, code, sentence] of cases) {
    const tls = { ca: ca.cert, ...(identity && { identity }) }
    t.not((await echoscu({ port, tls })).status, 0, `${what}: no echo`)
    t.not((await storescu({ port, tls }, images.paths)).status, 0, `${what}: no image`)
    const knock = await until(`${what} to be named`, async () => {
      const { output } = await hub.cli('status', '--json')
      return (JSON.parse(output) as Status).knocks.find((one) => one.code === code)
    })
    t.match(knock, { listener: 'boxes', peer: '127.0.0.1', sentence, times: 2 }, `${what}: ${knock.sentence}`)
    t.ok(knock.remedy, `${what}: with a remedy`)
    t.match(hub.log('refused').findLast((line) => line.code === code), { code, sentence }, `${what}: in the log`)
  }
  const plain = await echoscu({ port })
  t.not(plain.status, 0, 'plain DICOM')
  await until('plain DICOM to be named', async () => (await hub.status()).knocks.find(({ code }) => code === 'FAR_SPEAKS_PLAIN'))
  const old = await finish('openssl', ['s_client', '-tls1_1', '-cipher', 'ALL@SECLEVEL=0', '-connect', `127.0.0.1:${port}`], { input: '' })
  t.not(old.status, 0, 'TLS 1.1')
  await until('TLS 1.1 to be named', async () => (await hub.status()).knocks.find(({ code }) => code === 'TLS_VERSION'))
  t.strictSame((await hub.status()).received, before, 'nothing came in that way')
  t.equal((await pair.box.destination('hub')).link.state, 'connected', 'the box beside them noticed nothing')
})

t.test('at the box: what is wrong at a far side is said in a sentence', async (t) => {
  const set = certificates()
  const { ca, wrongCa } = set
  const server = (name: string, options: IssueOptions = {}) => ca.issue(name, { dns: ['localhost'], use: 'server', ...options })
  const revoked = server('far-revoked')
  ca.revoke(revoked)
  const past = { from: new Date(Date.now() - 10 * DAY), to: new Date(Date.now() - DAY) }
  const future = { from: new Date(Date.now() + DAY), to: new Date(Date.now() + 10 * DAY) }
  // Revoked after the box fetched its list: only the far side knows.
  const ours = ca.issue('gone', { tenant: 'north', use: 'client' })
  const listBefore = ca.crlPem
  ca.revoke(ours)

  type Case = { readonly scp?: StorescpOptions; readonly settings?: Record<string, unknown>; readonly code: string; readonly sentence: RegExp }
  const web = createWebServer().listen(0, '127.0.0.1')
  await once(web, 'listening')
  const tls = (identity: Identity, trusts = ca.cert): StorescpOptions => ({ fork: true, tls: { identity, ca: trusts } })
  const cases: Record<string, Case> = {
    'far-expired': { scp: tls(server('far-expired', past)), code: 'FAR_CERTIFICATE_EXPIRED', sentence: /certificate of the far side, far-expired, expired on \d{4}-/ },
    'far-early': { scp: tls(server('far-early', future)), code: 'FAR_CERTIFICATE_EARLY', sentence: /far-early, is valid only from \d{4}-.*; our clock says/ },
    'far-revoked': { scp: tls(revoked), code: 'FAR_CERTIFICATE_REVOKED', sentence: /far-revoked, has been revoked/ },
    'far-authority': { scp: tls(wrongCa.issue('far-authority', { dns: ['localhost'], use: 'server' })), code: 'FAR_CA_UNKNOWN', sentence: /far-authority, was issued by Test Hub CA, which we do not trust/ },
    'far-name': { scp: tls(ca.issue('far-name', { dns: ['elsewhere.test'], use: 'server' })), code: 'FAR_NAME_MISMATCH', sentence: /is called elsewhere\.test, not localhost/ },
    'far-purpose': { scp: tls(ca.issue('far-purpose', { dns: ['localhost'], use: 'client' })), code: 'FAR_CERTIFICATE_PURPOSE', sentence: /far-purpose, is not made for this use \(.*server/ },
    'our-authority': { scp: tls(server('our-authority'), wrongCa.cert), code: 'REFUSED_CA_UNKNOWN', sentence: /does not trust the authority that issued our certificate \(Test Hub CA\)/ },
    'our-revoked': { scp: { fork: true, tls: { identity: server('our-revoked'), ca: ca.cert, crl: ca.crl } }, settings: { identity: 'gone' }, code: 'REFUSED_REVOKED', sentence: /says our certificate gone has been revoked/ },
    'our-expired': { scp: tls(server('our-expired')), settings: { identity: 'expired' }, code: 'OWN_CERTIFICATE_EXPIRED', sentence: /Our own certificate expired expired on \d{4}-/ },
    'far-plain': { scp: { fork: true }, code: 'FAR_SPEAKS_PLAIN', sentence: /does not speak TLS on this port: it speaks plain DICOM there/ },
    'far-tls': { scp: tls(server('far-tls')), settings: { kind: 'dicom' }, code: 'FAR_SPEAKS_TLS', sentence: /speaks TLS on this port, and we speak plain DICOM/ },
    'far-rejects': { scp: { fork: true, options: ['--refuse'] }, settings: { kind: 'dicom' }, code: 'ASSOCIATION_REFUSED', sentence: /refuses the association/ },
    'far-web': { settings: { port: (web.address() as AddressInfo).port }, code: 'FAR_SPEAKS_OTHER', sentence: /HTTP.*not DICOM/ },
    'no-port': { settings: { port: await freePort() }, code: 'CONNECTION_REFUSED', sentence: /is there, but nothing takes connections on port \d+/ },
    'no-name': { settings: { host: 'no-such-host.invalid', port: 104 }, code: 'NAME_UNKNOWN', sentence: /name no-such-host\.invalid does not exist/ },
  }
  const scps = new Map(await Promise.all(Object.entries(cases).map(async ([name, { scp }]) => [name, scp && (await storescp(scp))] as const)))
  const lan = await freePort()
  const box = makeSide('box', {
    tenant: 'north',
    listeners: [{ name: 'lan', port: lan }],
    destinations: Object.entries(cases).map(([name, { settings }]) => ({
      name, kind: 'dicom-tls', host: 'localhost', port: scps.get(name)?.port, calledAe: 'FAR', ...settings,
    })),
    routes: [{ to: ['no-port', 'far-expired'] }],
  })
  keep(join(box.folder, 'credentials', 'link'), set.box, ca)
  keep(join(box.folder, 'credentials', 'expired'), set.expired, ca)
  keep(join(box.folder, 'credentials', 'gone'), ours, ca, listBefore)
  t.teardown(async () => {
    web.closeAllConnections()
    web.close()
    await Promise.all([box.stop(), ...[...scps.values()].map((scp) => scp?.stop())])
  })
  await box.start()
  for (const [name, { code, sentence }] of Object.entries(cases)) {
    const { link } = await until(`${name} to be ${code}`, async () => {
      const found = await box.destination(name)
      return found.link.code === code && found
    }).catch(() => box.destination(name))
    t.match(link, { code, sentence }, `${name}: ${link.sentence}`)
    t.ok(link.remedy, `${name}: ${link.remedy}`)
  }
  const study = writeStudy(folder, 1)
  await send(lan, study.paths)
  t.match((await box.status()).sentence, /1 image waiting for (no-port|far-expired): /, 'the one sentence names what waits and why')
})

t.test('certificate and list exchanged while images travel: nobody is dropped but who was revoked', async (t) => {
  const set = certificates()
  const { ca } = set
  const pair = await startPair({ certificates: set })
  t.teardown(() => pair.stop())
  const { box, hub } = pair
  const port = pair.ports.hubTls
  const listener = join(hub.folder, 'credentials', 'listener')

  const guest = async (name: string, identity: Identity): Promise<{ name: string; socket: TLSSocket; association: Association }> => {
    const socket = connectTls({ port, host: '127.0.0.1', servername: 'localhost', key: identity.keyPem, cert: identity.certPem, ca: ca.certPem })
    await once(socket, 'secureConnect')
    const contexts = [{ abstractSyntax: VERIFICATION, transferSyntaxes: [IMPLICIT] }]
    return { name, socket, association: await associate(socket, { calledAe: 'HUB', callingAe: name, contexts }, LIMITS) }
  }
  const [good, bad] = [await guest('GOOD', set.box), await guest('BAD', set.other)]
  const serial = async () => /serial=(\w+)/.exec((await finish('sh', ['-c', `openssl s_client -connect 127.0.0.1:${port} -cert ${set.box.cert} -key ${set.box.key} </dev/null 2>/dev/null | openssl x509 -noout -serial`])).output)?.[1]
  const [first, count] = [await serial(), 5]
  const studies = Array.from({ length: count }, () => writeStudy(folder, 60, 60_000))
  const sending = studies.map((study) => () => send(pair.ports.box, study.paths))
  await until('the box to be there', async () => (await box.destination('hub')).link.state === 'connected')
  const links = box.log('link').length
  const load = (async () => {
    for (const one of sending) await one()
  })()
  await until('images to travel', async () => (await hub.status()).received.instances > 10)

  // New certificate and key, and at once a newer list on which BAD stands.
  ca.revoke(set.other)
  keep(listener, ca.issue('hub', { dns: ['localhost'], ip: ['127.0.0.1', '::1'], use: 'server' }), ca)
  await until('BAD to be cut off', () => bad.socket.destroyed || !bad.association.open)
  await until('the new certificate to be shown', async () => (await serial()) !== first)
  await load
  await drained(box)
  await drained(hub)
  t.equal(pair.files().length, count * 60, 'every image arrived')
  t.equal((await good.association.echo(5000)).status, 0, 'who was there, and is not revoked, still is')
  await good.association.release()
  const ends = hub.log('association-ended')
  t.strictSame(ends.filter(({ callingAe }) => callingAe !== 'BAD'), [], 'no other association ended but in order')
  t.match((await hub.status()).knocks.find(({ code }) => code === 'FAR_CERTIFICATE_REVOKED'), { sentence: /other, has been revoked/ }, 'who was cut off is named')
  t.strictSame(box.log('link').slice(links), [], 'the box saw its link change in nothing')
  t.not((await echoscu({ port, tls: { identity: set.other, ca: ca.cert } })).status, 0, 'and does not come in again')
})
