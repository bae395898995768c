import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import net from 'node:net'
import tls from 'node:tls'
import fc from 'fast-check'
import t from 'tap'
import { Acceptor } from '../../firmware/dicom/acceptor.ts'
import { decodeCommand, encodeResponse } from '../../firmware/dicom/command.ts'
import { AssociationRejected, associate, type Association, type DataSource, type Proposal } from '../../firmware/dicom/requestor.ts'
import { Fault } from '../../firmware/domain/errors.ts'
import { LIMITS } from '../../firmware/domain/limits.ts'
import { certificates } from '../peers/certificates.ts'
import { corpus, readable } from '../peers/corpus.ts'
import { part10 } from '../peers/dataset.ts'
import { storescp } from '../peers/dcmtk.ts'
import { dimseScp } from '../peers/dimse.ts'
import { until } from '../peers/process.ts'
import { scp } from './scp.ts'
import { ABORT, CT, EXPLICIT, IMPLICIT, RELEASE_RP, RELEASE_RQ, Script, VERIFICATION, associateAc, data, echoRq, pdu, storeRsp } from './script.ts'

const { present, sentence, series, mixed } = corpus()
t.comment(sentence)

const TIMES = { progressMillis: 5000, answerMillis: 5000 }
const BOTH: Proposal = {
  calledAe: 'FARSIDE',
  callingAe: 'SALLYPORT',
  contexts: [
    { abstractSyntax: CT, transferSyntaxes: [EXPLICIT] },
    { abstractSyntax: VERIFICATION, transferSyntaxes: [IMPLICIT] },
  ],
}
const AC = associateAc([[1, 0, EXPLICIT], [3, 0, IMPLICIT]])
const IMAGE = { contextId: 1, sopClass: CT, sopInstance: '1.2.3.4' }

async function connected(port: number): Promise<net.Socket> {
  const socket = net.connect(port, '127.0.0.1')
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject))
  return socket
}
const opened = async (port: number, proposal = BOTH, limits = {}): Promise<Association> =>
  associate(await connected(port), proposal, { ...LIMITS, ...limits })

/** The promise's Fault; anything else fails the test. */
async function faultOf(promise: Promise<unknown>): Promise<Fault> {
  const outcome = await promise.then(
    () => new Error('it succeeded'),
    (error: unknown) => error,
  )
  if (!(outcome instanceof Fault)) throw outcome
  return outcome
}
async function* pieces(whole: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < whole.length; at += size) yield whole.subarray(at, at + size)
}

t.test('real receivers take what was sent, byte for byte', async (t) => {
  if (!present) return void t.pass('corpus absent')
  const files = readable([...mixed, ...series.slice(0, 3)]).filter(({ dataSet }) => dataSet.length < 2_000_000)
  const proposal: Proposal = {
    ...BOTH,
    contexts: [
      { abstractSyntax: VERIFICATION, transferSyntaxes: [IMPLICIT] },
      ...[...new Set(files.map(({ sopClass, transferSyntax }) => `${sopClass} ${transferSyntax}`))].map((pair) => {
        const [abstractSyntax = '', transferSyntax = ''] = pair.split(' ')
        return { abstractSyntax, transferSyntaxes: [transferSyntax] }
      }),
    ],
  }
  for (const options of [{ options: ['--max-pdu', '4096'] }, { options: ['--max-pdu', '16384'] }, { options: ['--max-pdu', '131072'], noDelay: true }]) {
    const peer = await storescp({ fork: false, ...options })
    t.teardown(() => peer.stop())
    const association = await opened(peer.port, proposal)
    t.equal(association.fragmentBytes, Number(options.options[1]) - 6)
    t.match(association.implementation, /DCMTK/)
    t.match(await association.echo(5000), { status: 0 })
    const sent = new Map<string, Buffer>()
    for (const file of files.slice(0, 60)) {
      const context = association.contexts.find((one) => one.abstractSyntax === file.sopClass && one.transferSyntax === file.transferSyntax)
      if (!context || sent.has(file.sopInstance)) continue
      const { sopClass, sopInstance, dataSet } = file
      const result = await association.store({ contextId: context.id, sopClass, sopInstance }, pieces(dataSet, 10_000), TIMES)
      t.equal(result.status, 0, file.name)
      // PS3.5 A.5: to any but our own kind, a deflated data set of odd length gets its NUL.
      sent.set(sopInstance, dataSet.length % 2 === 0 ? dataSet : Buffer.concat([dataSet, Buffer.alloc(1)]))
    }
    t.ok(sent.size >= 20, `${sent.size} sent`)
    t.match(await association.release(), { how: 'released', by: 'us' })
    for (const path of peer.files()) {
      const { sopInstance, dataSet } = part10(readFileSync(path))
      if (!sent.get(sopInstance)?.equals(dataSet)) t.fail(`${sopInstance} differs`)
      sent.delete(sopInstance)
    }
    t.equal(sent.size, 0, 'each one arrived')
  }
  const peer = await dimseScp({ status: 0xb000 })
  t.teardown(() => peer.stop())
  const association = await opened(peer.port, proposal)
  t.match(await association.echo(5000), { status: 0 })
  const [file] = readable(series)
  if (!file) throw new Error('no file')
  const context = association.contexts.find((one) => one.abstractSyntax === file.sopClass && one.transferSyntax === file.transferSyntax)
  const result = await association.store({ contextId: context?.id ?? 0, sopClass: file.sopClass, sopInstance: file.sopInstance }, [file.dataSet], TIMES)
  t.equal(result.status, 0xb000)
  t.ok(peer.files().some((path) => readFileSync(path).equals(file.dataSet)), 'dcmjs-dimse holds the same bytes')
  t.match(await association.release(), { how: 'released' })
})

