import { readFileSync } from 'node:fs'
import net from 'node:net'
import fc from 'fast-check'
import t from 'tap'
import { decodeCommand, type Command } from '../../firmware/dicom/command.ts'
import { decodeAssociateAccept } from '../../firmware/dicom/pdu.ts'
import type { StoreAnswer, StoreSink } from '../../firmware/dicom/acceptor.ts'
import { LIMITS } from '../../firmware/domain/limits.ts'
import { corpus, readable } from '../peers/corpus.ts'
import { part10 } from '../peers/dataset.ts'
import { dcmsend, echoscu, storescu } from '../peers/dcmtk.ts'
import { dimseScu } from '../peers/dimse.ts'
import { finish, scratch, until } from '../peers/process.ts'
import { scp, type Scp } from './scp.ts'
import {
  ABORT,
  CT,
  EXPLICIT,
  IMPLICIT,
  RELEASE_RQ,
  Script,
  VERIFICATION,
  associateRq,
  asyncItem,
  command,
  data,
  echoRq,
  pdu,
  roleItem,
  storeRq,
} from './script.ts'

const { present, sentence, series, mixed } = corpus()
t.comment(sentence)

/** Explicit lengths: what DCMTK sends without rewriting it. */
async function samples(): Promise<string[]> {
  const folder = scratch('acceptor')
  if (!present) return []
  const paths = series.slice(0, 4).map((_path, n) => `${folder}/${n}.dcm`)
  for (const [n, path] of series.slice(0, 4).entries()) await finish('dcmconv', ['+te', '+e', path, paths[n] ?? ''])
  return paths
}
const files = await samples()

function holds(t: Pick<typeof import('tap').default, 'equal' | 'ok' | 'match'>, one: Scp, paths: readonly string[]): void {
  t.equal(one.taken.length, paths.length, 'as many as were sent')
  const got = new Map(one.taken.map((each) => [each.sopInstance, each]))
  for (const path of paths) {
    const { sopInstance, sopClass, transferSyntax, dataSet } = part10(readFileSync(path))
    const taken = got.get(sopInstance)
    t.ok(taken && Buffer.concat(taken.parts).equals(dataSet), `${sopInstance} arrived byte for byte`)
    t.match(taken, { sopClass, transferSyntax, ends: 1, aborts: [] })
  }
}

t.test('real senders: DCMTK and dcmjs-dimse', async (t) => {
  for (const noDelay of [false, true]) {
    const one = await scp(t)
    const echo = await echoscu({ port: one.port, noDelay })
    t.equal(echo.status, 0, echo.output)
    t.match(await one.ended(0), { how: 'released', by: 'peer', stores: 0 })
    if (!present) continue
    const stored = await storescu({ port: one.port, noDelay }, files)
    t.equal(stored.status, 0, stored.output)
    holds(t, one, files)
    t.match(await one.ended(1), { how: 'released', stores: files.length, refusals: 0 })
    one.taken.length = 0
    for (const options of [['--max-pdu', '4096'], ['--max-send-pdu', '4096']]) {
      const sent = await dcmsend({ port: one.port, noDelay, options }, files)
      t.equal(sent.status, 0, sent.output)
      holds(t, one, files)
      one.taken.length = 0
    }
  }
  const one = await scp(t)
  t.strictSame((await dimseScu({ port: one.port })).statuses, [0], 'dcmjs-dimse: C-ECHO')
  if (!present) return void t.pass('corpus absent: no images sent')
  t.strictSame((await dimseScu({ port: one.port }, files)).statuses, files.map(() => 0))
  t.equal(one.taken.length, files.length, 'dcmjs-dimse re-encodes what it sends: only counted')
})

t.test('the whole corpus from dcmsend, each in its own transfer syntax', async (t) => {
  if (!present) return void t.pass('corpus absent')
  const one = await scp(t)
  const all = readable(mixed)
  const sent = await dcmsend({ port: one.port, noDelay: true, options: ['--no-uid-checks'] }, all.map(({ path }) => path))
  const whole = one.taken.filter(({ ends, aborts }) => ends === 1 && aborts.length === 0)
  t.equal(whole.length, one.taken.length, sent.output.slice(-2000))
  t.ok(whole.length > 40, `${whole.length} arrived`)
  t.ok(new Set(whole.map(({ transferSyntax }) => transferSyntax)).size >= 5, 'in several transfer syntaxes')
})

