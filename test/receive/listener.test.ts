/**
 * The receiving room at work: real sockets, a real spool, a supervisor whose answers can be held
 * back. What happens when somebody leaves, or we stop, at a bad moment.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import t from 'tap'
import { Fault } from '../../firmware/domain/errors.ts'
import { IdentityFolder } from '../../firmware/pki/folder.ts'
import { clientOptions } from '../../firmware/pki/profile.ts'
import type { Slot } from '../../firmware/domain/spool.ts'
import { CT, Script, associateRq, data, storeRq } from '../dicom/script.ts'
import { keep } from '../pair.ts'
import { certificates } from '../peers/certificates.ts'
import { scratch, until } from '../peers/process.ts'
import { EXPLICIT, answer, associated, entrance, image, store } from './entrance.ts'

/** Held until it is opened. */
function gate(): { passed: Promise<void>; open: () => void; reached: () => number; pass: () => Promise<void> } {
  const { promise, resolve } = Promise.withResolvers<void>()
  let count = 0
  return { passed: promise, open: resolve, reached: () => count, pass: () => (count++, promise) }
}

t.test('who leaves while the supervisor is asked gives the place back', async (t) => {
  const asked = gate()
  const one = await entrance(t, { intake: (real) => ({ admit: (knock, tenant) => asked.pass().then(() => real.admit(knock, tenant)) }) })
  const peers = await Promise.all(Array.from({ length: 5 }, () => Script.to(one.port)))
  for (const peer of peers) peer.send(associateRq([{ id: 1, abstractSyntax: CT }]))
  await until('all have asked', () => asked.reached() === peers.length)
  peers.slice(1).forEach((peer, n) => (n % 2 === 0 ? peer.socket.resetAndDestroy() : peer.socket.destroy()))
  await until('the listener has seen them go', () => one.listener.associations === 1)
  asked.open()
  t.equal((await peers[0]?.read())?.type, 2, 'who waited is let in')
  t.equal(one.open.admissions.size, 1, 'and holds the only place')
  peers[0]?.socket.destroy()
  await until('no place is held', () => one.open.admissions.size === 0)
})

t.test('an image goes into the spool, and every other one is answered for what it is', async (t) => {
  const one = await entrance(t)
  const peer = await associated(one.port)
  const stores: [string, Buffer, number, RegExp][] = [
    ['1.2.3.4', image('1.2.3.4'), 0x0000, /^$/],
    ['1.2.3.4', image('1.2.3.4'), 0x0000, /^$/],
    ['1.2.3.5', image('1.2.3.6'), 0xa900, /0008,0018/],
    ['1.2.3.7', image('1.2.3.7', 10, '1.2.840.10008.5.1.4.1.1.4'), 0xa900, /0008,0016/],
    ['1.2.3.8', Buffer.concat([Buffer.alloc(128), Buffer.from('DICM'), image('1.2.3.8')]), 0xc000, /Part 10/],
    ['1.2.3.9', image('1.2.3.9').subarray(0, 30), 0xc000, /ends/],
    ['1.2.3.10', image('1.2.3.10', 3_000_000), 0x0000, /^$/],
  ]
  for (const [n, [sopInstance, dataSet, status, comment]] of stores.entries()) {
    peer.send(...store(sopInstance, dataSet, n + 1))
    const got = await answer(peer)
    t.match(got, { status, respondsTo: n + 1, comment }, `${sopInstance}: ${status.toString(16)}`)
  }
  t.same((await one.spool.list()).rows.map(({ sopInstance }) => sopInstance), ['1.2.3.4', '1.2.3.10'])
  const refused = one.said.filter(({ event }) => event === 'store-refused')
  t.equal(refused.length, 4, 'each refusal is in the log')
  peer.socket.destroy()
  await until('gone', () => one.listener.associations === 0)
  one.slots.giveBackAll()
  t.equal(one.open.slots.size, 0, 'no slot is lost')
})

t.test('a slot that is waited for: the data set waits, an abort gives it back, a full disk is A700', async (t) => {
  const slow = gate()
  const one = await entrance(t, { intake: (real) => ({ slot: (tenant) => slow.pass().then(() => real.slot(tenant)) }) })
  const [patient, leaver] = [await associated(one.port), await associated(one.port)]
  patient.send(...store('1.2.1', image('1.2.1', 400_000)))
  const [command, first] = store('1.2.2', image('1.2.2', 2_000))
  leaver.send(command, first)
  await until('slots are asked for', () => slow.reached() >= 3)
  leaver.socket.resetAndDestroy()
  await until('one has left', () => one.listener.associations === 1)
  slow.open()
  t.match(await answer(patient), { status: 0 })
  t.equal((await one.spool.list()).rows.length, 1)
  patient.socket.destroy()
  await until('both have left', () => one.listener.associations === 0)
  one.slots.giveBackAll()
  await until('every slot is given back', () => one.open.slots.size === 0)

  let full = true
  const other = await entrance(t, {
    intake: (real) => ({ slot: (tenant): Promise<Slot> => (full ? Promise.reject(new Fault('SPOOL_FULL', { percent: 90 })) : real.slot(tenant)) }),
  })
  const peer = await associated(other.port)
  peer.send(...store('1.2.3', image('1.2.3', 300_000), 1))
  t.match(await answer(peer), { status: 0xa700, comment: 'SPOOL_FULL' })
  full = false
  peer.send(...store('1.2.3', image('1.2.3', 300_000), 2))
  t.match(await answer(peer), { status: 0 }, 'on the same association, as soon as there is room')
})

