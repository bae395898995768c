/**
 * A data set as a tree, and an encoder of its own for it: what the scanner and the recoder are
 * held against. It shares no code with either.
 */
import fc from 'fast-check'

export interface Leaf {
  readonly tag: number
  readonly vr: string
  /** Little endian. */
  readonly value: Buffer
}

export interface Sequence {
  readonly tag: number
  readonly vr: 'SQ' | 'UN'
  readonly items: readonly (readonly Node[])[]
  /** Whether the lengths of the sequence and of its items are undefined. */
  readonly open: boolean
  readonly openItems: boolean
}

export type Node = Leaf | Sequence

export interface Form {
  readonly explicit: boolean
  readonly big: boolean
}

export const IMPLICIT: Form = { explicit: false, big: false }
export const LITTLE: Form = { explicit: true, big: false }
export const BIG: Form = { explicit: true, big: true }

const LONG = ['OB', 'OD', 'OF', 'OL', 'OV', 'OW', 'SQ', 'SV', 'UC', 'UN', 'UR', 'UT', 'UV']
const SWAPPED: Record<string, number> = { US: 2, SS: 2, OW: 2, AT: 2, UL: 4, SL: 4, FL: 4, OF: 4, OL: 4, FD: 8, OD: 8, OV: 8, SV: 8, UV: 8 }

export const encode = (nodes: readonly Node[], form: Form): Buffer => Buffer.concat(nodes.map((node) => one(node, form)))

function one(node: Node, form: Form): Buffer {
  if (!('items' in node)) return Buffer.concat([header(node.tag, node.vr, node.value.length, form), swapped(node, form)])
  const inner = node.vr === 'UN' ? IMPLICIT : form
  const items = node.items.map((item) => {
    const body = encode(item, inner)
    return node.openItems
      ? Buffer.concat([mark(0xfffee000, 0xffffffff, inner), body, mark(0xfffee00d, 0, inner)])
      : Buffer.concat([mark(0xfffee000, body.length, inner), body])
  })
  const body = Buffer.concat(items)
  return node.open
    ? Buffer.concat([header(node.tag, node.vr, 0xffffffff, form), body, mark(0xfffee0dd, 0, inner)])
    : Buffer.concat([header(node.tag, node.vr, body.length, form), body])
}

function swapped({ vr, value }: Leaf, { big }: Form): Buffer {
  const unit = SWAPPED[vr] ?? 1
  if (!big || unit === 1) return value
  const out = Buffer.from(value)
  for (let at = 0; at < out.length; at += unit) out.subarray(at, at + unit).reverse()
  return out
}

export function header(tag: number, vr: string, length: number, form: Form): Buffer {
  if (!form.explicit) return mark(tag, length, form)
  const long = LONG.includes(vr)
  const bytes = Buffer.alloc(long ? 12 : 8)
  mark(tag, 0, form).copy(bytes, 0, 0, 4)
  bytes.write(vr, 4, 'latin1')
  const at = long ? 8 : 6
  const size = long ? 4 : 2
  if (form.big) bytes.writeUIntBE(length, at, size)
  else bytes.writeUIntLE(length, at, size)
  return bytes
}

export function mark(tag: number, length: number, { big }: Form): Buffer {
  const bytes = Buffer.alloc(8)
  if (big) {
    bytes.writeUInt32BE(tag, 0)
    bytes.writeUInt32BE(length, 4)
  } else {
    bytes.writeUInt16LE(tag >>> 16, 0)
    bytes.writeUInt16LE(tag & 0xffff, 2)
    bytes.writeUInt32LE(length, 4)
  }
  return bytes
}

export const ui = (text: string): Buffer => Buffer.from(text.length % 2 === 0 ? text : `${text}\0`, 'latin1')