/** An association with one storage and one Verification context. */
async function opened(port: number, maximum = 16384): Promise<Script> {
  const peer = await Script.to(port)
  peer.send(associateRq([{ id: 1, abstractSyntax: CT }, { id: 3, abstractSyntax: VERIFICATION }], maximum))
  const answer = await peer.read()
  if (answer?.type !== 2) throw new Error(`no association but PDU ${answer?.type}`)
  return peer
}
async function response(peer: Script): Promise<Command> {
  const bytes = await peer.message()
  if (!bytes) throw new Error('no answer')
  return decodeCommand(bytes)
}

t.test('negotiation: 128 contexts in any order, one class several times, honest answers', async (t) => {
  const refused = new Set([1, 77])
  const one = await scp(t, {
    decide: async (rq) => ({
      accept: rq.contexts
        .filter(({ id }) => id !== 5)
        .map(({ id, transferSyntaxes }) => ({ id, result: refused.has(id) ? 3 : 0, transferSyntax: transferSyntaxes[1] ?? '' })),
    }),
  })
  const peer = await Script.to(one.port)
  const ids = Array.from({ length: 128 }, (_, n) => 255 - 2 * n)
  peer.send(
    associateRq(
      ids.map((id) => ({ id, abstractSyntax: CT, transferSyntaxes: [IMPLICIT, EXPLICIT] })),
      100,
      Buffer.concat([asyncItem(0, 0), roleItem(CT, 1, 1), Buffer.from([0x77, 0, 0, 3, 1, 2, 3])]),
    ),
  )
  const answer = await peer.read()
  const ac = decodeAssociateAccept(answer?.body ?? Buffer.alloc(0), LIMITS)
  t.strictSame(ac.contexts.map(({ id }) => id), ids)
  t.strictSame(ac.contexts.filter(({ result }) => result === 3).map(({ id }) => id), [77, 1])
  t.strictSame(ac.contexts.filter(({ result }) => result === 2).map(({ id }) => id), [5], 'no decision: no reason')
  t.equal(ac.maximumLength, LIMITS.pduBytes, 'our own limit, whatever the peer has')
  t.strictSame(ac.asyncWindow, { invoked: 1, performed: 1 })
  t.strictSame(ac.roles, [{ sopClass: CT, scu: true, scp: false }])
  t.equal(answer?.body.toString('latin1', 4, 36), `${'SALLYPORT'.padEnd(16)}${'SCRIPT'.padEnd(16)}`)
  for (const id of [255, 3, 129]) {
    peer.send(data(id, 3, storeRq(id)), data(id, 2, Buffer.from('set')))
    t.match(await response(peer), { respondsTo: id, status: 0 })
    t.match(one.taken.at(-1), { contextId: id, transferSyntax: EXPLICIT })
  }
  peer.send(data(77, 3, storeRq(1)))
  t.match(await peer.read(), { type: 7, body: Buffer.from([0, 0, 2, 6]) }, 'a context that was not accepted')
  t.match(await one.ended(0), { how: 'malformed', stores: 3 })
})

t.test('rejections', async (t) => {
  const one = await scp(t, { limits: { artimMillis: 300 }, decide: async () => ({ reject: { result: 1, source: 1, reason: 7 } }) })
  const wish = [{ id: 1, abstractSyntax: CT }]
  const cases: [string, Buffer, number[]][] = [
    ['by policy', associateRq(wish), [1, 1, 7]],
    ['protocol version', associateRq(wish, 0, undefined, 2), [1, 2, 2]],
    ['application context', associateRq(wish, 0, undefined, 1, '1.2.3'), [1, 1, 2]],
  ]
  for (const [name, rq, expected] of cases) {
    const count = one.ends.length
    const peer = await Script.to(one.port)
    peer.send(rq)
    t.strictSame(await peer.read(), { type: 3, body: Buffer.from([0, ...expected]) }, name)
    t.equal(await peer.read(), undefined, 'a peer that does not close is cut off after ARTIM')
    t.match(await one.ended(count), { how: 'rejected', by: 'us' })
  }
})

