import fc from 'fast-check'
import t from 'tap'
import { Malformed } from '../../firmware/dicom/malformed.ts'
import { MessageReader } from '../../firmware/dicom/message.ts'
import {
  APPLICATION_CONTEXT,
  PDU,
  decodeAssociateAccept,
  decodeAssociateRequest,
  encodeAbort,
  encodeAssociateAccept,
  encodeAssociateRequest,
  encodeRejection,
  encodeReleaseReply,
  encodeReleaseRequest,
  type AssociateRequest,
  type PduType,
} from '../../firmware/dicom/pdu.ts'
import { encodeEchoRequest, encodeStoreRequest } from '../../firmware/dicom/command.ts'
import { fragmentBytes, frameMessage } from '../../firmware/dicom/fragment.ts'
import { PduReader } from '../../firmware/dicom/reader.ts'
import { strangerOf } from '../../firmware/dicom/stranger.ts'
import { UPPER_LAYER } from '../../firmware/dicom/upper-layer.ts'
import { LIMITS } from '../../firmware/domain/limits.ts'

const uid = fc.stringMatching(/^[1-9][0-9.]{0,62}[0-9]$/)
const ae = fc.stringMatching(/^[!-[\]-~][ -[\]-~]{0,14}[!-[\]-~]$/)
const bytes = fc.uint8Array({ maxLength: 40 }).map((some) => Buffer.from(some))
const u16 = fc.integer({ min: 0, max: 0xffff })
const information = {
  maximumLength: fc.integer({ min: 0, max: 0xffffffff }),
  implementationClass: uid,
  implementationVersion: fc.stringMatching(/^[A-Z0-9_]{1,16}$/),
  roles: fc.array(fc.record({ sopClass: uid, scu: fc.boolean(), scp: fc.boolean() }), { maxLength: 5 }),
  extended: fc.array(fc.record({ sopClass: uid, information: bytes }), { maxLength: 3 }),
  commonExtended: fc.array(
    fc.record({ sopClass: uid, serviceClass: uid, related: fc.array(uid, { maxLength: 3 }) }),
    { maxLength: 3 },
  ),
  asyncWindow: fc.record({ invoked: u16, performed: u16 }),
  userIdentity: fc.record({ type: fc.integer({ min: 1, max: 5 }), responseRequested: fc.boolean(), primary: bytes, secondary: bytes }),
}
const request = fc.record({
  calledAe: ae,
  callingAe: ae,
  applicationContext: fc.constant(APPLICATION_CONTEXT),
  // Any odd ids in any order, up to all 128 of them.
  contexts: fc
    .uniqueArray(fc.integer({ min: 0, max: 127 }), { minLength: 1, maxLength: 128 })
    .chain((ids) =>
      fc.tuple(
        ...ids.map((n) =>
          fc.record({ id: fc.constant(2 * n + 1), abstractSyntax: uid, transferSyntaxes: fc.array(uid, { minLength: 1, maxLength: 4 }) }),
        ),
      ),
    ),
  ...information,
})
const plain = (value: object): unknown => JSON.parse(JSON.stringify(value))
const body = (pdu: Buffer): Buffer => pdu.subarray(6)

t.test('an association request or answer decodes to what was encoded', async (t) => {
  fc.assert(
    fc.property(request, (rq) => {
      const pdu = encodeAssociateRequest(rq)
      t.equal(pdu.readUInt32BE(2), pdu.length - 6)
      const { titles, protocolVersion, ...rest } = decodeAssociateRequest(body(pdu), LIMITS)
      t.strictSame(plain(rest), plain(rq))
      t.equal(protocolVersion, 1)
      const ac = {
        ...rq,
        contexts: rq.contexts.map(({ id, transferSyntaxes }) => ({ id, result: (id % 5) as 0 | 1 | 2 | 3 | 4, transferSyntax: transferSyntaxes[0] ?? '' })),
      }
      const answer = encodeAssociateAccept(ac, titles)
      t.ok(answer.subarray(10, 74).equals(pdu.subarray(10, 74)), 'AE titles come back as they were sent (PS3.8 9.3.3)')
      const { calledAe: _called, callingAe: _calling, ...expected } = ac
      t.strictSame(plain(decodeAssociateAccept(body(answer), LIMITS)), plain(expected))
    }),
    { numRuns: 60 },
  )
})

t.test('damaged association PDUs are Malformed or still sensible, never anything else', async (t) => {
  let refused = 0
  fc.assert(
    fc.property(request, fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 4 }), fc.nat(), (rq, dents, cut) => {
      const pdu = Buffer.from(body(encodeAssociateRequest(rq)))
      for (const [at, value] of dents) pdu[at % pdu.length] = value
      for (const decode of [decodeAssociateRequest, decodeAssociateAccept]) {
        try {
          const ids = decode(pdu.subarray(0, cut % (pdu.length + 1)), LIMITS).contexts.length
          t.ok(ids <= LIMITS.presentationContexts)
        } catch (error) {
          refused++
          t.type(error, Malformed)
        }
      }
    }),
    { numRuns: 400 },
  )
  t.ok(refused > 100, `${refused} refused`)
})

