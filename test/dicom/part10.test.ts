import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import fs from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { element, encodeElements } from '../../firmware/dicom/element.ts'
import { IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME } from '../../firmware/dicom/implementation.ts'
import { fileMeta, readPart10 } from '../../firmware/dicom/part10.ts'
import {
  DEFLATED_LITTLE_ENDIAN,
  EXPLICIT_BIG_ENDIAN,
  EXPLICIT_LITTLE_ENDIAN,
  IMPLICIT_LITTLE_ENDIAN,
} from '../../firmware/dicom/transfer-syntaxes.ts'
import { isUid } from '../../firmware/domain/identifier.ts'
import { LIMITS } from '../../firmware/domain/limits.ts'
import { corpus } from '../peers/corpus.ts'
import { BIG, encode, header, IMPLICIT, LITTLE, mark, type Node, ui } from './data-set.ts'

const run = promisify(execFile)

const CT = '1.2.840.10008.5.1.4.1.1.2'
const DATA: Node[] = [
  { tag: 0x00080016, vr: 'UI', value: ui(CT) },
  { tag: 0x00080018, vr: 'UI', value: ui('1.2.3') },
  { tag: 0x0020000d, vr: 'UI', value: ui('1.2.3.4') },
  { tag: 0x0020000e, vr: 'UI', value: ui('1.2.3.4.5') },
  { tag: 0x00280100, vr: 'US', value: Buffer.of(16, 0) },
]
const META = { sopClass: CT, sopInstance: '1.2.3', transferSyntax: EXPLICIT_LITTLE_ENDIAN }
const PREAMBLE = Buffer.concat([Buffer.alloc(128), Buffer.from('DICM')])

t.test('file meta information: right to DCMTK, and read back', async (t) => {
  const folder = t.testdir()
  const file = path.join(folder, 'a.dcm')
  const data = encode(DATA, LITTLE)
  const meta = fileMeta({ ...META, sourceAe: 'MODALITY', sendingAe: 'CLINIC', receivingAe: 'HUB' })
  await fs.writeFile(file, [meta, data])
  t.strictSame(await readPart10(file, LIMITS), {
    kind: 'object',
    sopClass: CT,
    sopInstance: '1.2.3',
    study: '1.2.3.4',
    series: '1.2.3.4.5',
    transferSyntax: EXPLICIT_LITTLE_ENDIAN,
    guessed: false,
    offset: meta.length,
    bytes: data.length,
  })
  t.match((await run('dcmftest', [file])).stdout, /^yes/)
  const { stdout, stderr } = await run('dcmdump', ['+L', file])
  t.equal(stderr, '')
  t.match(stdout, new RegExp(`\\(0002,0012\\) UI \\[${IMPLEMENTATION_CLASS_UID}\\]`))
  t.match(stdout, new RegExp(`\\(0002,0013\\) SH \\[${IMPLEMENTATION_VERSION_NAME}\\]`))
  t.match(stdout, /\(0002,0016\) AE \[MODALITY\][^]*\(0002,0017\) AE \[CLINIC\][^]*\(0002,0018\) AE \[HUB\]/)
  t.match(stdout, new RegExp(`\\(0002,0000\\) UL ${meta.length - 144} `), 'the group length counts what follows it')
  t.ok(isUid(IMPLEMENTATION_CLASS_UID) && IMPLEMENTATION_VERSION_NAME.length <= 16)
})