t.test('what is asked wrongly is answered, and the association lives on', async (t) => {
  const one = await scp(t, {
    store: (rq, sink) => {
      if (rq.sopInstance === '1.9') return { status: 0xa700, comment: 'full' }
      if (rq.sopInstance === '1.8') return Promise.resolve({ status: 0xa900 })
      return rq.sopInstance === '1.7' ? Promise.resolve(sink) : sink
    },
  })
  const peer = await opened(one.port)
  const set = data(1, 2, Buffer.from('some data set'))
  const cases: [string, Buffer, Partial<Command>][] = [
    ['C-ECHO', data(3, 3, echoRq(1)), { field: 0x8030, respondsTo: 1, status: 0, sopClass: VERIFICATION }],
    ['C-ECHO on a storage context', data(1, 3, echoRq(2)), { field: 0x8030, status: 0x0122 }],
    ['class of another context', Buffer.concat([data(1, 3, storeRq(3, '1.2', '1.2.840.10008.5.1.4.1.1.4')), set]), { field: 0x8001, respondsTo: 3, status: 0x0122 }],
    ['no UID', Buffer.concat([data(1, 3, storeRq(4, '../../etc')), set]), { status: 0x0117, sopInstance: '' }],
    ['no data set', data(1, 3, storeRq(5, '1.2', CT, 0x0101)), { status: 0xc000 }],
    ['refused by the handler', Buffer.concat([data(1, 3, storeRq(6, '1.9')), set]), { status: 0xa700, comment: 'full', sopInstance: '1.9' }],
    ['refused later by the handler', Buffer.concat([data(1, 3, storeRq(7, '1.8')), set]), { status: 0xa900 }],
    ['taken later by the handler', Buffer.concat([data(1, 3, storeRq(8, '1.7')), set]), { status: 0 }],
    ['C-FIND', Buffer.concat([data(1, 3, command({ 0x0002: CT, 0x0100: 0x20, 0x0110: 9, 0x0800: 0 })), set]), { field: 0x8020, status: 0x0211, respondsTo: 9 }],
    ['N-ACTION', data(1, 3, command({ 0x0003: CT, 0x0100: 0x0130, 0x0110: 10, 0x0800: 0x0101 })), { field: 0x8130, status: 0x0211 }],
    ['C-CANCEL, not answered, then C-ECHO', Buffer.concat([data(1, 3, command({ 0x0100: 0x0fff, 0x0120: 9, 0x0800: 0x0101 })), data(3, 3, echoRq(11))]), { respondsTo: 11, status: 0 }],
  ]
  for (const [name, bytes, expected] of cases) {
    peer.send(bytes)
    t.match(await response(peer), expected, name)
  }
  t.equal(Buffer.concat(one.taken.at(-1)?.parts ?? []).toString(), 'some data set')
  peer.send(RELEASE_RQ)
  t.match(await peer.read(), { type: 6 })
  peer.socket.end()
  t.match(await one.ended(0), { how: 'released', stores: 1, refusals: 5 })
})

t.test('each answer is one write, and fits the smallest maximum', async (t) => {
  for (const maximum of [0, 8, 13, 128]) {
    const one = await scp(t)
    const peer = await opened(one.port, maximum)
    const arrivals: Buffer[] = []
    peer.socket.on('data', (chunk: Buffer) => arrivals.push(chunk))
    peer.send(data(1, 3, storeRq(1)), data(1, 2, Buffer.from('x')))
    t.match(await response(peer), { status: 0, sopInstance: '1.2.3.4' })
    t.equal(arrivals.length, 1, `maximum ${maximum}: the answer came in one piece`)
    const [whole = Buffer.alloc(0)] = arrivals
    for (let at = 0; maximum > 0 && at < whole.length; at += 6 + whole.readUInt32BE(at + 2)) t.ok(whole.readUInt32BE(at + 2) <= maximum)
    peer.send(RELEASE_RQ)
    peer.socket.end()
  }
  const one = await scp(t)
  await t.rejects(opened(one.port, 7), 'a maximum that can carry nothing')
})

