import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import fs from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { deflateRawSync, inflateRawSync } from 'node:zlib'
import fc from 'fast-check'
import t from 'tap'
import { loadDictionary } from '../../firmware/dicom/dictionary.ts'
import { fileMeta, readPart10 } from '../../firmware/dicom/part10.ts'
import { canTranscode, type Changes, transcode, TranscodeFault } from '../../firmware/dicom/transcode.ts'
import {
  DEFLATED_LITTLE_ENDIAN,
  EXPLICIT_BIG_ENDIAN,
  EXPLICIT_LITTLE_ENDIAN,
  IMPLICIT_LITTLE_ENDIAN,
} from '../../firmware/dicom/transfer-syntaxes.ts'
import { LIMITS } from '../../firmware/domain/limits.ts'
import { corpus } from '../peers/corpus.ts'
import { BIG, cut, cuts, dataSets, encode, type Form, header, IMPLICIT, LITTLE, mark, type Node } from './data-set.ts'

const run = promisify(execFile)

async function* chunks(bytes: Buffer, sizes: readonly number[] = [65536]): AsyncGenerator<Buffer> {
  yield* cut(bytes, sizes)
}

async function recode(bytes: Buffer, from: string, to: string, sizes?: readonly number[]): Promise<Buffer> {
  const out: Buffer[] = []
  for await (const each of transcode(chunks(bytes, sizes), from, to, LIMITS)) out.push(Buffer.from(each))
  return Buffer.concat(out)
}

const FORMS: Readonly<Record<string, Form>> = {
  [IMPLICIT_LITTLE_ENDIAN]: IMPLICIT,
  [EXPLICIT_LITTLE_ENDIAN]: LITTLE,
  [EXPLICIT_BIG_ENDIAN]: BIG,
}
const UIDS = Object.keys(FORMS)

/** What re-encoding makes of lengths: every sequence and item open, save behind UN. */
const opened = (nodes: readonly Node[]): Node[] =>
  nodes.map((node) =>
    !('items' in node) || node.vr === 'UN' ? node : { ...node, items: node.items.map(opened), open: true, openItems: true },
  )

t.test('re-encoding gives what an encoder of its own gives, however cut', async (t) => {
  let runs = 0
  await fc.assert(
    fc.asyncProperty(
      // Private attributes have no VR once implicit; they have laws of their own below.
      dataSets({ withPrivate: false, withUnSequences: false }),
      fc.constantFrom(...UIDS),
      fc.constantFrom(...UIDS),
      cuts,
      async (nodes, from, to, sizes) => {
        if (from === to) return
        const source = encode(nodes, FORMS[from]!)
        const expected = encode(opened(nodes), FORMS[to]!)
        const out = await recode(source, from, to, sizes)
        assert.deepStrictEqual(out, expected)
        assert.deepStrictEqual(await recode(source, from, to), expected)
        // And back: the canonical form of the first.
        assert.deepStrictEqual(await recode(out, to, from, sizes), encode(opened(nodes), FORMS[from]!))
        runs++
      },
    ),
    { numRuns: 400 },
  )
  t.ok(runs > 100)
})

t.test('private attributes keep VR and bytes between explicit encodings; UN sequences stay untouched', async (t) => {
  await fc.assert(
    fc.asyncProperty(dataSets({ withPrivate: true, withUnSequences: true }), cuts, async (nodes, sizes) => {
      const little = encode(nodes, LITTLE)
      const big = await recode(little, EXPLICIT_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN, sizes)
      assert.deepStrictEqual(big, encode(opened(nodes), BIG))
      assert.deepStrictEqual(await recode(big, EXPLICIT_BIG_ENDIAN, EXPLICIT_LITTLE_ENDIAN, sizes), encode(opened(nodes), LITTLE))
      assert.deepStrictEqual(await recode(little, EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, sizes), encode(opened(nodes), IMPLICIT))
    }),
    { numRuns: 200 },
  )
  t.pass('200 data sets')
})