t.test('what is out there', async (t) => {
  const folder = t.testdir()
  const data = encode(DATA, LITTLE)
  const metaNodes = (transferSyntax: string): Node[] => [
    { tag: 0x00020002, vr: 'UI', value: ui(CT) },
    { tag: 0x00020003, vr: 'UI', value: ui('1.2.3') },
    { tag: 0x00020010, vr: 'UI', value: ui(transferSyntax) },
  ]
  const ungrouped = encode(metaNodes(EXPLICIT_LITTLE_ENDIAN), LITTLE)
  const anonymous = encode(DATA.slice(2), LITTLE)
  const bulk = encode([{ tag: 0x00020102, vr: 'OB', value: Buffer.alloc(200_000) }], LITTLE)
  const rows: [string, Buffer, object][] = [
    ['no group length', Buffer.concat([PREAMBLE, ungrouped, data]), { sopInstance: '1.2.3', offset: 132 + ungrouped.length }],
    ['no preamble', Buffer.concat([PREAMBLE.subarray(128), ungrouped, data]), { sopInstance: '1.2.3', offset: 4 + ungrouped.length }],
    ['neither preamble nor DICM', Buffer.concat([ungrouped, data]), { sopInstance: '1.2.3', offset: ungrouped.length }],
    ['implicit meta information', Buffer.concat([PREAMBLE, encode(metaNodes(EXPLICIT_LITTLE_ENDIAN), IMPLICIT), data]), { transferSyntax: EXPLICIT_LITTLE_ENDIAN, study: '1.2.3.4' }],
    ['a long private value in it', Buffer.concat([PREAMBLE, ungrouped, bulk, data]), { sopInstance: '1.2.3', offset: 132 + ungrouped.length + bulk.length }],
    ['a preamble of something else', Buffer.concat([Buffer.alloc(128, 'II*\0'), PREAMBLE.subarray(128), ungrouped, data]), { sopInstance: '1.2.3' }],
    ['UIDs only in the meta information', Buffer.concat([PREAMBLE, ungrouped, anonymous]), { sopClass: CT, sopInstance: '1.2.3', study: '1.2.3.4' }],
    ['UIDs that differ: those of the data set', Buffer.concat([fileMeta({ ...META, sopInstance: '9.9' }), data]), { sopInstance: '1.2.3' }],
    ['no transfer syntax, explicit', Buffer.concat([PREAMBLE, encode(metaNodes('').slice(0, 2), LITTLE), data]), { transferSyntax: EXPLICIT_LITTLE_ENDIAN, guessed: true }],
    ['no transfer syntax, implicit', Buffer.concat([PREAMBLE, encode(metaNodes('').slice(0, 2), LITTLE), encode(DATA, IMPLICIT)]), { transferSyntax: IMPLICIT_LITTLE_ENDIAN, guessed: true }],
    ['the data set alone, explicit', data, { transferSyntax: EXPLICIT_LITTLE_ENDIAN, guessed: true, offset: 0, bytes: data.length }],
    ['the data set alone, implicit', encode(DATA, IMPLICIT), { transferSyntax: IMPLICIT_LITTLE_ENDIAN, guessed: true, offset: 0 }],
    ['the data set alone, big endian', encode(DATA, BIG), { transferSyntax: EXPLICIT_BIG_ENDIAN, guessed: true, offset: 0 }],
    ['a data set that cannot be walked, but is named', Buffer.concat([PREAMBLE, ungrouped, Buffer.from('garbage')]), { kind: 'object', sopInstance: '1.2.3', study: '' }],
    ['a DICOMDIR', Buffer.concat([fileMeta({ ...META, sopClass: '1.2.840.10008.1.3.10' }), encode([{ tag: 0x00041130, vr: 'CS', value: Buffer.from('SET ') }], LITTLE)]), { kind: 'directory' }],
    ['a DICOMDIR without its class', Buffer.concat([PREAMBLE, encode(metaNodes(EXPLICIT_LITTLE_ENDIAN).slice(2), LITTLE), encode([{ tag: 0x00041130, vr: 'CS', value: Buffer.from('SET ') }], LITTLE)]), { kind: 'directory' }],
    ['nothing', Buffer.alloc(0), { kind: 'not-understood', detail: 'it is empty' }],
    ['a text', Buffer.from('Dear Dr. Doe, please find enclosed the images of'), { kind: 'not-understood' }],
    ['a picture', Buffer.concat([Buffer.from('89504e470d0a1a0a0000000d49484452', 'hex'), Buffer.alloc(500, 5)]), { kind: 'not-understood' }],
    ['zeros', Buffer.alloc(1000), { kind: 'not-understood' }],
    ['meta information without end', Buffer.concat([PREAMBLE, header(0x00020102, 'OB', 0xfffffff0, LITTLE)]), { kind: 'not-understood', detail: /^its file meta information says \(0002,0102\) at offset 132 has 4294967280 bytes$/ }],
    ['meta information cut short', Buffer.concat([PREAMBLE, header(0x00020102, 'OB', 4, LITTLE).subarray(0, 10)]), { kind: 'not-understood', detail: /^its file meta information ends inside an element at offset 132$/ }],
    ['meta information beyond its bound', Buffer.concat([PREAMBLE, header(0x00020102, 'OB', LIMITS.fileMetaBytes, LITTLE), Buffer.alloc(LIMITS.fileMetaBytes), ungrouped, data]), { kind: 'not-understood' }],
    ['compressed, and it does not say how', Buffer.concat([PREAMBLE, encode(metaNodes('').slice(0, 2), LITTLE), data, header(0x7fe00010, 'OB', 0xffffffff, LITTLE), mark(0xfffee000, 0, LITTLE), mark(0xfffee0dd, 0, LITTLE)]), { kind: 'not-understood', detail: /^it does not say its transfer syntax, and \(7FE0,0010\) is compressed/ }],
    ['no UIDs anywhere', Buffer.concat([PREAMBLE, encode(metaNodes(EXPLICIT_LITTLE_ENDIAN).slice(2), LITTLE), anonymous]), { kind: 'not-understood', detail: 'it has no SOP Class UID or no SOP Instance UID' }],
    ['deflated garbage without a name', Buffer.concat([PREAMBLE, encode(metaNodes(DEFLATED_LITTLE_ENDIAN).slice(2), LITTLE), Buffer.from('garbage!')]), { kind: 'not-understood', detail: /deflate/ }],
  ]
  for (const [name, bytes, expected] of rows) {
    const file = path.join(folder, 'a')
    await fs.writeFile(file, bytes)
    const outcome = await readPart10(file, LIMITS)
    t.match(outcome, expected, name)
    if (outcome.kind === 'object') t.equal(outcome.offset + outcome.bytes, bytes.length, `${name}: to the end`)
    else if (outcome.kind === 'not-understood') t.notMatch(outcome.detail, /Doe|Dear/)
  }
  await t.rejects(readPart10(path.join(folder, 'none'), LIMITS), { code: 'ENOENT' })
})