/** Standard attributes, one or more of each VR, below and above the identifiers. */
const ATTRIBUTES: readonly (readonly [number, string])[] = [
  [0x00080005, 'CS'], [0x00080020, 'DA'], [0x00080030, 'TM'], [0x00080050, 'SH'], [0x00080090, 'PN'], [0x00080119, 'UC'],
  [0x00080120, 'UR'], [0x00081030, 'LO'], [0x00081160, 'IS'], [0x00100010, 'PN'], [0x00101010, 'AS'], [0x001021b0, 'LT'],
  [0x00180050, 'DS'], [0x00186020, 'SL'], [0x0018602c, 'FD'], [0x00189073, 'FD'], [0x00200032, 'DS'], [0x00209057, 'UL'],
  [0x00209165, 'AT'], [0x00280010, 'US'], [0x00282000, 'OB'], [0x00287fe0, 'UR'], [0x00089459, 'FL'], [0x0040a13a, 'DT'],
  [0x00660016, 'OF'], [0x00660040, 'OL'], [0x00700022, 'FL'], [0x00720082, 'SV'], [0x00720083, 'UV'], [0x00720073, 'OD'],
  [0x0072006e, 'ST'], [0x00720075, 'OL'], [0x00720081, 'OV'], [0x00289503, 'SS'], [0x00080054, 'AE'], [0x00189219, 'SS'], [0x0040a160, 'UT'],
]
const SEQUENCES = [0x00081115, 0x00081140, 0x00082112, 0x00400275, 0x52009229]
const PRIVATE: readonly (readonly [number, string])[] = [
  [0x00091001, 'LO'], [0x00091002, 'US'], [0x00191003, 'OB'], [0x00291004, 'FD'], [0x7fe11005, 'OW'],
]
const PRIVATE_SEQUENCES = [0x00091010, 0x00191011]
export const IDENTIFIERS = [0x00080016, 0x00080018, 0x0020000d, 0x0020000e]

const leaf = (tag: number, vr: string): fc.Arbitrary<Leaf> =>
  fc
    .uint8Array({ maxLength: 5 })
    .map((bytes) => ({ tag, vr, value: Buffer.concat(Array.from({ length: SWAPPED[vr] ?? 2 }, () => bytes)) }))

/** Ascending, each tag once, like any item. */
export function dataSets({ withPrivate, withUnSequences }: { withPrivate: boolean; withUnSequences: boolean }): fc.Arbitrary<Node[]> {
  const item = (depth: number): fc.Arbitrary<Node[]> => {
    const choices: fc.Arbitrary<Node>[] = [
      fc.constantFrom(...ATTRIBUTES, ...(withPrivate ? PRIVATE : [])).chain(([tag, vr]) => leaf(tag, vr)),
      fc.tuple(fc.constantFrom(...IDENTIFIERS), fc.integer({ min: 0, max: 99999 })).map(([tag, n]) => ({ tag, vr: 'UI', value: ui(n === 0 ? '' : `1.2.${n}`) })),
    ]
    if (depth > 0) {
      const inner = (vr: 'SQ' | 'UN', tags: readonly number[]): fc.Arbitrary<Node> =>
        fc.record({
          tag: fc.constantFrom(...tags),
          vr: fc.constant(vr),
          items: fc.array(item(depth - 1), { maxLength: 3 }),
          open: vr === 'UN' ? fc.constant(true) : fc.boolean(),
          openItems: fc.boolean(),
        })
      choices.push(inner('SQ', SEQUENCES))
      if (withUnSequences) choices.push(inner('UN', PRIVATE_SEQUENCES))
    }
    return fc.uniqueArray(fc.oneof(...choices), { maxLength: 8, selector: (node) => node.tag }).map((nodes) => nodes.sort((a, b) => a.tag - b.tag))
  }
  return item(3)
}

export const at = (nodes: readonly Node[], tag: number): string => {
  const node = nodes.find((each) => each.tag === tag)
  return node !== undefined && 'value' in node ? node.value.toString('latin1').replace(/\0+$/, '') : ''
}

/** Cut at the given sizes in turn. */
export function* cut(bytes: Buffer, sizes: readonly number[]): Generator<Buffer> {
  for (let from = 0, index = 0; from < bytes.length; index++) {
    const size = sizes[index % sizes.length] ?? bytes.length
    yield bytes.subarray(from, from + size)
    from += size
  }
}

export const cuts: fc.Arbitrary<number[]> = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 6 })