t.test('deflated: the same data set in other clothes', async (t) => {
  const bytes = encode([{ tag: 0x00100010, vr: 'PN', value: Buffer.from('Nobody') }, { tag: 0x7fe00010, vr: 'OW', value: Buffer.alloc(300_000, 7) }], LITTLE)
  const deflated = await recode(bytes, EXPLICIT_LITTLE_ENDIAN, DEFLATED_LITTLE_ENDIAN, [1000])
  t.equal(deflated.length % 2, 0, 'padded to even')
  t.strictSame(inflateRawSync(deflated), bytes)
  t.strictSame(await recode(deflated, DEFLATED_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN, [7]), bytes)
  const odd = Buffer.concat([deflateRawSync(bytes), Buffer.of(0)])
  t.strictSame(await recode(odd, DEFLATED_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN), bytes, 'the padding is no data')
  t.strictSame(
    await recode(deflated, DEFLATED_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN),
    await recode(bytes, EXPLICIT_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN),
  )
  await t.rejects(recode(deflated.subarray(0, 200), DEFLATED_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN), {
    code: 'NOT_CONVERTIBLE',
    message: /it is not a whole deflate stream/,
  })
})

t.test('implicit to explicit: VRs that depend on other attributes', async (t) => {
  const us = (value: number): Buffer => Buffer.from([value, 0])
  const vrs = async (nodes: Node[]): Promise<string[]> => {
    const out = await recode(encode(nodes, IMPLICIT), IMPLICIT_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN)
    return nodes.map(({ tag }) => {
      const at = out.indexOf(mark(tag, 0, LITTLE).subarray(0, 4))
      return out.toString('latin1', at + 4, at + 6)
    })
  }
  const leaf = (tag: number, value: Buffer = us(1)): Node => ({ tag, vr: '', value })
  const image = (bits: number, signed: number): Node[] => [
    leaf(0x00280100, us(bits)), leaf(0x00280103, us(signed)), leaf(0x00280106), leaf(0x00280120), leaf(0x00281101), leaf(0x00281201),
    leaf(0x60000010), leaf(0x60223000), leaf(0x7fe00010),
  ]
  t.strictSame(await vrs(image(16, 0)), ['US', 'US', 'US', 'US', 'US', 'OW', 'US', 'OW', 'OW'])
  t.strictSame(await vrs(image(16, 1)), ['US', 'US', 'SS', 'SS', 'SS', 'OW', 'US', 'OW', 'OW'])
  t.strictSame(await vrs(image(8, 0)), ['US', 'US', 'US', 'US', 'US', 'OW', 'US', 'OW', 'OB'])
  t.strictSame(await vrs([leaf(0x00090000), leaf(0x00090010), leaf(0x00091001), leaf(0x00095555), leaf(0x0028eeee)].slice(1)), ['LO', 'UN', 'UN', 'UN'])
  t.strictSame(await vrs([leaf(0x00203100), leaf(0x50002500), leaf(0x54001010)]), ['CS', 'LO', 'OW'])
  const long = leaf(0x00081030, Buffer.alloc(0x10000, 'x'))
  t.strictSame(await vrs([long]), ['UN'], 'too long for LO')

  // A LUT inside takes its sign from the image around it; the image keeps its own afterwards.
  const lut = (inner: Node[]): Node => ({ tag: 0x00283000, vr: 'SQ', items: [inner], open: true, openItems: false })
  const nested = [leaf(0x00280103, us(1)), lut([leaf(0x00283002, Buffer.alloc(6)), leaf(0x00283006)]), lut([leaf(0x00280103, us(0)), leaf(0x00283002, Buffer.alloc(6))]), leaf(0x00283002, Buffer.alloc(6))]
  const out = await recode(encode(nested, IMPLICIT), IMPLICIT_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN)
  t.strictSame([...out.toString('latin1').matchAll(/(\x28\0\x02\x30|\x28\0\x06\x30)(..)/gs)].map((match) => match[2]), ['SS', 'OW', 'US', 'SS'])
})