const base: Omit<AssociateRequest, 'titles' | 'protocolVersion'> = {
  calledAe: 'A',
  callingAe: 'B',
  applicationContext: APPLICATION_CONTEXT,
  contexts: [{ id: 1, abstractSyntax: '1.2', transferSyntaxes: ['1.3'] }],
  maximumLength: 0,
  implementationClass: '1.4',
  implementationVersion: '',
  roles: [],
  extended: [],
  commonExtended: [],
}
t.test('what a request may not say', async (t) => {
  const decode = (rq: typeof base): AssociateRequest => decodeAssociateRequest(body(encodeAssociateRequest(rq)), LIMITS)
  const [context] = base.contexts
  if (!context) throw new Error('no context')
  t.throws(() => decode({ ...base, contexts: [context, context] }), Malformed, 'one id twice')
  t.throws(() => decode({ ...base, contexts: [{ ...context, id: 2 }] }), Malformed, 'an even id')
  t.throws(() => decode({ ...base, contexts: [] }), Malformed, 'no context')
  t.throws(() => decode({ ...base, contexts: [{ ...context, transferSyntaxes: [] }] }), Malformed, 'no transfer syntax')
  t.throws(() => decodeAssociateRequest(Buffer.alloc(80, 'A'), LIMITS), Malformed, '80 bytes of A')
  const few = { ...LIMITS, presentationContexts: 1 }
  t.throws(() => decodeAssociateRequest(body(encodeAssociateRequest({ ...base, contexts: [context, { ...context, id: 3 }] })), few), Malformed)
  const unknown = Buffer.concat([body(encodeAssociateRequest(base)), Buffer.from([0x99, 0, 0, 2, 1, 2])])
  t.equal(decodeAssociateRequest(unknown, LIMITS).contexts.length, 1, 'an unknown item is stepped over (PS3.8 9.3.1)')
  const padded = decode({ ...base, contexts: [{ ...context, abstractSyntax: '1.2\0' }] })
  t.equal(padded.contexts[0]?.abstractSyntax, '1.2', 'padding of a UID does not count')
})

t.test('the size of a fragment', async (t) => {
  t.equal(fragmentBytes(0, 262144), 262138, 'no limit of the peer: ours')
  t.equal(fragmentBytes(16384, 262144), 16378)
  t.equal(fragmentBytes(129, 262144), 122, 'even')
  t.equal(fragmentBytes(8, 262144), 2)
  t.equal(fragmentBytes(0xffffffff, 262144), 262138)
})

/** What came out of a reader, with fragments joined as far as they belong together. */
type Seen = { type: PduType; body: string } | { context: number; flags: number; bytes: string }
function readAll(chunks: readonly Buffer[], hold = false): Seen[] {
  const seen: Seen[] = []
  let parts: Buffer[] = []
  const reader = new PduReader(
    {
      begin: () => {},
      pdu: (type, content) => {
        seen.push({ type, body: content.toString('hex') })
        if (hold) reader.hold()
      },
      fragment: (context, flags, piece, whole) => {
        parts.push(Buffer.from(piece))
        if (whole) {
          seen.push({ context, flags, bytes: Buffer.concat(parts).toString('hex') })
          parts = []
        }
        if (hold) reader.hold()
      },
    },
    LIMITS,
  )
  for (const chunk of chunks) reader.feed(chunk)
  while (reader.held) reader.resume()
  t.equal(reader.bytes, chunks.reduce((sum, chunk) => sum + chunk.length, 0))
  t.notOk(reader.midway || reader.waiting, 'nothing is left over')
  return seen
}
function cutAt(stream: Buffer, places: readonly number[]): Buffer[] {
  const edges = [0, ...[...places].map((n) => n % (stream.length + 1)).sort((a, b) => a - b), stream.length]
  return edges.slice(1).map((edge, n) => stream.subarray(edges[n], edge))
}
/** Several PDVs, empty ones too, in one P-DATA-TF (PS3.8 9.3.5). */
function dataPdu(pdvs: readonly { context: number; flags: number; value: Buffer }[]): Buffer {
  const items = pdvs.map(({ context, flags, value }) => {
    const head = Buffer.alloc(6)
    head.writeUInt32BE(value.length + 2)
    head[4] = context
    head[5] = flags
    return Buffer.concat([head, value])
  })
  const content = Buffer.concat(items)
  const head = Buffer.alloc(6)
  head[0] = PDU.data
  head.writeUInt32BE(content.length, 2)
  return Buffer.concat([head, content])
}
const pdv = fc.record({ context: fc.integer({ min: 1, max: 255 }), flags: fc.integer({ min: 0, max: 255 }), value: bytes })
const anyPdu = fc.oneof(
  fc.array(pdv, { minLength: 1, maxLength: 4 }).map(dataPdu),
  fc.constantFrom(encodeReleaseRequest(), encodeReleaseReply(), encodeAbort(2, 6), encodeRejection({ result: 1, source: 1, reason: 7 })),
  request.map(encodeAssociateRequest),
)

