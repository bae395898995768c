/**
 * A Part 10 file, read by a reader that shares nothing with the firmware's: only what comparing
 * data sets byte for byte needs (PS3.10 7.1).
 */
import { readFileSync } from 'node:fs'

export interface Part10 {
  readonly sopClass: string
  readonly sopInstance: string
  readonly transferSyntax: string
  /** Every byte behind the file meta information. */
  readonly dataSet: Buffer
}

const META = { sopClass: 0x0002, sopInstance: 0x0003, transferSyntax: 0x0010 } as const
/** Value representations whose length has 4 bytes behind 2 reserved ones (PS3.5 7.1.2). */
const LONG = new Set(['OB', 'OD', 'OF', 'OL', 'OV', 'OW', 'SQ', 'SV', 'UC', 'UN', 'UR', 'UT', 'UV'])

/**
 * Walks group 0002 element by element rather than trusting its group length, which some of the
 * corpus state wrongly or leave out.
 * @throws Error when the preamble is missing or an element leaves the file.
 */
export function part10(bytes: Buffer): Part10 {
  if (bytes.toString('latin1', 128, 132) !== 'DICM') throw new Error('no DICM at 128')
  const values = new Map<number, string>()
  let at = 132
  while (at + 8 <= bytes.length && bytes.readUInt16LE(at) === 0x0002) {
    const element = bytes.readUInt16LE(at + 2)
    const long = LONG.has(bytes.toString('latin1', at + 4, at + 6))
    const start = at + (long ? 12 : 8)
    const end = start + (long ? bytes.readUInt32LE(at + 8) : bytes.readUInt16LE(at + 6))
    if (end > bytes.length) throw new Error('file meta information leaves the file')
    values.set(element, bytes.toString('latin1', start, end).replace(/[\0 ]+$/, ''))
    at = end
  }
  return {
    sopClass: values.get(META.sopClass) ?? '',
    sopInstance: values.get(META.sopInstance) ?? '',
    transferSyntax: values.get(META.transferSyntax) ?? '',
    dataSet: bytes.subarray(at),
  }
}

/** The data set's bytes of a Part 10 file. @throws as `part10`. */
export const dataSetOf = (path: string): Buffer => part10(readFileSync(path)).dataSet