t.test('VRs are those of DCMTK’s dictionary', async (t) => {
  const file = await standardDictionary()
  if (file === '') return t.pass('DCMTK’s dictionary absent')
  const dictionary = await loadDictionary()
  // Lower case there: px, ox, xs, lt have several VRs, looked at above.
  const lines = [...(await fs.readFile(file, 'latin1')).matchAll(/^\(([0-9A-Fa-f]{4}),([0-9A-Fa-f]{4})\)\t([A-Z]{2})\t/gm)]
  const rows = lines.filter(([, group]) => parseInt(group!, 16) >= 8)
  const differing = rows.filter(([, group, tag, vr]) => dictionary.vrFor(parseInt(group! + tag!, 16), {}).name !== vr)
  t.strictSame(differing.map(([line]) => line), [])
  t.ok(rows.length > 4000, `${rows.length} attributes`)
})

t.test('what is left out or renamed is counted', async (t) => {
  const inner: Node[] = [{ tag: 0x00080000, vr: 'UL', value: Buffer.alloc(4) }, { tag: 0x00081150, vr: 'UI', value: Buffer.from('1.2\0') }]
  const nodes: Node[] = [
    { tag: 0x00080000, vr: 'UL', value: Buffer.alloc(4) },
    { tag: 0x00080001, vr: 'UL', value: Buffer.alloc(4) },
    { tag: 0x00081140, vr: 'SQ', items: [inner, []], open: false, openItems: false },
    { tag: 0x00091001, vr: 'LO', value: Buffer.from('ab') },
  ]
  const generator = transcode(chunks(encode(nodes, IMPLICIT), [1]), IMPLICIT_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN, LIMITS)
  const out: Buffer[] = []
  let last = await generator.next()
  for (; !last.done; last = await generator.next()) out.push(Buffer.from(last.value))
  t.strictSame(last.value satisfies Changes, { groupLengths: 3, lengths: 3, unknown: 1 })
  const expected: Node[] = [
    { tag: 0x00081140, vr: 'SQ', items: [inner.slice(1), []], open: true, openItems: true },
    { tag: 0x00091001, vr: 'UN', value: Buffer.from('ab') },
  ]
  t.strictSame(Buffer.concat(out), encode(expected, LITTLE))
})

