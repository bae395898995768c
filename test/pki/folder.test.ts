/**
 * An identity that is exchanged while everything runs: associations stay up, new ones get the
 * new certificate and the new revocation list, and a half-written folder changes nothing.
 */
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import t from 'tap'
import { Fault } from '../../firmware/domain/errors.ts'
import { saveIdentity } from '../../firmware/pki/authority.ts'
import { IdentityFolder } from '../../firmware/pki/folder.ts'
import { judgeIdentity, loadIdentity, type Identity } from '../../firmware/pki/identity.ts'
import { clientOptions } from '../../firmware/pki/profile.ts'
import { judgePeer } from '../../firmware/pki/verdict.ts'
import { Authority, certificates, type Identity as Files } from '../peers/certificates.ts'
import { scratch, until } from '../peers/process.ts'
import { openDoor, identityOf } from './door.ts'

const DAY = 24 * 3_600_000
const set = certificates()

/** As a person with an editor or `cp` writes them: one by one, with moments between. */
function put(folder: string, files: { cert?: string; key?: string; ca?: string; crl?: string }): void {
  mkdirSync(folder, { recursive: true })
  for (const [name, text] of Object.entries(files)) {
    writeFileSync(join(folder, `.${name}.new`), text)
    renameSync(join(folder, `.${name}.new`), join(folder, `${name}.pem`))
  }
}
const partsOf = (files: Files, ca: Authority = set.ca) => ({ ca: ca.certPem, crl: ca.crlPem, key: files.keyPem, cert: files.certPem })
const fresh = (files: Files = set.hub): string => {
  const folder = join(scratch('folder'), 'identity')
  put(folder, partsOf(files))
  return folder
}
const codeOf = (loaded: Identity | Fault) => (loaded instanceof Fault ? loaded.code : 'whole')

t.test('each part that is missing, unreadable or does not fit is named', async (t) => {
  const cases: [string, (folder: string) => void, string, Record<string, string>][] = [
    ['no certificate', (f) => rmSync(join(f, 'cert.pem')), 'OWN_PART_MISSING', { file: 'cert.pem' }],
    ['no key', (f) => rmSync(join(f, 'key.pem')), 'OWN_PART_MISSING', { file: 'key.pem' }],
    ['no authority', (f) => rmSync(join(f, 'ca.pem')), 'OWN_PART_MISSING', { file: 'ca.pem' }],
    ['no folder', (f) => rmSync(f, { recursive: true }), 'OWN_PART_MISSING', { file: 'cert.pem' }],
    ['no list: a choice', (f) => rmSync(join(f, 'crl.pem')), 'whole', {}],
    ['noise for a certificate', (f) => put(f, { cert: 'x' }), 'OWN_PART_UNREADABLE', { file: 'cert.pem' }],
    ['half a certificate', (f) => put(f, { cert: set.hub.certPem.slice(0, 300) }), 'OWN_PART_UNREADABLE', { file: 'cert.pem' }],
    ['noise inside', (f) => put(f, { cert: set.hub.certPem.replace(/\n.{30}/, '\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA') }), 'OWN_PART_UNREADABLE', { file: 'cert.pem' }],
    ['noise for a key', (f) => put(f, { key: 'x' }), 'OWN_PART_UNREADABLE', { file: 'key.pem' }],
    ['empty authority', (f) => put(f, { ca: '' }), 'OWN_PART_UNREADABLE', { file: 'ca.pem' }],
    ['empty list', (f) => put(f, { crl: '' }), 'OWN_PART_UNREADABLE', { file: 'crl.pem' }],
    ['a list by somebody else', (f) => put(f, { crl: set.wrongCa.crlPem }), 'OWN_PART_UNREADABLE', { file: 'crl.pem' }],
    ['another key', (f) => put(f, { key: set.box.keyPem }), 'OWN_KEY_MISMATCH', {}],
    ['a folder where a file should be', (f) => { rmSync(join(f, 'key.pem')); mkdirSync(join(f, 'key.pem')) }, 'OWN_PART_UNREADABLE', { file: 'key.pem' }],
    ['a file without end', (f) => put(f, { crl: ' '.repeat(4 * 1024 * 1024 + 1) }), 'OWN_PART_UNREADABLE', { file: 'crl.pem' }],
  ]
  for (const [label, spoil, code, fields] of cases) {
    const folder = fresh()
    spoil(folder)
    const loaded = await loadIdentity(folder)
    t.equal(codeOf(loaded), code, label)
    if (loaded instanceof Fault) {
      t.match(loaded.fields, fields, label)
      t.notMatch(loaded.message, /-----|[A-Za-z0-9+/]{40}/, 'nothing of the content is told')
    }
  }
})

