/**
 * Data elements and Part 10 files written byte by byte, so that nothing of the firmware's puts
 * right what is meant to be wrong.
 */
export type Element = readonly [tag: number, vr: string, value: string | Buffer]

export const EXPLICIT = '1.2.840.10008.1.2.1'
export const IMPLICIT = '1.2.840.10008.1.2'
export const SECONDARY_CAPTURE = '1.2.840.10008.5.1.4.1.1.7'

/** Length of 32 bits; a VR to come will have one too (PS3.5 7.1.2). */
const LONG = new Set(['OB', 'OW', 'SQ', 'UN', 'UT', 'ZZ'])
const even = (text: string, pad: string): string => (text.length % 2 === 0 ? text : text + pad)

const bytesOf = (value: string | Buffer): Buffer => (typeof value === 'string' ? Buffer.from(value, 'latin1') : value)

/** The value as it is given: no padding. */
export function explicit([tag, vr, value]: Element): Buffer {
  const bytes = bytesOf(value)
  const head = Buffer.alloc(LONG.has(vr) ? 12 : 8)
  head.writeUInt16LE(tag >>> 16, 0)
  head.writeUInt16LE(tag & 0xffff, 2)
  head.write(vr, 4, 'latin1')
  if (LONG.has(vr)) head.writeUInt32LE(bytes.length, 8)
  else head.writeUInt16LE(bytes.length, 6)
  return Buffer.concat([head, bytes])
}

export function implicit([tag, , value]: Element): Buffer {
  const bytes = bytesOf(value)
  const head = Buffer.alloc(8)
  head.writeUInt16LE(tag >>> 16, 0)
  head.writeUInt16LE(tag & 0xffff, 2)
  head.writeUInt32LE(bytes.length, 4)
  return Buffer.concat([head, bytes])
}

export const uid = (text: string): string => even(text, '\0')

export function file(sopClass: string, sopInstance: string, dataSet: Buffer, transferSyntax = EXPLICIT): Buffer {
  const meta = Buffer.concat(
    ([
      [0x00020001, 'OB', Buffer.from([0, 1])],
      [0x00020002, 'UI', uid(sopClass)],
      [0x00020003, 'UI', uid(sopInstance)],
      [0x00020010, 'UI', uid(transferSyntax)],
    ] as Element[]).map(explicit),
  )
  const length = Buffer.alloc(4)
  length.writeUInt32LE(meta.length)
  return Buffer.concat([Buffer.alloc(128), Buffer.from('DICM'), explicit([0x00020000, 'UL', length]), meta, dataSet])
}