t.test('pipelining: in order, one at a time, the socket paused meanwhile', async (t) => {
  const order: string[] = []
  let open = 0
  const one = await scp(t, {
    store: (rq, kept) => {
      t.equal(++open, 1, 'one data set at a time')
      let full = false
      return {
        write: (bytes) => {
          t.notOk(full, 'nothing is written before it has drained')
          full = true
          kept.write(bytes)
          return false
        },
        drained: async () => {
          await new Promise((resolve) => setTimeout(resolve, 5))
          full = false
        },
        end: async () => {
          t.notOk(full, 'nor is it ended')
          await new Promise((resolve) => setTimeout(resolve, 20))
          order.push(rq.sopInstance)
          open--
          return kept.end()
        },
        abort: (reason) => kept.abort(reason),
      }
    },
  })
  const peer = await opened(one.port)
  const payload = Buffer.alloc(300_000, 7)
  for (let n = 1; n <= 6; n++) {
    const parts = [data(1, 3, storeRq(n, `1.${n}`))]
    for (let at = 0; at < payload.length; at += 100_000) parts.push(data(1, at + 100_000 >= payload.length ? 2 : 0, payload.subarray(at, at + 100_000)))
    peer.send(...parts, data(3, 3, echoRq(100 + n)))
  }
  peer.send(RELEASE_RQ)
  for (let n = 1; n <= 6; n++) {
    t.match(await response(peer), { respondsTo: n, status: 0 })
    t.match(await response(peer), { respondsTo: 100 + n, status: 0 })
  }
  t.match(await peer.read(), { type: 6 })
  t.strictSame(order, ['1.1', '1.2', '1.3', '1.4', '1.5', '1.6'])
  for (const taken of one.taken) t.ok(Buffer.concat(taken.parts).equals(payload))
})

t.test('a sink that does not drain stops the sender, not the memory', async (t) => {
  let drain: () => void = () => {}
  const one = await scp(t, {
    keep: false,
    store: (_rq, kept) => ({
      write: (bytes) => kept.write(bytes) && false,
      drained: () => new Promise((resolve) => (drain = resolve)),
      end: () => kept.end(),
      abort: (reason) => kept.abort(reason),
    }),
  })
  const peer = await opened(one.port)
  const total = 32 * 1024 ** 2
  const chunk = data(1, 0, Buffer.alloc(128 * 1024))
  peer.socket.write(data(1, 3, storeRq(1)))
  for (let sent = 0; sent < total; sent += 128 * 1024) peer.socket.write(chunk)
  peer.socket.write(data(1, 2, Buffer.alloc(2)))
  await until('the first piece', () => one.bytes > 0)
  await new Promise((resolve) => setTimeout(resolve, 200))
  const taken = one.acceptors[0]?.bytesIn ?? Infinity
  t.ok(taken < 512 * 1024, `${taken} bytes were read for a sink that took one piece`)
  const pump = setInterval(() => drain(), 0)
  t.teardown(() => clearInterval(pump))
  t.match(await response(peer), { status: 0 })
  t.equal(one.bytes, total + 2)
})

/** A recorded session: association, two images, an echo, release. */
const SESSION = Buffer.concat([
  associateRq([{ id: 1, abstractSyntax: CT }, { id: 3, abstractSyntax: VERIFICATION }]),
  data(1, 1, storeRq(1, '1.1').subarray(0, 20)),
  data(1, 3, storeRq(1, '1.1').subarray(20)),
  data(1, 0, Buffer.from('first ')),
  data(1, 0, Buffer.alloc(0)),
  data(1, 2, Buffer.from('image')),
  data(3, 3, echoRq(2)),
  data(1, 3, storeRq(3, '1.2')),
  data(1, 0, Buffer.from('second image')),
  data(1, 2, Buffer.alloc(0)),
  RELEASE_RQ,
])
/** Plays the session: the request alone first, since nothing may follow it before the answer. */
async function play(port: number, chunks: readonly Buffer[]): Promise<Script> {
  const peer = await Script.to(port)
  const rqEnd = 6 + SESSION.readUInt32BE(2)
  let sent = 0
  let answered = false
  for (const chunk of chunks) {
    if (sent >= rqEnd && !answered) {
      await peer.read()
      answered = true
    }
    peer.socket.write(chunk)
    sent += chunk.length
    // Lets the kernel deliver it alone now and then.
    if (chunk.length > 0) await new Promise(setImmediate)
  }
  return peer
}