t.test('what is wrong with a whole set at a moment', async (t) => {
  const now = Date.now()
  const load = async (files: Files) => {
    const loaded = await loadIdentity(fresh(files))
    if (loaded instanceof Fault) throw loaded
    return loaded
  }
  const good = await load(set.hub)
  const cases: [string, Identity, number, string | undefined][] = [
    ['nothing', good, now, undefined],
    ['expired', await load(set.expired), now, 'OWN_CERTIFICATE_EXPIRED'],
    ['not yet valid', await load(set.notYetValid), now, 'OWN_CERTIFICATE_EARLY'],
    ['revoked', await load(set.revoked), now, 'OWN_CERTIFICATE_REVOKED'],
    ['the list has ended before the certificate', { ...good, lists: good.lists.map((list) => ({ ...list, nextUpdate: now - 1 })) }, now, 'REVOCATION_LIST_EXPIRED'],
    ['the authority has ended', { ...good, own: { ...good.own, notAfter: now + 9999 * DAY } }, now + 9000 * DAY, 'OWN_CA_EXPIRED'],
    ['a box that woke up in 1970', good, 0, 'CLOCK_BEHIND'],
  ]
  for (const [label, identity, at, code] of cases) {
    const fault = judgeIdentity(identity, at)
    t.equal(fault?.code, code, `${label}: ${fault?.message ?? 'fine'}`)
  }
})

const subjects = new Map<TLSSocket, string>()

/** A client of ours that is let in and echoed, or not. */
function visit(port: number, identity: Identity): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connectTls({ ...clientOptions(identity, 'localhost'), host: '127.0.0.1', port })
    socket.once('secureConnect', () => {
      const far = judgePeer(socket, { side: 'client', trust: identity, host: 'localhost', now: Date.now() })
      if (far instanceof Fault) reject(far)
      else subjects.set(socket, far.subject)
      socket.write('ping')
    })
    socket.once('data', () => resolve(socket)).once('error', reject).once('close', () => reject(new Error('thrown out')))
  })
}
const echoes = (socket: TLSSocket): Promise<boolean> =>
  new Promise((resolve) => {
    socket.once('data', () => resolve(true)).once('close', () => resolve(false))
    socket.write('still there')
  })

t.test('a new certificate and a new list come into force; who is connected stays', async (t) => {
  const folder = fresh()
  const changes: Identity[] = []
  const watched = await IdentityFolder.open(folder, { onChange: (identity) => changes.push(identity), pollMillis: 60_000 })
  t.teardown(() => watched.close())
  const first = watched.current
  if (first === undefined) throw new Error('not loaded')
  const opened = await openDoor(first)
  t.teardown(() => opened.close())
  watched.serve(opened.server)
  const box = await identityOf(set.box, set.ca)
  const stays = await visit(opened.port, box)
  t.equal(subjects.get(stays), 'hub')

  const renewed = set.ca.issue('hub-renewed', { dns: ['localhost'], ip: ['127.0.0.1'], use: 'server' })
  put(folder, { key: renewed.keyPem })
  put(folder, { cert: renewed.certPem })
  await until('the new certificate', () => watched.current?.own.subject === 'hub-renewed')
  t.equal(changes.length, 2, 'told once for each whole set, never for the half of one')
  const newcomer = await visit(opened.port, box)
  t.equal(subjects.get(newcomer), 'hub-renewed', 'new ones get the new certificate')
  t.ok(await echoes(stays), 'who was connected still is')

  t.equal(watched.revokes([...opened.sockets][0] as TLSSocket), false)
  set.ca.revoke(set.box)
  put(folder, { crl: set.ca.crlPem })
  await until('the new list', () => changes.length === 3)
  t.ok(await echoes(stays), 'the reload itself cuts nobody')
  t.equal([...opened.sockets].filter((socket) => watched.revokes(socket)).length, 2, 'but it is known who must go')
  const other = await visit(opened.port, await identityOf(set.other, set.ca))
  t.ok(await echoes(other), 'others are let in')
  for (const socket of [stays, newcomer, other]) socket.destroy()
})

