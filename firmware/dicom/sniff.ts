/**
 * What a data set's first bytes say about its encoding, where that may differ from what was
 * declared: files whose transfer syntax is wrong or missing exist in every archive.
 */
import { looksLikeVr, vrOfCode } from './vr.ts'

export interface Encoding {
  readonly explicit: boolean
  readonly bigEndian: boolean
}

/**
 * The encoding the first element is really written in; the declared one unless the bytes
 * contradict it. `head` holds the first 8 bytes.
 *
 * - The other byte order if that, and not the declared one, makes the first group 0008.
 * - Explicit by two letters that are a VR where an implicit length would stand. The first
 *   element is short, so a length with those letters in it (16,705 bytes or more) is none.
 * - Implicit by a length that is one where the letters should be.
 */
export function sniff(head: Uint8Array, declared: Encoding): Encoding {
  const vr = (head[4]! << 8) | head[5]!
  if (vrOfCode(vr) !== undefined) {
    const little = head[0] === 8 && head[1] === 0
    const big = head[0] === 0 && head[1] === 8
    return { explicit: true, bigEndian: little ? false : big ? true : declared.bigEndian }
  }
  if (!declared.explicit || declared.bigEndian || looksLikeVr(vr)) return declared
  return { explicit: !isShortLength(head), bigEndian: false }
}

/** Bytes 4–7 as an implicit length: plausible for a first element, and not four zeros. */
function isShortLength(head: Uint8Array): boolean {
  const length = head[4]! | (head[5]! << 8)
  return head[6] === 0 && head[7] === 0 && length !== 0 && length <= 1024
}