t.test('law: the same images whatever the chunking', async (t) => {
  const one = await scp(t)
  const rqEnd = 6 + SESSION.readUInt32BE(2)
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(SESSION.length), { maxLength: 40 }), async (places) => {
      const edges = [...new Set([0, rqEnd, SESSION.length, ...places])].sort((a, b) => a - b)
      const count = one.ends.length
      one.taken.length = 0
      const peer = await play(one.port, edges.slice(1).map((edge, n) => SESSION.subarray(edges[n], edge)))
      t.match(await response(peer), { respondsTo: 1, status: 0 })
      t.match(await response(peer), { respondsTo: 2, status: 0 })
      t.match(await response(peer), { respondsTo: 3, status: 0 })
      t.match(await peer.read(), { type: 6 })
      peer.socket.end()
      t.match(await one.ended(count), { how: 'released', stores: 2 })
      t.strictSame(one.taken.map(({ parts }) => Buffer.concat(parts).toString()), ['first image', 'second image'])
    }),
    { numRuns: 40 },
  )
})

t.test('A-ABORT, FIN or RST at every byte: each sink hears exactly one end', async (t) => {
  const one = await scp(t)
  const rqEnd = 6 + SESSION.readUInt32BE(2)
  const ways: [string, (peer: Script) => void][] = [
    ['FIN', (peer) => peer.socket.end()],
    ['RST', (peer) => peer.socket.resetAndDestroy()],
    ['A-ABORT', (peer) => peer.socket.end(ABORT)],
  ]
  for (let cut = 0; cut <= SESSION.length; cut++) {
    const [name, leave] = ways[cut % 3] ?? ways[0]!
    const count = one.ends.length
    one.taken.length = 0
    const first = SESSION.subarray(0, Math.min(cut, rqEnd))
    const peer = await play(one.port, [first, SESSION.subarray(first.length, cut)])
    leave(peer)
    const end = await one.ended(count)
    for (const { ends, aborts } of one.taken) {
      if (ends + aborts.length !== 1) t.fail(`${name} at ${cut}: ${ends} ends and ${aborts.length} aborts`)
    }
    // The last four bytes of an A-RELEASE-RQ may be any: there an A-ABORT only completes it.
    if (cut < SESSION.length - (name === 'A-ABORT' ? 4 : 0) && end.how === 'released') t.fail(`${name} at ${cut}: released`)
  }
  t.equal(one.ends.length, SESSION.length + 1, 'closed was said once for each')
})

t.test('a damaged session never breaks more than itself', async (t) => {
  const one = await scp(t, { limits: { artimMillis: 100, idleMillis: 100, slowMillis: 100 } })
  const rqEnd = 6 + SESSION.readUInt32BE(2)
  const dents = fc.array(fc.tuple(fc.nat(SESSION.length - 1), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 5 })
  const hows = new Set<string>()
  await fc.assert(
    fc.asyncProperty(dents, async (places) => {
      const damaged = Buffer.from(SESSION)
      for (const [at, value] of places) damaged[at] = value
      const count = one.ends.length
      one.taken.length = 0
      const peer = await play(one.port, [damaged.subarray(0, rqEnd), damaged.subarray(rqEnd)])
      peer.socket.end()
      hows.add((await one.ended(count)).how)
      t.ok(one.taken.every(({ ends, aborts }) => ends + aborts.length === 1), 'each sink heard one end')
    }),
    { numRuns: 150 },
  )
  t.ok(hows.has('malformed') && hows.has('released'), [...hows].join(', '))
  const peer = await opened(one.port)
  peer.send(data(3, 3, echoRq(1)))
  t.match(await response(peer), { status: 0 }, 'and the next caller is served')
})