t.test('0000H only after the commit; an image whose sender left in between is kept, not answered', async (t) => {
  const commit = gate()
  let outcome: 'real' | 'refused' | 'gone' = 'real'
  const one = await entrance(t, {
    intake: (real) => ({
      commit: async (facts) => {
        await commit.pass()
        if (outcome === 'gone') throw new Fault('SUPERVISOR_GONE')
        return outcome === 'refused' ? { kind: 'refused', code: 'DISK_FAILED' } : real.commit(facts)
      },
    }),
  })
  const peer = await associated(one.port)
  peer.send(...store('1.2.1'))
  await until('the commit is asked for', () => commit.reached() === 1)
  let early = false
  const answered = answer(peer).then((got) => ((early = true), got))
  await new Promise((resolve) => setTimeout(resolve, 100))
  t.notOk(early, 'no answer yet')
  const leaver = await associated(one.port)
  leaver.send(...store('1.2.2'))
  await until('the second as well', () => commit.reached() === 2)
  leaver.socket.resetAndDestroy()
  await until('its sender has left', () => one.listener.associations === 1)
  commit.open()
  t.match(await answered, { status: 0 })
  await until('both are kept', async () => (await one.spool.list()).rows.length === 2)
  for (const how of ['refused', 'gone'] as const) {
    outcome = how
    peer.send(...store(`1.2.${how.length}`))
    t.match(await answer(peer), { status: 0xa700 }, how)
  }
  t.equal((await one.spool.list()).rows.length, 2, 'nothing of what was refused')
})

t.test('told to stop: what is under way is answered, what stalls is not, nobody new comes in', async (t) => {
  const one = await entrance(t)
  const [busy, stalled, idle] = [await associated(one.port), await associated(one.port), await associated(one.port)]
  const knocking = await Script.to(one.port)
  const [command, first, second] = store('1.2.1', image('1.2.1', 200_000))
  busy.send(command, first)
  stalled.send(...store('1.2.2', image('1.2.2', 200_000)).slice(0, 2))
  await until('both have begun', () => one.open.slots.size >= 2)
  await new Promise((resolve) => setTimeout(resolve, 100))
  const closed = one.listener.close(1_500)
  t.equal((await idle.read())?.type, 7, 'who is between two messages hears an A-ABORT at once')
  t.equal(await knocking.read(), undefined, 'who had not asked yet is shown out')
  await t.rejects(Script.to(one.port), 'nobody new')
  busy.send(second)
  t.match(await answer(busy), { status: 0 }, 'the image under way is finished and answered')
  t.equal((await busy.read())?.type, 7, 'then that is the end')
  await closed
  t.equal((await stalled.read())?.type, 7, 'who did not finish in time is aborted without an answer')
  t.same((await one.spool.list()).rows.map(({ sopInstance }) => sopInstance), ['1.2.1'])
  one.slots.giveBackAll()
  await until('every slot is given back', () => one.open.slots.size === 0)
})

t.test('knocks: the oldest give way, and a stranger\'s AE title is shown harmless', async (t) => {
  const one = await entrance(t, { limits: { knocking: 4 } })
  const resident = await associated(one.port)
  const crowd = await Promise.all(Array.from({ length: 30 }, () => Script.to(one.port)))
  await until('four and the resident are left', () => one.listener.associations <= 5)
  t.equal((await Promise.all(crowd.slice(0, 20).map((peer) => peer.read()))).filter(Boolean).length, 0, 'the first are shown out')
  resident.send(...store('1.2.1'))
  t.match(await answer(resident), { status: 0 }, 'who is in is served as before')

  const rude = await Script.to(one.port)
  const rq = associateRq([{ id: 1, abstractSyntax: CT, transferSyntaxes: [EXPLICIT] }])
  Buffer.from('\x9b31mRED\\\n\x00\x7f', 'latin1').copy(rq, 6 + 4 + 16)
  rude.send(rq)
  t.equal((await rude.read())?.type, 2)
  rude.send(data(1, 3, storeRq(1)), Buffer.from([9, 9, 9, 9, 9, 9]))
  await until('its end is told', () => one.said.some(({ event }) => event === 'association-ended'))
  const told = one.said.find(({ event }) => event === 'association-ended')
  t.match(told?.fields['callingAe'], /^[ -~]{1,16}$/, 'printable')
  t.match(told?.fields['callingAe'], /^\?31mRED\?\?/)
})

t.test('a TLS listener that starts without its identity asks for certificates as soon as it has one', async (t) => {
  const set = certificates()
  const folder = join(scratch('listener'), 'identity')
  mkdirSync(folder, { recursive: true })
  const identity = await IdentityFolder.open(folder, { pollMillis: 50 })
  t.teardown(() => identity.close())
  const one = await entrance(t, { listener: { identity, tenantOf: (certificate) => certificate?.tenant ?? 'nobody' } })
  keep(folder, set.hub, set.ca)
  await until('the identity is in force', () => identity.current !== undefined)
  const box = { cert: set.box.certPem, key: set.box.keyPem, ca: set.ca.certPem, crl: set.ca.crlPem }
  const socket = connectTls({ ...clientOptions(box, 'localhost'), port: one.port, host: '127.0.0.1' })
  await new Promise((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject))
  const peer = new Script(socket)
  peer.send(associateRq([{ id: 1, abstractSyntax: CT }]))
  t.equal((await peer.read())?.type, 2, JSON.stringify(one.said))
  socket.destroy()
})