t.test('real files: offset and identifiers as DCMTK sees them', async (t) => {
  const { present, sentence, mixed } = corpus()
  if (!present) return t.pass(sentence)
  t.comment(sentence)
  const digest = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')
  const counts = { object: 0, directory: 0, 'not-understood': 0 }
  for (const file of mixed) {
    const outcome = await readPart10(file, LIMITS)
    counts[outcome.kind]++
    if (outcome.kind === 'not-understood') t.comment(`${path.basename(file)}: ${outcome.detail}`)
    if (outcome.kind !== 'object') continue
    // dcmdump says the meta information's length, and so where the data set begins.
    const dump = await run('dcmdump', ['-q', '-Un', '+L', '+R', '4', '-M', '+P', '0002,0000', '+P', '0002,0003', file], { encoding: 'latin1' }).catch(() => undefined)
    const length = /\(0002,0000\) UL (\d+)/.exec(dump?.stdout ?? '')?.[1]
    if (length !== undefined && !file.includes('no_meta_group_length')) t.equal(outcome.offset, 144 + Number(length), path.basename(file))
    t.ok(isUid(outcome.sopInstance) && isUid(outcome.sopClass) && isUid(outcome.transferSyntax), path.basename(file))
    const bytes = await fs.readFile(file)
    t.equal(digest(bytes.subarray(outcome.offset)), digest(bytes.subarray(-outcome.bytes)), 'the data set is all the rest')
  }
  t.equal(counts.directory, 1)
  t.ok(counts.object > 110 && counts['not-understood'] < 5, JSON.stringify(counts))
})

t.test('the writer’s own rules', async (t) => {
  t.strictSame(
    encodeElements([element(0x00100020, 'LO', 'abc'), element(0x00080018, 'UI', '1.2')]),
    encode([{ tag: 0x00080018, vr: 'UI', value: Buffer.from('1.2\0') }, { tag: 0x00100020, vr: 'LO', value: Buffer.from('abc ') }], LITTLE),
    'sorted, padded with what the VR wants',
  )
  const numbers = encodeElements([
    element(0x00280009, 'AT', [0x00182001]),
    element(0x00280010, 'US', 512),
    element(0x0018602c, 'FD', [0.5]),
    element(0x00186020, 'SL', -1),
    element(0x00281052, 'DS', [-1024, 1 / 3]),
    element(0x00280107, 'SS', -2),
    element(0x00209057, 'UL', 70000),
    element(0x00089459, 'FL', 0.25),
  ])
  t.equal(numbers.toString('hex'), [
    '08005994464c04000000803e', '18002060534c0400ffffffff', '18002c6046440800000000000000e03f', '20005790554c040070110100',
    '280009004154040018000120', '28001000555302000002', '2800070153530200feff',
    '2800521044531200' + Buffer.from('-1024\\0.3333333333').toString('hex'),
  ].join(''))
  const item: Node[] = [{ tag: 0x00081150, vr: 'UI', value: ui('1.2') }]
  t.strictSame(
    encodeElements([element(0x00081140, 'SQ', [[element(0x00081150, 'UI', '1.2')], []])]),
    encode([{ tag: 0x00081140, vr: 'SQ', items: [item, []], open: true, openItems: true }], LITTLE),
  )
  t.throws(() => encodeElements([element(0x00100010, 'LO', 'x'.repeat(70_000))]), /\(0010,0010\) LO cannot have 70000 bytes/)
  t.throws(() => encodeElements([element(0x00100010, 'ZZ', 'x')]), /no such value representation/)
})