t.test('law: the same PDUs come out however the stream is chunked, and wherever it is held', async (t) => {
  fc.assert(
    fc.property(fc.array(anyPdu, { minLength: 1, maxLength: 5 }), fc.array(fc.nat(), { maxLength: 30 }), (pdus, places) => {
      const stream = Buffer.concat(pdus)
      const whole = readAll([stream])
      t.strictSame(readAll(cutAt(stream, places)), whole)
      t.strictSame(readAll(cutAt(stream, places), true), whole)
      const single = Array.from(stream, (_byte, at) => stream.subarray(at, at + 1))
      t.strictSame(readAll(single), whole, 'one byte at a time')
    }),
    { numRuns: 60 },
  )
})

t.test('law: the same messages come out however they are cut into PDVs, PDUs and chunks', async (t) => {
  const store = encodeStoreRequest({ messageId: 7, sopClass: '1.2.840.10008.5.1.4.1.1.2', sopInstance: '1.2.3', priority: 0 })
  const messages = fc.array(fc.oneof(fc.constant(undefined), fc.uint8Array({ minLength: 1, maxLength: 300 })), { minLength: 1, maxLength: 4 })
  const pieces = (value: Buffer, places: readonly number[], context: number, command: boolean) =>
    cutAt(value, places).map((part, n, all) => ({ context, flags: (command ? 1 : 0) | (n === all.length - 1 ? 2 : 0), value: part }))
  fc.assert(
    fc.property(messages, fc.array(fc.nat(), { maxLength: 6 }), fc.integer({ min: 1, max: 4 }), fc.array(fc.nat(), { maxLength: 20 }), (wanted, cuts, perPdu, chunks) => {
      const pdvs = wanted.flatMap((data, n) => {
        const context = 2 * n + 1
        if (data === undefined) return pieces(encodeEchoRequest(n, '1.2'), cuts, context, true)
        return [...pieces(store, cuts, context, true), ...pieces(Buffer.from(data), cuts, context, false)]
      })
      const pdus: Buffer[] = []
      for (let at = 0; at < pdvs.length; at += perPdu) pdus.push(dataPdu(pdvs.slice(at, at + perPdu)))
      const got: (Buffer | undefined)[] = []
      let parts: Buffer[] = []
      const reader = new MessageReader(
        {
          command: (context, command) => {
            t.equal(context, 2 * got.length + 1)
            if (!command.dataSet) got.push(undefined)
          },
          data: (piece) => parts.push(Buffer.from(piece)),
          dataEnd: () => {
            got.push(Buffer.concat(parts))
            parts = []
          },
        },
        LIMITS,
      )
      const pduReader = new PduReader({ begin: () => {}, pdu: () => t.fail('no such PDU'), fragment: (...piece) => reader.fragment(...piece) }, LIMITS)
      for (const chunk of cutAt(Buffer.concat(pdus), chunks)) pduReader.feed(chunk)
      t.notOk(reader.midway)
      t.strictSame(got.map((data) => data?.toString('hex')), wanted.map((data) => data && Buffer.from(data).toString('hex')))
    }),
    { numRuns: 200 },
  )
})

t.test('what is framed here is within the peer\'s maximum and reads back', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 500 }), fc.integer({ min: 8, max: 200 }), (message, maximum) => {
      const framed = frameMessage(5, true, Buffer.from(message), fragmentBytes(maximum, LIMITS.pduSendBytes))
      const seen = readAll([framed])
      for (let at = 0; at < framed.length; at += 6 + framed.readUInt32BE(at + 2)) t.ok(framed.readUInt32BE(at + 2) <= maximum)
      t.equal(seen.map((one) => ('bytes' in one ? one.bytes : '')).join(''), Buffer.from(message).toString('hex'))
      t.strictSame(seen.map((one) => 'flags' in one && one.flags), seen.map((_one, n) => (n === seen.length - 1 ? 3 : 1)))
    }),
    { numRuns: 200 },
  )
})