t.test('over TLS, several images on one association, to our own acceptor', async (t) => {
  const set = certificates()
  const key = { key: set.hub.keyPem, cert: set.hub.certPem }
  const one = await scp(t, { tls: key })
  const socket = tls.connect({ port: one.port, host: '127.0.0.1', rejectUnauthorized: false })
  await new Promise((resolve) => socket.once('secureConnect', resolve))
  const association = await associate(socket, BOTH, LIMITS)
  const image = Buffer.from(Array.from({ length: 700_001 }, (_, n) => n * 7))
  for (let n = 0; n < 5; n++) t.match(await association.store({ ...IMAGE, sopInstance: `1.${n}` }, pieces(image, 65_536), TIMES), { status: 0 })
  await association.release()
  t.equal(one.taken.length, 5)
  for (const { parts } of one.taken) t.ok(Buffer.concat(parts).equals(image))
  const plain = await faultOf(opened(one.port, BOTH, { artimMillis: 2000 }))
  t.ok(['FAR_SPEAKS_TLS', 'ASSOCIATION_BROKEN'].includes(plain.code), plain.message)
})

t.test('law: whatever the pieces and the peer\'s maximum, the same bytes, within it, ended once', async (t) => {
  let maximum = 0
  const got: Buffer[] = []
  const port = await Script.serve(t, async (peer) => {
    await peer.read()
    peer.send(associateAc([[1, 0, EXPLICIT], [3, 0, IMPLICIT]], maximum))
    for (;;) {
      const command = await peer.message()
      if (!command) return peer.send(RELEASE_RP)
      const rq = decodeCommand(command)
      const parts: Buffer[] = []
      for (let last = false; !last; ) {
        const one = await peer.read()
        if (!one || one.type !== 4) throw new Error('no data set')
        if (maximum > 0 && one.body.length > maximum) throw new Error('longer than the peer\'s maximum')
        if (one.body[4] !== 1 || ((one.body[5] ?? 1) & 1) !== 0) throw new Error('not a data set fragment')
        parts.push(one.body.subarray(6))
        if (((one.body[5] ?? 0) & 2) === 0 && one.body.length % 2 === 1) throw new Error('an odd fragment that is not the last')
        last = ((one.body[5] ?? 0) & 2) !== 0
      }
      got.push(Buffer.concat(parts))
      peer.send(data(1, 3, storeRsp(rq.messageId, 0)))
    }
  })
  const sizes = fc.array(fc.oneof(fc.integer({ min: 0, max: 300 }), fc.constantFrom(65_536, 65_535, 131_072, 200_001)), { minLength: 1, maxLength: 8 })
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(8, 13, 128, 512, 4096, 16384, 65536, 0), fc.array(sizes, { minLength: 1, maxLength: 3 }), async (max, images) => {
      maximum = max
      got.length = 0
      const association = await opened(port)
      const wanted: Buffer[] = []
      for (const image of images) {
        // To tiny peers only tiny images, so that the law does not take all day.
        const parts = image.map((size, n) => Buffer.alloc(maximum > 0 && maximum < 512 ? size % 301 : size, n + 1))
        const whole = Buffer.concat(parts)
        if (whole.length === 0) continue
        wanted.push(whole)
        const source: DataSource = image.length % 2 === 0 ? parts : pieces(whole, Math.max(1, parts[0]?.length ?? 1))
        t.match(await association.store(IMAGE, source, TIMES), { status: 0 })
      }
      t.match(await association.release(), { how: 'released' })
      t.equal(got.length, wanted.length)
      if (!got.every((one, n) => one.equals(wanted[n] ?? Buffer.alloc(0)))) t.fail('other bytes arrived')
    }),
    { numRuns: 60 },
  )
})