t.test('what would lose something is refused, with the place and without values', async (t) => {
  const leaf = (vr: string, value: Buffer): Buffer => encode([{ tag: 0x00091001, vr, value }], LITTLE)
  const open = header(0x00081140, 'SQ', 0xffffffff, LITTLE)
  const deep = Buffer.concat(Array.from({ length: 70 }, () => Buffer.concat([open, mark(0xfffee000, 0xffffffff, LITTLE)])))
  const explicitBehindUn = Buffer.concat([header(0x00091001, 'UN', 0xffffffff, LITTLE), mark(0xfffee000, 0xffffffff, LITTLE), leaf('LO', Buffer.from('Doe^'))])
  const rows: [string, string, string, Buffer, RegExp][] = [
    ['UN into the other byte order', EXPLICIT_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN, leaf('UN', Buffer.from('Doe^')), /the byte order of \(0009,1001\) cannot be changed, its VR being unknown at offset 0/],
    ['a private implicit one likewise', IMPLICIT_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN, encode([{ tag: 0x00091001, vr: '', value: Buffer.from('Doe^') }], IMPLICIT), /its VR being unknown/],
    ['three bytes of US', EXPLICIT_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN, leaf('US', Buffer.alloc(3)), /\(0009,1001\) US has 3 bytes, no multiple of 2/],
    ['too long for its VR, in big endian', IMPLICIT_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN, encode([{ tag: 0x00081030, vr: '', value: Buffer.alloc(0x10000) }], IMPLICIT), /\(0008,1030\) LO is too long for its VR/],
    ['compressed pixels', EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, header(0x7fe00010, 'OB', 0xffffffff, LITTLE), /\(7FE0,0010\) is compressed although the transfer syntax is not/],
    ['compressed pixels, called implicit', IMPLICIT_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN, mark(0x7fe00010, 0xffffffff, IMPLICIT), /\(7FE0,0010\) is compressed/],
    ['explicit behind UN', EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, explicitBehindUn, /what stands behind UN \(0009,1001\) is not implicit/],
    ['an item that is none', EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, Buffer.concat([open, leaf('LO', Buffer.alloc(2))]), /an item of \(0008,1140\) should begin but \(0009,1001\) does/],
    ['an inner value beyond its item', EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, Buffer.concat([open, mark(0xfffee000, 10, LITTLE), leaf('LO', Buffer.alloc(4))]), /\(0009,1001\) reaches beyond its sequence at offset 20/],
    ['an inner header across its item', EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, Buffer.concat([open, mark(0xfffee000, 4, LITTLE), leaf('LO', Buffer.alloc(4))]), /reaches beyond its sequence/],
    ['a stray delimiter', EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, mark(0xfffee0dd, 0, LITTLE), /\(FFFE,E0DD\) stands where an element should/],
    ['too deep', EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, deep, /nested more than 64 deep/],
    ['cut in a value', EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, leaf('LO', Buffer.alloc(4)).subarray(0, 10), /it ends inside an element at offset 10/],
    ['cut in a sequence', EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, open, /it ends inside sequence \(0008,1140\)/],
    ['a group length without length', IMPLICIT_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN, mark(0x00080000, 0xffffffff, LITTLE), /\(0008,0000\) has no length/],
  ]
  for (const [name, from, to, bytes, expected] of rows) {
    for (const sizes of [[65536], [1]]) {
      await t.rejects(recode(bytes, from, to, sizes), { code: 'NOT_CONVERTIBLE', message: expected }, name)
      await recode(bytes, from, to, sizes).catch((error: unknown) => {
        t.ok(error instanceof TranscodeFault)
        t.notMatch((error as Error).message, /Doe/)
      })
    }
  }
  t.notOk(canTranscode('1.2.840.10008.1.2.4.90', EXPLICIT_LITTLE_ENDIAN))
  await t.rejects(recode(Buffer.alloc(0), '1.2.840.10008.1.2.4.90', EXPLICIT_LITTLE_ENDIAN), /not between/)
  async function* failing(): AsyncGenerator<Buffer> {
    yield leaf('LO', Buffer.alloc(2))
    throw new Error('disk')
  }
  for (const to of [IMPLICIT_LITTLE_ENDIAN, DEFLATED_LITTLE_ENDIAN]) {
    await t.rejects(async () => { for await (const _ of transcode(failing(), EXPLICIT_LITTLE_ENDIAN, to)) continue }, /disk/, 'the source’s own failure')
  }
})

t.test('hostile bytes: either output or a refusal, the same for every cut', async (t) => {
  const piece = fc.oneof(
    fc.uint8Array({ maxLength: 12 }).map((bytes) => Buffer.from(bytes)),
    fc.constantFrom(
      mark(0xfffee000, 0xffffffff, LITTLE), mark(0xfffee000, 8, LITTLE), mark(0xfffee00d, 0, LITTLE), mark(0xfffee0dd, 0, LITTLE),
      header(0x00081140, 'SQ', 0xffffffff, LITTLE), header(0x00081140, 'SQ', 16, LITTLE), header(0x00091010, 'UN', 0xffffffff, LITTLE),
      header(0x00080005, 'CS', 0, LITTLE), mark(0x00081140, 16, IMPLICIT),
    ),
  )
  const outcome = (bytes: Buffer, from: string, to: string, sizes: number[]): Promise<string> =>
    recode(bytes, from, to, sizes).then((out) => out.toString('hex'), (error: unknown) => {
      if (!(error instanceof TranscodeFault)) throw error
      return error.message
    })
  let refused = 0
  await fc.assert(
    fc.asyncProperty(fc.array(piece, { maxLength: 12 }), fc.constantFrom(...UIDS), fc.constantFrom(...UIDS), cuts, async (pieces, from, to, sizes) => {
      const bytes = Buffer.concat(pieces)
      const whole = await outcome(bytes, from, to, [65536])
      assert.equal(await outcome(bytes, from, to, sizes), whole)
      if (whole.startsWith('The image')) refused++
    }),
    { numRuns: 600 },
  )
  t.ok(refused > 50)
})