const header = (type: number, length: number, ...rest: number[]): Buffer => {
  const head = Buffer.alloc(6)
  head[0] = type
  head.writeUInt32BE(length, 2)
  return Buffer.concat([head, Buffer.from(rest)])
}
t.test('lengths that lie are refused at the header, with the reason PS3.8 9.3.8 has for it', async (t) => {
  const cases: [string, Buffer, number][] = [
    ['P-DATA-TF of 2^32-1', header(4, 0xffffffff), 6],
    ['P-DATA-TF one longer than advertised', header(4, LIMITS.pduBytes + 1), 6],
    ['P-DATA-TF without a PDV', header(4, 0), 6],
    ['P-DATA-TF too short for a PDV', header(4, 5), 6],
    ['A-ASSOCIATE-RQ of 2^32-1', header(1, 0xffffffff), 6],
    ['A-ASSOCIATE-RQ too short', header(1, 67), 6],
    ['A-ABORT of 5 bytes', header(7, 5), 6],
    ['A-RELEASE-RQ of 2^32-1', header(5, 0xffffffff), 6],
    ['type 0', header(0, 4, 1), 1],
    ['type 8', header(8, 4), 1],
    ['type FFH', header(0xff, 4), 1],
    ['PDV of length 0', header(4, 10, 0, 0, 0, 0, 1, 3), 6],
    ['PDV of length 1', header(4, 10, 0, 0, 0, 1, 1, 3), 6],
    ['PDV beyond its PDU', header(4, 10, 0, 0, 0, 7, 1, 3), 6],
    ['PDV of 2^32-1', header(4, 10, 0xff, 0xff, 0xff, 0xff, 1, 3), 6],
    ['remainder too short for another PDV', header(4, 9, 0, 0, 0, 2, 1, 3, 0), 6],
  ]
  for (const [name, stream, reason] of cases) {
    for (const chunks of [[stream], Array.from(stream, (_byte, at) => stream.subarray(at, at + 1))]) {
      const reader = new PduReader({ begin: () => {}, pdu: () => {}, fragment: () => {} }, LIMITS)
      try {
        for (const chunk of chunks) reader.feed(chunk)
        t.fail(`${name}: was let through`)
      } catch (error) {
        t.ok(error instanceof Malformed && error.reason === reason, `${name}: ${String(error)}`)
      }
    }
  }
  const exact = new PduReader({ begin: () => {}, pdu: () => {}, fragment: () => {} }, LIMITS)
  exact.feed(header(4, LIMITS.pduBytes))
  t.ok(exact.midway, 'exactly as long as advertised is right')
})

t.test('messages that mix are refused', async (t) => {
  const store = encodeStoreRequest({ messageId: 7, sopClass: '1.2', sopInstance: '1.2.3', priority: 0 })
  const cases: [string, [number, number, Buffer][]][] = [
    ['data set first', [[1, 0, Buffer.alloc(2)]]],
    ['another context inside a command', [[1, 1, store.subarray(0, 4)], [3, 3, store.subarray(4)]]],
    ['another context inside a data set', [[1, 3, store], [3, 0, Buffer.alloc(2)]]],
    ['a command inside a data set', [[1, 3, store], [1, 0, Buffer.alloc(2)], [1, 3, store]]],
    ['a command without end', Array.from({ length: 20 }, () => [1, 1, Buffer.alloc(1000)] as [number, number, Buffer])],
    ['a command that is none', [[1, 3, Buffer.from('no command at all')]]],
  ]
  for (const [name, pieces] of cases) {
    const reader = new MessageReader({ command: () => {}, data: () => {}, dataEnd: () => {} }, LIMITS)
    t.throws(() => pieces.forEach(([context, flags, piece]) => reader.fragment(context, flags, piece, true)), Malformed, name)
  }
})

t.test('strangers are named, DICOM is not', async (t) => {
  const names = (first: string): string | undefined => strangerOf(Buffer.from(first, 'latin1'))
  t.match(names('\x16\x03\x01\x02\x00\x01'), /TLS client/)
  t.match(names('GET / '), /HTTP client/)
  t.match(names('OPTION'), /HTTP client/)
  t.match(names('HTTP/1'), /HTTP server/)
  t.match(names('SSH-2.'), /SSH/)
  t.match(names('\x0bMSH|^'), /HL7/)
  t.match(names('\x03\x00\x00\x13\x0e\xe0'), /remote desktop/)
  for (let type = 1; type <= 7; type++) t.equal(strangerOf(header(type, 4)), undefined)
  t.equal(strangerOf(header(1, 0x0200)), undefined)
})

t.test('the state table has a cell for everything a peer can do in every state', async (t) => {
  const events = ['associate-rq', 'associate-ac', 'associate-rj', 'data', 'release-rq', 'release-rp', 'abort', 'malformed', 'disconnected', 'expired']
  for (const [state, row] of Object.entries(UPPER_LAYER)) {
    if (state === 'closed') continue
    for (const event of events) t.ok(event in row, `${state}: ${event}`)
  }
})