t.test('exact multiples of the fragment end with the last fragment, not with an empty one', async (t) => {
  // Small fragments are copied together, large ones go out as views: both ways.
  for (const [maximum, total, expected] of [[106, 300, [0, 0, 2]], [16384, 3 * 16378, [0, 0, 2]], [0, 2 * 65536, [0, 2]]] as const) {
    const flags: number[] = []
    const port = await Script.serve(t, async (peer) => {
      await peer.read()
      peer.send(associateAc([[1, 0, EXPLICIT]], maximum))
      await peer.message()
      while (flags.at(-1) !== 2) flags.push((await peer.read())?.body[5] ?? 2)
      peer.send(data(1, 3, storeRsp(1, 0)))
    })
    const association = await opened(port)
    t.match(await association.store(IMAGE, [Buffer.alloc(total)], TIMES), { status: 0 })
    t.strictSame(flags, expected)
    association.abort('done')
  }
})

t.test('what the peer says no to, in words', async (t) => {
  const answers: [string, Buffer, string, RegExp][] = [
    ['RJ 1 1 7', pdu(3, Buffer.from([0, 1, 1, 7])), 'ASSOCIATION_REFUSED', /for good.*called AE title not recognized/],
    ['RJ 1 1 3', pdu(3, Buffer.from([0, 1, 1, 3])), 'ASSOCIATION_REFUSED', /calling AE title not recognized/],
    ['RJ 2 3 2', pdu(3, Buffer.from([0, 2, 3, 2])), 'ASSOCIATION_REFUSED', /for now.*local limit/],
    ['RJ 9 9 9', pdu(3, Buffer.from([0, 9, 9, 9])), 'ASSOCIATION_REFUSED', /9\.9 is not in the standard/],
    ['ABORT', pdu(7, Buffer.from([0, 0, 2, 1])), 'ASSOCIATION_BROKEN', /did not recognize a PDU/],
    ['HTTP', Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'), 'FAR_SPEAKS_OTHER', /an HTTP server/],
    ['TLS alert', Buffer.from('15030300020246', 'hex'), 'FAR_SPEAKS_TLS', /speaks TLS/],
    ['P-DATA', data(1, 3, storeRsp(1, 0)), 'ASSOCIATION_BROKEN', /P-DATA-TF at this point/],
    ['AC of noise', pdu(2, Buffer.alloc(80, 'A')), 'ASSOCIATION_BROKEN', /A-ASSOCIATE-AC|item/],
    ['AC with a maximum of 5', associateAc([[1, 0, EXPLICIT]], 5), 'ASSOCIATION_BROKEN', /maximum length of 5/],
    ['FIN', Buffer.alloc(0), 'ASSOCIATION_BROKEN', /closed the connection/],
  ]
  for (const [name, bytes, code, words] of answers) {
    const port = await Script.serve(t, async (peer) => {
      await peer.read()
      if (name === 'FIN') peer.socket.end()
      else peer.send(bytes)
    })
    const fault = await faultOf(opened(port))
    t.equal(fault.code, code, name)
    t.match(fault.message, words, name)
    if (fault instanceof AssociationRejected) t.equal(fault.permanent, bytes[7] === 1)
  }
  const silent = await Script.serve(t, async () => {})
  t.equal((await faultOf(opened(silent, BOTH, { artimMillis: 100 }))).code, 'ASSOCIATION_SILENT')

  const three = { ...BOTH, contexts: ['1.1', '1.2', '1.3', '1.4'].map((abstractSyntax) => ({ abstractSyntax, transferSyntaxes: [EXPLICIT] })) }
  const picky = await Script.serve(t, async (peer) => {
    await peer.read()
    peer.send(associateAc([[5, 0, '1.2.840.10008.1.2.4.70'], [3, 4, ''], [1, 0, EXPLICIT], [99, 0, EXPLICIT]]))
  })
  const association = await opened(picky, three)
  t.match(association.contexts, [
    { id: 1, result: 0, transferSyntax: EXPLICIT },
    { id: 3, result: 4, transferSyntax: undefined, words: /none of the transfer syntaxes/ },
    { id: 5, transferSyntax: undefined, words: /did not offer/ },
    { id: 7, transferSyntax: undefined, words: /did not answer/ },
  ])
  t.equal((await faultOf(association.echo(100))).code, 'CONTEXT_REFUSED')
  await t.rejects(association.store({ ...IMAGE, contextId: 3 }, [Buffer.alloc(1)], TIMES), /was not accepted/)
  association.abort('done')
})

/** Answers the request, reads the command and `fragments` of the data set, then does as told. */
const serveStore = (t: Parameters<typeof Script.serve>[0], fragments: number, then: (peer: Script) => void): Promise<number> =>
  Script.serve(t, async (peer) => {
    await peer.read()
    peer.send(AC)
    await peer.message()
    for (let n = 0; n < fragments; n++) await peer.read()
    then(peer)
  })
/** Never ends by itself; says when it was told to stop. */
function endless(): { data: DataSource; stopped: () => boolean } {
  let over = false
  async function* source(): AsyncGenerator<Buffer> {
    try {
      for (;;) {
        yield Buffer.alloc(60_000)
        await new Promise(setImmediate)
      }
    } finally {
      over = true
    }
  }
  return { data: source(), stopped: () => over }
}

t.test('in the middle of an image', async (t) => {
  const cases: [string, (peer: Script) => void, string, RegExp][] = [
    ['A-ABORT', (peer) => peer.send(ABORT), 'ASSOCIATION_ABORTED', /aborted/],
    ['RST', (peer) => peer.socket.resetAndDestroy(), 'ASSOCIATION_LOST', /reset|closed/],
    ['FIN', (peer) => peer.socket.end(), 'ASSOCIATION_LOST', /closed/],
    ['early success', (peer) => peer.send(data(1, 3, storeRsp(1, 0))), 'ASSOCIATION_LOST', /before it had the whole image/],
    ['another message id', (peer) => peer.send(data(1, 3, storeRsp(2, 0))), 'ASSOCIATION_LOST', /nothing we asked/],
    ['noise', (peer) => peer.send(Buffer.from('noise!')), 'ASSOCIATION_LOST', /not DICOM/],
    ['A-RELEASE-RQ', (peer) => peer.send(RELEASE_RQ), 'ASSOCIATION_LOST', /released/],
    ['does not read on', (peer) => peer.socket.pause(), 'PROGRESS_STOPPED', /0.3 s/],
  ]
  for (const [name, then, code, words] of cases) {
    const association = await opened(await serveStore(t, 2, then), BOTH, { artimMillis: 300 })
    const source = endless()
    const fault = await faultOf(association.store(IMAGE, source.data, { progressMillis: 300, answerMillis: 300 }))
    t.equal(fault.code, code, `${name}: ${fault.message}`)
    t.match(fault.message, words, name)
    t.ok(source.stopped(), 'the source was told')
    t.notOk(association.open)
    t.ok(await association.closed, 'and the socket goes')
    t.equal((await faultOf(association.store(IMAGE, [Buffer.alloc(1)], TIMES))).code, fault.code, 'nothing more on it')
  }
  const early = await opened(await serveStore(t, 2, (peer) => peer.send(data(1, 3, storeRsp(1, 0xa700)))))
  t.match(await early.store(IMAGE, endless().data, TIMES), { status: 0xa700 }, 'an early refusal counts, and ends the association')
  t.notOk(early.open)

  const late = await opened(await serveStore(t, 1, () => {}), BOTH, { artimMillis: 200 })
  t.equal((await faultOf(late.store(IMAGE, [Buffer.alloc(10)], { progressMillis: 5000, answerMillis: 150 }))).code, 'ANSWER_MISSING')
  t.match(await late.closed, { how: 'timed-out' })
})

t.test('a source that fails: never half an image taken for a whole one', async (t) => {
  const one = await scp(t)
  const damaged = new Fault('OBJECT_DAMAGED', { detail: 'chunk 3' })
  const association = await opened(one.port)
  async function* atOnce(): AsyncGenerator<Buffer> {
    yield Buffer.alloc(0)
    throw damaged
  }
  t.equal(await faultOf(association.store(IMAGE, atOnce(), TIMES)), damaged)
  t.ok(association.open, 'nothing was sent: the association lives on')
  t.equal(one.taken.length, 0)
  async function* later(): AsyncGenerator<Buffer> {
    for (let n = 0; n < 5; n++) yield Buffer.alloc(65_536)
    throw damaged
  }
  t.equal(await faultOf(association.store(IMAGE, later(), TIMES)), damaged)
  t.notOk(association.open)
  t.match(await one.ended(0), { how: 'aborted', by: 'peer', stores: 0 })
  t.match(one.taken, [{ ends: 0, aborts: { length: 1 } }])
})

t.test('slow but moving is not stopped; the disk\'s time is not the peer\'s', async (t) => {
  const one = await scp(t, {
    store: (_rq, kept) => ({ ...kept, write: (bytes) => kept.write(bytes) && false, drained: () => new Promise((resolve) => setTimeout(resolve, 3)) }),
  })
  const association = await opened(one.port)
  async function* slowly(): AsyncGenerator<Buffer> {
    for (let n = 0; n < 3; n++) {
      await new Promise((resolve) => setTimeout(resolve, 400))
      yield Buffer.alloc(65_536, n)
    }
  }
  t.match(await association.store(IMAGE, slowly(), { progressMillis: 200, answerMillis: 2000 }), { status: 0 })
  t.match(await association.release(), { how: 'released' })
})

t.test('a socket that died before it was handed over', async (t) => {
  const one = await scp(t)
  for (const wait of [false, true]) {
    const socket = await connected(one.port)
    socket.destroy()
    if (wait) await new Promise((resolve) => socket.once('close', resolve))
    t.equal((await faultOf(associate(socket, BOTH, LIMITS))).code, 'ASSOCIATION_BROKEN')
    const ends: string[] = []
    const socket2 = await connected(one.port)
    socket2.destroy()
    if (wait) await new Promise((resolve) => socket2.once('close', resolve))
    const never = (): never => {
      throw new Error('nothing was asked')
    }
    void new Acceptor(socket2, { request: never, store: never, closed: (end) => ends.push(end.how) }, LIMITS)
    await new Promise((resolve) => setTimeout(resolve, 30))
    t.strictSame(ends, ['lost'], 'closed is said once')
  }
})

t.test('release: collision, silence, and a peer that asks us something', async (t) => {
  const collide = await Script.serve(t, async (peer) => {
    await peer.read()
    peer.send(AC)
    await peer.read()
    peer.send(RELEASE_RQ)
    const reply = await peer.read()
    if (reply?.type === 6) peer.send(RELEASE_RP)
  })
  t.match(await (await opened(collide)).release(), { how: 'released', by: 'us' }, 'PS3.8 AR-8, AR-9, AR-3')
  const silent = await Script.serve(t, async (peer) => {
    await peer.read()
    peer.send(AC)
  })
  t.match(await (await opened(silent, BOTH, { artimMillis: 100 })).release(), { how: 'timed-out' })
  const heard: number[] = []
  const asking = await Script.serve(t, async (peer) => {
    await peer.read()
    peer.send(AC)
    const echo = decodeCommand((await peer.message()) ?? Buffer.alloc(0))
    peer.send(data(3, 3, echoRq(77)))
    const answer = decodeCommand((await peer.message()) ?? Buffer.alloc(0))
    heard.push(answer.respondsTo, answer.status)
    peer.send(data(3, 3, encodeResponse({ field: 0x30, messageId: echo.messageId, status: 0 })))
  })
  const association = await opened(asking)
  t.match(await association.echo(2000), { status: 0 })
  t.strictSame(heard, [77, 0x0211])
  await t.rejects(Promise.all([association.echo(100), association.echo(100)]), /second operation/)
  association.abort('done')
})

t.test('a far side that asks and asks and never reads our answers is left, before they fill the memory', async (t) => {
  const flood = await Script.serve(t, async (peer) => {
    await peer.read()
    peer.send(AC)
    peer.socket.pause()
    const many = Buffer.concat(Array.from({ length: 1000 }, () => data(3, 3, echoRq(77))))
    for (let n = 0; n < 400 && !peer.socket.destroyed; n++) {
      if (!peer.socket.write(many)) await Promise.race([once(peer.socket, 'drain'), once(peer.socket, 'close')])
    }
  })
  const association = await opened(flood)
  await until('it to be left', () => association.end, 10_000)
  t.match(association.end, { how: 'malformed', by: 'peer', detail: /does not read our answers/ })
})

t.test('1 GiB out of a source that keeps nothing: memory stays flat', async (t) => {
  const one = await scp(t, { keep: false })
  const association = await opened(one.port)
  const chunk = Buffer.alloc(65_536)
  const total = 1024 ** 3
  let before = 0
  let highest = 0
  function* source(): Generator<Buffer> {
    for (let sent = 0; sent < total; sent += chunk.length) {
      const now = sent % (4 * 1024 ** 2) === 0 ? process.memoryUsage.rss() : 0
      if (sent < total / 4) before = Math.max(before, now)
      highest = Math.max(highest, now)
      yield chunk
    }
  }
  t.match(await association.store(IMAGE, source(), TIMES), { status: 0 })
  t.equal(one.bytes, total)
  const grown = Math.round((highest - before) / 1024 ** 2)
  t.ok(grown < 64, `RSS grew by ${grown} MiB`)
  await association.release()
})
