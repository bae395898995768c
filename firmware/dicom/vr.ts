/**
 * Value representations (PS3.5 Table 6.2-1) and how they are written (PS3.5 7.1.2).
 *
 * A VR is carried as its 16-bit code, first letter high: `UI` = 5549H. Every length and swap
 * decision of this folder is taken from this one table.
 */

export interface Vr {
  readonly name: string
  readonly code: number
  /** Explicit VR: two reserved bytes and a 32-bit length; otherwise a 16-bit length. */
  readonly long: boolean
  /** Bytes that are swapped together where the byte order changes (PS3.5 7.3); 1 = none. */
  readonly unit: 1 | 2 | 4 | 8
}

export const vrCode = (name: string): number => (name.charCodeAt(0) << 8) | name.charCodeAt(1)

const rows = (names: string, long: boolean, unit: Vr['unit']): Vr[] =>
  names.split(' ').map((name) => ({ name, code: vrCode(name), long, unit }))

const VRS: readonly Vr[] = [
  ...rows('AE AS CS DA DS DT IS LO LT PN SH ST TM UI', false, 1),
  ...rows('AT SS US', false, 2),
  ...rows('FL SL UL', false, 4),
  ...rows('FD', false, 8),
  // UN is opaque: whether it can be swapped is not known, see transcode.ts.
  ...rows('OB SQ UC UN UR UT', true, 1),
  ...rows('OW', true, 2),
  ...rows('OF OL', true, 4),
  ...rows('OD OV SV UV', true, 8),
]

const BY_CODE: ReadonlyMap<number, Vr> = new Map(VRS.map((vr) => [vr.code, vr]))
const BY_NAME: ReadonlyMap<string, Vr> = new Map(VRS.map((vr) => [vr.name, vr]))

/** `undefined` for what is not a VR of the standard. */
export const vrOfCode = (code: number): Vr | undefined => BY_CODE.get(code)

/** @throws Error for a name that is not a VR: names come from our own tables only. */
export function vrOf(name: string): Vr {
  const vr = BY_NAME.get(name)
  if (vr === undefined) throw new Error(`vr: no such value representation: ${name}`)
  return vr
}

export const SQ = vrCode('SQ')
export const UN = vrCode('UN')
export const OB = vrCode('OB')
export const OW = vrCode('OW')
export const UI = vrCode('UI')
export const US = vrCode('US')
export const SS = vrCode('SS')
export const UL = vrCode('UL')

const isUpper = (byte: number): boolean => byte >= 0x41 && byte <= 0x5a

/** Two upper-case letters: a VR of this or a later edition of the standard. */
export const looksLikeVr = (code: number): boolean => isUpper(code >> 8) && isUpper(code & 0xff)