t.test('nonsense is answered with A-ABORT, its reason, and a word for it', async (t) => {
  const rq = associateRq([{ id: 1, abstractSyntax: CT }])
  const huge = Buffer.from([4, 0, 0xff, 0xff, 0xff, 0xff])
  const cases: [string, Buffer[], number, RegExp][] = [
    ['HTTP', [Buffer.from('GET / HTTP/1.1\r\nHost: a\r\n\r\n')], 1, /HTTP client/],
    ['TLS', [Buffer.from('16030102000100', 'hex')], 1, /TLS client on a plain port/],
    ['80 bytes of A', [Buffer.alloc(80, 'A')], 1, /type 41H/],
    ['an image before the association', [data(1, 3, storeRq(1))], 2, /P-DATA-TF at this point/],
    ['a release before the association', [RELEASE_RQ], 2, /A-RELEASE-RQ at this point/],
    ['a second request', [rq, rq], 2, /A-ASSOCIATE-RQ at this point/],
    ['a length of 2^32-1', [rq, huge], 6, /4294967295 bytes/],
    ['a response', [rq, data(1, 3, command({ 0x0100: 0x8001, 0x0120: 1, 0x0800: 0x0101, 0x0900: 0 }))], 5, /response/],
    ['a data set alone', [rq, data(1, 2, Buffer.alloc(10))], 5, /without its command/],
    ['a command of noise', [rq, data(1, 3, Buffer.from('noise noise noise'))], 6, /DIMSE/],
    ['an unknown type', [rq, pdu(9, Buffer.alloc(4))], 1, /09H/],
  ]
  const one = await scp(t)
  for (const [name, [first = Buffer.alloc(0), second], reason, words] of cases) {
    const count = one.ends.length
    const peer = await Script.to(one.port)
    peer.send(first)
    if (second) {
      t.match(await peer.read(), { type: 2 })
      peer.send(second)
    }
    t.strictSame(await peer.read(), { type: 7, body: Buffer.from([0, 0, 2, reason]) }, name)
    t.equal(await peer.read(), undefined, 'and the connection is closed')
    t.match(await one.ended(count), { how: 'malformed', by: 'peer', detail: words }, name)
  }
  for (const [few, expected] of [['GET', { how: 'malformed', detail: /HTTP/ }], ['xy', { how: 'lost' }], ['', { how: 'lost' }]] as const) {
    const count = one.ends.length
    const peer = await Script.to(one.port)
    peer.socket.end(few)
    t.match(await one.ended(count), expected, `only "${few}"`)
  }
})

t.test('time-outs count progress', async (t) => {
  const limits = { artimMillis: 150, idleMillis: 400, slowMillis: 150, slowBytes: 100 }
  const one = await scp(t, { limits })
  const silent = await Script.to(one.port)
  t.equal(await silent.read(), undefined, 'no request: closed without a PDU (AA-2)')
  t.match(await one.ended(0), { how: 'timed-out', detail: /no association/ })

  const idle = await opened(one.port)
  t.match(await idle.read(), { type: 7 })
  t.match(await one.ended(1), { how: 'timed-out', detail: /nothing came/ })

  for (const [at, begun] of [data(1, 3, storeRq(1)), data(1, 3, storeRq(1)).subarray(0, 3)].entries()) {
    const stuck = await opened(one.port)
    stuck.send(begun)
    t.match(await stuck.read(), { type: 7 })
    t.match(await one.ended(2 + at), { how: 'timed-out', detail: /middle of a message/ })
  }
  t.equal(one.taken.at(-1)?.aborts.length, 1)

  const slow = await opened(one.port)
  slow.send(data(1, 3, storeRq(1)))
  // Longer than every bound together, but always enough within each.
  for (let n = 0; n < 20; n++) {
    slow.send(data(1, n === 19 ? 2 : 0, Buffer.alloc(200)))
    await new Promise((resolve) => setTimeout(resolve, 40))
  }
  t.match(await response(slow), { status: 0 }, 'slow, but not stuck')
  slow.send(RELEASE_RQ)
  t.match(await slow.read(), { type: 6 })
  t.match(await one.ended(4), { how: 'released' }, 'a peer that does not close after the release is cut off')
})

t.test('our own slowness is not the peer\'s', async (t) => {
  const late: StoreAnswer = { status: 0 }
  const one = await scp(t, {
    limits: { idleMillis: 60, slowMillis: 60, artimMillis: 60 },
    store: (_rq, kept): StoreSink => ({
      write: (bytes) => kept.write(bytes) && false,
      drained: () => new Promise((resolve) => setTimeout(resolve, 200)),
      end: () => new Promise((resolve) => setTimeout(() => resolve(late), 200)),
      abort: (reason) => kept.abort(reason),
    }),
  })
  const peer = await opened(one.port)
  peer.send(data(1, 3, storeRq(1)), data(1, 2, Buffer.alloc(10)))
  t.match(await response(peer), { status: 0 })
})