t.test('OpenSSL itself enforces the new list on new handshakes', async (t) => {
  const folder = fresh()
  const watched = await IdentityFolder.open(folder, { pollMillis: 60_000 })
  t.teardown(() => watched.close())
  if (watched.current === undefined) throw new Error('not loaded')
  // This door judges by the list it began with: only the reloaded context can refuse.
  const opened = await openDoor(watched.current)
  t.teardown(() => opened.close())
  watched.serve(opened.server)
  const client = set.ca.issue('goes', { tenant: 'north', use: 'client' })
  const identity = await identityOf(client, set.ca)
  const stays = await visit(opened.port, identity)
  t.match(await opened.next(), { subject: 'goes' })
  set.ca.revoke(client)
  put(folder, { crl: set.ca.crlPem })
  await until('the new list', () => watched.current?.lists.some((list) => list.serials.has(identity.own.serial)))
  await t.rejects(visit(opened.port, identity))
  t.match(await opened.next(), { code: 'FAR_CERTIFICATE_REVOKED' })
  stays.destroy()
})

t.test('a half-written folder changes nothing; it is a fault only when it lasts', async (t) => {
  const folder = fresh()
  const faults: Fault[] = []
  const watched = await IdentityFolder.open(folder, { onFault: (fault) => faults.push(fault), settleMillis: 600, pollMillis: 100 })
  t.teardown(() => watched.close())
  const before = watched.current?.version
  const next = set.ca.issue('hub-2', { dns: ['localhost'], use: 'server' })
  put(folder, { key: next.keyPem })
  await new Promise((resolve) => setTimeout(resolve, 250))
  t.equal(watched.current?.version, before, 'the old one stays in force')
  t.same(faults, [], 'and nobody is alarmed')
  await until('the alarm', () => faults.length > 0)
  t.equal(faults[0]?.code, 'OWN_KEY_MISMATCH')
  t.equal(watched.fault?.code, 'OWN_KEY_MISMATCH')
  t.equal(watched.current?.version, before)
  put(folder, { cert: next.certPem })
  await until('the whole set', () => watched.current?.own.subject === 'hub-2')
  t.equal(watched.fault, undefined)
  t.equal(faults.length, 1, 'told once')
})

t.test('found by the poll where the watch is blind: the folder behind a link is exchanged', async (t) => {
  const base = scratch('linked')
  put(join(base, 'a'), partsOf(set.hub))
  put(join(base, 'b'), partsOf(set.ca.issue('hub-b', { use: 'server' })))
  symlinkSync('a', join(base, 'now'))
  const watched = await IdentityFolder.open(join(base, 'now'), { pollMillis: 50 })
  t.teardown(() => watched.close())
  t.equal(watched.current?.own.subject, 'hub')
  symlinkSync('b', join(base, 'next'))
  renameSync(join(base, 'next'), join(base, 'now'))
  await until('the other folder', () => watched.current?.own.subject === 'hub-b')
  put(join(base, 'b'), partsOf(set.ca.issue('hub-c', { use: 'server' })))
  await until('a change in it', () => watched.current?.own.subject === 'hub-c')
  t.pass('followed')
})

t.test('a folder that comes later is found; what saveIdentity writes is whole', async (t) => {
  const folder = join(scratch('later'), 'identity')
  const faults: string[] = []
  const watched = await IdentityFolder.open(folder, { pollMillis: 50, onFault: (fault) => faults.push(fault.code) })
  t.teardown(() => watched.close())
  t.same(faults, ['OWN_PART_MISSING'])
  await saveIdentity(folder, { cert: set.hub.certPem, key: set.hub.keyPem, ca: set.ca.certPem })
  await until('it is there', () => watched.current)
  t.equal(watched.fault, undefined)
})