t.test('real files: DCMTK converts them to the same', async (t) => {
  const { present, sentence, mixed, series } = corpus()
  if (!present) return t.pass(sentence)
  t.comment(sentence)
  const folder = t.testdir()
  // Without DCMTK's private dictionary: it guesses VRs we do not.
  const env = { ...process.env, DCMDICTPATH: await standardDictionary() }
  const [ours, theirs] = [path.join(folder, 'ours.dcm'), path.join(folder, 'theirs.dcm')]
  const options = { [IMPLICIT_LITTLE_ENDIAN]: '+ti', [EXPLICIT_LITTLE_ENDIAN]: '+te', [EXPLICIT_BIG_ENDIAN]: '+tb' }
  const dump = async (file: string, ...conversion: string[]): Promise<string> => {
    if (conversion.length > 0) await run('dcmconv', ['-q', ...conversion, file, file])
    const { stdout } = await run('dcmdump', ['-q', '-Un', '+L', '+R', '4096', file], { env, encoding: 'latin1', maxBuffer: 1e9 })
    return plain(stdout)
  }
  let compared = 0
  const refused: string[] = []
  for (const file of [...mixed, ...series.slice(0, 1)]) {
    const object = await readPart10(file, LIMITS)
    if (object.kind !== 'object' || !canTranscode(object.transferSyntax, EXPLICIT_LITTLE_ENDIAN)) continue
    const name = path.basename(file)
    const bytes = (await fs.readFile(file)).subarray(object.offset)
    for (const [to, option] of Object.entries(options)) {
      if (to === object.transferSyntax) continue
      const out = await recode(bytes, object.transferSyntax, to, [7777]).catch((error: unknown) => {
        if (!(error instanceof TranscodeFault)) throw error
        refused.push(`${name} ${option}: ${String(error.fields.detail)}`)
      })
      if (out === undefined) continue
      await fs.writeFile(ours, Buffer.concat([fileMeta({ ...object, transferSyntax: to }), out]))
      await run('dcmconv', ['-q', option, file, theirs], { env })
      const [mine, other] = [await dump(ours), await dump(theirs)]
      // Pixels of 8 bits may be OB or OW (PS3.5 A.2): where we differ, values are compared in one encoding.
      const eightBit = (text: string): string => text.replace(/^\(7fe0,0010\) O[BW] .*$/m, '')
      t.equal(eightBit(mine), eightBit(other), `${name} ${option}`)
      if (mine !== other) t.equal(await dump(ours, '+ti'), await dump(theirs, '+ti'), `${name} ${option}, values`)
      compared++
    }
  }
  for (const each of refused) t.comment(`refused: ${each}`)
  t.ok(compared > 60, `${compared} conversions alike`)
  const unexpected = refused.filter((each) => !/_truncated|\+tb: the byte order of/.test(each))
  t.strictSame(unexpected, [], 'refused only: cut short, or private ones into big endian')
})

async function standardDictionary(): Promise<string> {
  const folders = (await fs.readdir('/usr/share')).filter((name) => /^(lib)?dcmtk/.test(name))
  for (const name of folders) {
    const file = `/usr/share/${name}/dicom.dic`
    if (await fs.access(file).then(() => true, () => false)) return file
  }
  return ''
}

/** Without what re-encoding may change: lengths, delimiters, group lengths, the meta information. */
const plain = (text: string): string =>
  text
    .split('\n')
    .filter((line) => !/^\(0002,|^#|^$|\(....,0000\)|\(fffe,e0[0d]d\)/.test(line))
    .map((line) =>
      line
        .replace(/#=\d+\)/, ')')
        .replace(/ with (explicit|undefined) length/, '')
        .replace(/# +(u\/l|\d+), /, '# ')
        .replace(/ +/g, ' '),
    )
    .join('\n')
