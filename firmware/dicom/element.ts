/**
 * Writes data elements in Explicit VR Little Endian (PS3.5 7.1.2): for file meta information
 * and for samples. It never re-encodes what a modality sent; transcode.ts does that.
 */
import { elementHeaderBytes, itemHeaderBytes } from './header-bytes.ts'
import type { Encoding } from './sniff.ts'
import { ITEM, ITEM_END, SEQUENCE_END, tagText, UNDEFINED_LENGTH } from './tag.ts'
import { vrOf } from './vr.ts'

/**
 * Text VRs take a string, or several for more than one value; DS and IS also take numbers;
 * binary number VRs take numbers; SQ takes items; everything else takes the bytes themselves.
 */
export type Value = string | number | readonly string[] | readonly number[] | Uint8Array | readonly Item[]
export type Item = readonly Element[]

export interface Element {
  readonly tag: number
  readonly vr: string
  readonly value: Value
}

const LITTLE: Encoding = { explicit: true, bigEndian: false }

export const element = (tag: number, vr: string, value: Value): Element => ({ tag, vr, value })

/** Elements in the order of their tags, as PS3.5 7.1 wants them, whatever order they come in. */
export function encodeElements(elements: Item): Buffer {
  return Buffer.concat([...elements].sort((a, b) => a.tag - b.tag).map(encodeElement))
}

/**
 * Header only, for a value of `bytes` bytes that the caller writes itself, e.g. pixel data too
 * large for memory. At most 2³² − 2, and even (PS3.5 7.1.1).
 */
export function elementHeader(tag: number, vrName: string, bytes: number): Buffer {
  const vr = vrOf(vrName)
  const most = vr.long ? UNDEFINED_LENGTH : 0xffff
  if (bytes > most || (bytes % 2 !== 0 && bytes !== UNDEFINED_LENGTH)) {
    throw new Error(`element: ${tagText(tag)} ${vrName} cannot have ${bytes} bytes`)
  }
  return elementHeaderBytes(tag, vr, bytes, LITTLE)
}

function encodeElement({ tag, vr, value }: Element): Buffer {
  if (vr === 'SQ') return encodeSequence(tag, value as readonly Item[])
  const bytes = padded(valueBytes(vr, value), vr)
  return Buffer.concat([elementHeader(tag, vr, bytes.length), bytes])
}

function encodeSequence(tag: number, items: readonly Item[]): Buffer {
  const open = itemHeaderBytes(ITEM, UNDEFINED_LENGTH, false)
  const close = itemHeaderBytes(ITEM_END, 0, false)
  return Buffer.concat([
    elementHeader(tag, 'SQ', UNDEFINED_LENGTH),
    ...items.flatMap((item) => [open, encodeElements(item), close]),
    itemHeaderBytes(SEQUENCE_END, 0, false),
  ])
}

function valueBytes(vr: string, value: Value): Uint8Array {
  if (value instanceof Uint8Array) return value
  const values = (Array.isArray(value) ? value : [value]) as readonly (string | number)[]
  const write = NUMBERS[vr]
  if (write === undefined) return Buffer.from(values.map(decimal).join('\\'), 'utf8')
  // An attribute tag is one value but two swapped units.
  const size = vr === 'AT' ? 4 : vrOf(vr).unit
  const bytes = Buffer.alloc(values.length * size)
  values.forEach((each, index) => write(bytes, Number(each), index * size))
  return bytes
}

/** DS holds at most 16 characters (PS3.5 6.2). */
const decimal = (value: string | number): string =>
  typeof value === 'string' || String(value).length <= 16 ? String(value) : value.toPrecision(10)

const NUMBERS: Readonly<Record<string, (bytes: Buffer, value: number, at: number) => void>> = {
  AT: (bytes, value, at) => {
    bytes.writeUInt16LE(value >>> 16, at)
    bytes.writeUInt16LE(value & 0xffff, at + 2)
  },
  FD: (bytes, value, at) => bytes.writeDoubleLE(value, at),
  FL: (bytes, value, at) => bytes.writeFloatLE(value, at),
  SL: (bytes, value, at) => bytes.writeInt32LE(value, at),
  SS: (bytes, value, at) => bytes.writeInt16LE(value, at),
  UL: (bytes, value, at) => bytes.writeUInt32LE(value, at),
  US: (bytes, value, at) => bytes.writeUInt16LE(value, at),
}

/** To an even length: NUL for UI and bytes, a space for text (PS3.5 6.2). */
function padded(bytes: Uint8Array, vr: string): Uint8Array {
  if (bytes.length % 2 === 0) return bytes
  const pad = vr === 'UI' || vr.startsWith('O') || vr === 'UN' ? 0 : 0x20
  return Buffer.concat([bytes, Uint8Array.of(pad)])
}
