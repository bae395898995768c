import fc from 'fast-check'
import t from 'tap'
import { COMMAND, decodeCommand, encodeEchoRequest, encodeResponse, encodeStoreRequest } from '../../firmware/dicom/command.ts'
import { Malformed } from '../../firmware/dicom/malformed.ts'
import { meaningOf, statusHex } from '../../firmware/dicom/status.ts'

const uid = fc.stringMatching(/^[1-9][0-9.]{0,62}[0-9]$/)
const u16 = fc.integer({ min: 0, max: 0xffff })

/** The elements of a command set as slices, group length left out. */
function elementsOf(set: Buffer): Buffer[] {
  const found: Buffer[] = []
  for (let at = 12; at < set.length; ) {
    const end = at + 8 + set.readUInt32LE(at + 4)
    found.push(set.subarray(at, end))
    at = end
  }
  return found
}

t.test('requests decode to what was encoded, in any order, among unknown elements', async (t) => {
  const unknown = Buffer.from([0, 0, 0x31, 0x10, 2, 0, 0, 0, 7, 0])
  const foreign = Buffer.from([8, 0, 0x16, 0, 4, 0, 0, 0, 0x31, 0x2e, 0x32, 0])
  fc.assert(
    fc.property(uid, uid, u16, fc.constantFrom(0, 1, 2), fc.array(fc.nat(), { minLength: 10, maxLength: 10 }), (sopClass, sopInstance, messageId, priority, keys) => {
      const set = encodeStoreRequest({ messageId, sopClass, sopInstance, priority })
      t.equal(set.readUInt32LE(8), set.length - 12, 'group length counts what follows it (PS3.7 6.3.1)')
      t.equal(set.length % 2, 0)
      const expected = { field: COMMAND.storeRq, messageId, respondsTo: -1, sopClass, sopInstance, priority, dataSet: true, status: -1, comment: '' }
      t.strictSame(decodeCommand(set), expected)
      const tags = elementsOf(set).map((element) => element.readUInt16LE(2))
      t.strictSame(tags, [...tags].sort((a, b) => a - b), 'elements ascend (PS3.7 6.3.1)')
      const shuffled = [...elementsOf(set), unknown, foreign]
        .map((element, n) => [keys[n] ?? 0, element] as const)
        .sort(([a], [b]) => a - b)
        .map(([, element]) => element)
      t.strictSame(decodeCommand(Buffer.concat(shuffled)), expected)
    }),
    { numRuns: 100 },
  )
  t.match(decodeCommand(encodeEchoRequest(9, '1.2.840.10008.1.1')), { field: COMMAND.echoRq, messageId: 9, dataSet: false })
})

t.test('responses', async (t) => {
  const rsp = encodeResponse({ field: COMMAND.storeRq, messageId: 3, status: 0xa700, sopClass: '1.2', sopInstance: '1.2.3', comment: 'full: 95 %' })
  t.strictSame(decodeCommand(rsp), {
    field: COMMAND.storeRsp,
    messageId: -1,
    respondsTo: 3,
    sopClass: '1.2',
    sopInstance: '1.2.3',
    priority: 0,
    dataSet: false,
    status: 0xa700,
    comment: 'full: 95 %',
  })
  const { comment } = decodeCommand(encodeResponse({ field: 1, messageId: 1, status: 0xc000, comment: `a\\b\n${'x'.repeat(100)}` }))
  t.equal(comment.length, 64, 'LO has 64 characters')
  t.match(comment, /^a b x/, 'and neither backslash nor control characters')
  t.strictSame(elementsOf(encodeResponse({ field: COMMAND.echoRq, messageId: 1, status: 0 })).map((one) => one.readUInt16LE(2)), [0x100, 0x120, 0x800, 0x900])
})

t.test('bytes that are no command are Malformed, never anything else', async (t) => {
  const good = encodeStoreRequest({ messageId: 1, sopClass: '1.2', sopInstance: '1.2.3', priority: 0 })
  let refused = 0
  const attempt = (bytes: Buffer): void => {
    try {
      decodeCommand(bytes)
    } catch (error) {
      refused++
      t.type(error, Malformed)
    }
  }
  for (let cut = 0; cut < good.length; cut++) attempt(good.subarray(0, cut))
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (noise) => attempt(Buffer.from(noise))), { numRuns: 300 })
  fc.assert(
    fc.property(fc.nat(good.length - 1), fc.integer({ min: 0, max: 255 }), (at, value) => {
      const dented = Buffer.from(good)
      dented[at] = value
      attempt(dented)
    }),
    { numRuns: 500 },
  )
  t.ok(refused > 300, `${refused} refused`)
  const without = (tag: number): Buffer => Buffer.concat(elementsOf(good).filter((one) => one.readUInt16LE(2) !== tag))
  for (const tag of [0x100, 0x110, 0x800]) t.throws(() => decodeCommand(without(tag)), Malformed, `without (0000,${tag.toString(16)})`)
  const cancel = Buffer.concat([
    Buffer.from([0, 0, 0, 1, 2, 0, 0, 0, 0xff, 0x0f]),
    Buffer.from([0, 0, 0x20, 1, 2, 0, 0, 0, 5, 0]),
    Buffer.from([0, 0, 0, 8, 2, 0, 0, 0, 1, 1]),
  ])
  t.equal(decodeCommand(cancel).field, COMMAND.cancelRq, 'C-CANCEL has no message id of its own (PS3.7 9.3.2.3)')
})

t.test('statuses: only Success and Bxxx mean that the far side has the image', async (t) => {
  const expected: [number, string][] = [
    [0x0000, 'stored'],
    [0xb000, 'stored'],
    [0xb006, 'stored'],
    [0xb007, 'stored'],
    [0xbfff, 'stored'],
    [0xa700, 'refused'],
    [0xa7ff, 'refused'],
    [0x0110, 'refused'],
    [0x0210, 'refused'],
    [0xa800, 'rejected'],
    [0xa900, 'rejected'],
    [0xc000, 'rejected'],
    [0xcfff, 'rejected'],
    [0x0117, 'rejected'],
    [0x0122, 'rejected'],
    [0x0124, 'rejected'],
    [0x0211, 'rejected'],
    [0x0001, 'rejected'],
    [0x0107, 'rejected'],
    [0xfe00, 'rejected'],
    [0xff00, 'rejected'],
  ]
  for (const [status, category] of expected) t.equal(meaningOf(status).category, category, statusHex(status))
  for (let status = 0; status <= 0xffff; status++) {
    const stored = status === 0 || status >> 12 === 0xb
    if ((meaningOf(status).category === 'stored') !== stored) t.fail(statusHex(status))
  }
  t.throws(() => meaningOf(0x10000), 'not a status')
})
