/**
 * Which VR a standard attribute has where the data set does not say it (Implicit VR): PS3.6,
 * as dcmjs carries it. Private attributes have none here, whatever lists exist of them: a wrong
 * guess would change what a reader sees, UN does not (PS3.5 6.2.2).
 */
import { PIXEL_DATA } from './tag.ts'
import { type Vr, vrOf } from './vr.ts'

/**
 * What decides between several VRs of one attribute (PS3.5 A.2, PS3.6 section 6). Belongs to
 * one item; an inner item takes over what it does not say itself.
 */
export interface Context {
  /** (0028,0100) */
  readonly bitsAllocated?: number
  /** (0028,0103): 1 = signed. */
  readonly pixelRepresentation?: number
  /** (5400,1004) */
  readonly waveformBitsAllocated?: number
}

/** All three are a US of one value. */
export const CONTEXT_TAGS: Readonly<Record<number, keyof Context>> = {
  0x00280100: 'bitsAllocated',
  0x00280103: 'pixelRepresentation',
  0x54001004: 'waveformBitsAllocated',
}

export interface Dictionary {
  /** UN for what the standard does not know. */
  vrFor(tag: number, context: Context): Vr
}

/**
 * Where dcmjs 0.52.2 differs from PS3.6 2026b, or lacks what imaging devices write. The first
 * two would hide a sequence inside a value of numbers or text.
 */
const CORRECTIONS: readonly (readonly [number, string])[] = [
  [0x006862f0, 'SQ'],
  [0x00760034, 'SQ'],
  [0x00660040, 'OL'],
  [0x00660041, 'OL'],
  [0x00660042, 'OL'],
  [0x00660043, 'OL'],
  [0x0070150c, 'UL'],
  [0x0008114c, 'SQ'],
  [0x00221627, 'SQ'],
  [0x00221629, 'CS'],
  [0x00660005, 'FL'],
  [0x30020136, 'SQ'],
]

let loading: Promise<Dictionary> | undefined

/** The dictionary is 1.3 MB of source and takes 30 ms: loaded when first needed, once. */
export const loadDictionary = (): Promise<Dictionary> => (loading ??= load())

async function load(): Promise<Dictionary> {
  const { dictionary } = await import('dcmjs/dictionary')
  const vrs = new Map<number, string>()
  for (const [key, entry] of Object.entries(dictionary)) {
    // `(0028,0010)` and `(6000-60FF,0010)`; private ones name their creator and are left out.
    const match = /^\(([0-9A-F]{4})(?:-[0-9A-F]{4})?,([0-9A-F]{4})\)$/i.exec(key)
    if (match !== null) vrs.set(parseInt(match[1]! + match[2]!, 16), entry.vr)
  }
  for (const [tag, name] of CORRECTIONS) vrs.set(tag, name)
  return { vrFor: (tag, context) => vrOf(settle(tag, nameOf(vrs, tag), context)) }
}

function nameOf(vrs: ReadonlyMap<number, string>, tag: number): string {
  const group = tag >>> 16
  const element = tag & 0xffff
  // PS3.5 7.8.1: the creators of private blocks.
  if (group % 2 === 1) return element >= 0x10 && element <= 0xff ? 'LO' : 'UN'
  if (element === 0) return 'UL'
  const exact = vrs.get(tag)
  if (exact !== undefined) return exact
  // (0020,31xx) Source Image IDs, retired.
  if (group === 0x0020 && element >>> 8 === 0x31) return 'CS'
  // PS3.5 7.6: repeating groups of curves, overlays and variable pixel data.
  const high = group >>> 8
  return high === 0x50 || high === 0x60 || high === 0x7f ? (vrs.get(high * 0x1000000 + element) ?? 'UN') : 'UN'
}

/** The abbreviations are those of DCMTK's and dcmjs's dictionaries. */
function settle(tag: number, name: string, context: Context): string {
  switch (name) {
    case 'xs': // US or SS
      return context.pixelRepresentation === 1 ? 'SS' : 'US'
    case 'lt': // US or OW; OW has room for 65,536 entries
      return 'OW'
    case 'up': // an offset into a DICOMDIR
      return 'UL'
    case 'ox': // OB or OW
      return (bitsOf(tag, context) ?? 16) <= 8 ? 'OB' : 'OW'
    default:
      return /^[A-Z]{2}$/.test(name) ? name : 'UN'
  }
}

function bitsOf(tag: number, context: Context): number | undefined {
  if (tag === PIXEL_DATA) return context.bitsAllocated
  return tag >>> 16 === 0x5400 ? context.waveformBitsAllocated : undefined
}