t.test('a peer that does not read its answers is not read either, and not for ever', async (t) => {
  const one = await scp(t, { limits: { slowMillis: 300, artimMillis: 300 }, keep: false })
  const peer = await opened(one.port)
  peer.socket.pause()
  const echo = data(3, 3, echoRq(1))
  const many = Buffer.concat(Array.from({ length: 2000 }, () => echo))
  const flood = (): void => {
    while (!peer.socket.destroyed && peer.socket.writable && peer.socket.write(many));
  }
  peer.socket.on('drain', flood)
  flood()
  t.match(await one.ended(0), { how: 'timed-out', detail: /does not read our answers/ })
  peer.socket.destroy()
})

t.test('who asks a thousand things in one breath keeps nobody waiting', async (t) => {
  const one = await scp(t)
  const [greedy, modest] = [await opened(one.port), await opened(one.port)]
  const many = 1000
  greedy.send(...Array.from({ length: many }, (_, n) => data(3, 3, echoRq(n + 1))))
  modest.send(data(3, 3, echoRq(1)))
  let answered = 0
  const all = (async () => {
    while (answered < many) {
      t.match(await response(greedy), { status: 0, respondsTo: (answered += 1) })
    }
  })()
  t.match(await response(modest), { status: 0 })
  t.ok(answered < many / 10, `${answered} answers went to the greedy one before`)
  await all
})

t.test('who was shown out and talks on is read for a while, and then cut off', async (t) => {
  const discardBytes = 1024 * 1024
  const one = await scp(t, { limits: { discardBytes } })
  // It does not close its half when it sees ours closed.
  const peer = new Script(net.connect({ port: one.port, host: '127.0.0.1', allowHalfOpen: true }))
  const flood = Buffer.alloc(256 * 1024)
  const more = (): void => {
    while (!peer.socket.destroyed && peer.socket.write(flood));
  }
  peer.socket.on('drain', more)
  more()
  t.match(await peer.read(), { type: 7 }, 'it hears why')
  t.match(await one.ended(0), { how: 'malformed' })
  await until('the connection to be cut', () => peer.socket.destroyed)
  // What the two kernels keep between the ends comes on top.
  t.ok(peer.socket.bytesWritten < 64 * discardBytes, `${peer.socket.bytesWritten} bytes were taken`)
})

t.test('finish: the image at hand is answered, then A-ABORT', async (t) => {
  const one = await scp(t)
  const idle = await opened(one.port)
  void one.acceptors[0]?.finish('shutting down')
  t.strictSame(await idle.read(), { type: 7, body: Buffer.from([0, 0, 0, 0]) })
  t.match(await one.ended(0), { how: 'aborted', by: 'us', detail: 'shutting down' })
  const busy = await opened(one.port)
  busy.send(data(1, 3, storeRq(1)), data(1, 0, Buffer.from('half ')))
  await until('the image to begin', () => one.bytes > 0)
  void one.acceptors[1]?.finish('shutting down')
  busy.send(data(1, 2, Buffer.from('whole')), data(1, 3, storeRq(2)))
  t.match(await response(busy), { status: 0, respondsTo: 1 })
  t.match(await busy.read(), { type: 7 })
  t.equal(one.taken.length, 1, 'the next one was not begun')
  t.match(await one.ended(1), { how: 'aborted', stores: 1 })
})

t.test('1 GiB into a sink that keeps nothing: memory stays flat', async (t) => {
  const one = await scp(t, { keep: false })
  const peer = await opened(one.port)
  const chunk = data(1, 0, Buffer.alloc(256 * 1024 - 16, 1))
  const total = 1024 ** 3
  peer.send(data(1, 3, storeRq(1)))
  let before = 0
  let highest = 0
  for (let sent = 0; sent < total; sent += chunk.length - 12) {
    if (!peer.socket.write(chunk)) await new Promise((resolve) => peer.socket.once('drain', resolve))
    // The first quarter fills what this process, which is the sender too, keeps in reserve anyhow.
    const now = process.memoryUsage.rss()
    if (sent < total / 4) before = Math.max(before, now)
    highest = Math.max(highest, now)
  }
  peer.send(data(1, 2, Buffer.alloc(2)))
  t.match(await response(peer), { status: 0 })
  t.ok(one.bytes >= total, `${one.bytes} bytes`)
  const grown = Math.round((highest - before) / 1024 ** 2)
  t.ok(grown < 64, `RSS grew by ${grown} MiB`)
})
