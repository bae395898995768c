/**
 * Objects as modalities really make them and no standard has them. Written byte by byte here,
 * so that nothing of the firmware's puts them right.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { explicit, file, implicit, IMPLICIT, SECONDARY_CAPTURE, uid, type Element } from './element.ts'

export const PRIVATE_CLASS = '1.2.826.0.1.3680043.10.1.4.99'
const RETIRED_NUCLEAR_MEDICINE = '1.2.840.10008.5.1.4.1.1.5'
interface Parts {
  readonly sopClass?: string
  /** As in the data set; undefined: it is left out there. */
  readonly written?: string | undefined
  readonly study?: readonly Element[]
  readonly extra?: readonly Element[]
  readonly tail?: Buffer
  readonly transferSyntax?: string
  readonly encode?: (element: Element) => Buffer
}

/** Each by what is odd about it. */
export function oddObjects(): Map<string, Buffer> {
  const objects = new Map<string, Buffer>()
  let count = 0
  const add = (what: string, parts: Parts = {}) => {
    const instance = parts.written?.replace(/[\0 ]+$/, '') ?? `1.2.3.${(count += 1)}`
    const { sopClass = SECONDARY_CAPTURE, study = usual(count), extra = [], tail = pixels(64), encode = explicit } = parts
    const elements: Element[] = [
      [0x00080016, 'UI', uid(sopClass)],
      ...('written' in parts && parts.written === undefined ? [] : [[0x00080018, 'UI', parts.written ?? uid(instance)] as Element]),
      [0x00100010, 'PN', 'Odd^Object'],
      ...study,
      ...extra,
    ]
    objects.set(what, file(sopClass, instance, Buffer.concat([...elements.map(encode), tail]), parts.transferSyntax))
  }
  const usual = (n: number): Element[] => [[0x0020000d, 'UI', uid(`1.2.3.900.${n}`)], [0x0020000e, 'UI', uid(`1.2.3.901.${n}`)]]
  const pixels = (bytes: number, says = bytes): Buffer => {
    const element = explicit([0x7fe00010, 'OW', Buffer.alloc(bytes, 0x5a)])
    element.writeUInt32LE(says, 8)
    return element
  }
  const nested = Buffer.concat([
    Buffer.from('0800401153510000ffffffff', 'hex'), // (0008,1140) SQ of undefined length
    Buffer.from('feff00e0ffffffff', 'hex'),
    explicit([0x00081155, 'UI', uid('1.2.3.4.5')]),
    Buffer.from('feff0de000000000feffdde000000000', 'hex'),
  ])

  add('nothing odd')
  add('study and series UID empty', { study: [[0x0020000d, 'UI', ''], [0x0020000e, 'UI', '']] })
  add('no study and no series UID', { study: [] })
  add('UID of odd length, not padded', { written: '1.2.3.777' })
  add('UID of 64 characters', { written: `1.2.${'3'.repeat(60)}` })
  add('UID padded with a space', { written: '1.2.3.78.50 ' })
  add('UID padded with two NULs', { written: '1.2.3.79.5\0\0' })
  add('UID with leading zeros in a component', { written: '1.2.03.0080.5\0' })
  add('UID with an empty component', { written: '1.2..81.5\0' })
  add('no SOP instance UID in the data set', { written: undefined })
  add('SOP instance UID behind the pixels', { written: undefined, tail: Buffer.concat([pixels(64), explicit([0x00080018, 'UI', uid('1.2.3.9999')])]) })
  add('pixel data cut short', { tail: pixels(64, 100_000) })
  add('pixel data of odd length', { tail: pixels(63) })
  add('no pixel data', { tail: Buffer.alloc(0) })
  add('garbage behind the pixels', { tail: Buffer.concat([pixels(64), Buffer.from('\x00\xff garbage, an odd number of bytes \x7f', 'latin1')]) })
  add('trailing padding', { tail: Buffer.concat([pixels(64), explicit([0xfffcfffc, 'OB', Buffer.alloc(1000)])]) })
  add('group lengths', { study: [[0x00180000, 'UL', Buffer.from([4, 0, 0, 0])], ...usual(900), [0x00280000, 'UL', Buffer.from([9, 9, 0, 0])]] })
  add('a VR that no standard knows', { study: [[0x00091001, 'ZZ', 'what'], ...usual(901)] })
  add('bytes no character set has', { study: [[0x00104000, 'LT', Buffer.from([0xff, 0xfe, 0x80, 0x1b])], ...usual(902)] })
  add('elements out of order', { study: [...usual(903)].reverse(), extra: [[0x00080020, 'DA', '20261121']] })
  add('a sequence of undefined length in front of the identifiers', { study: [], tail: Buffer.concat([nested, ...usual(904).map(explicit), pixels(64)]) })
  add('implicit VR where explicit was declared', { encode: implicit, tail: implicit([0x7fe00010, 'OW', Buffer.alloc(64, 1)]) })
  add('explicit VR where implicit was declared', { transferSyntax: IMPLICIT })
  add('a retired SOP class', { sopClass: RETIRED_NUCLEAR_MEDICINE })
  add('a private SOP class', { sopClass: PRIVATE_CLASS })
  return objects
}

/** @returns the path of each, by what is odd about it. */
export function writeOddObjects(folder: string): Map<string, string> {
  const paths = [...oddObjects()].map(([what, bytes], index) => {
    const path = join(folder, `${String(index).padStart(2, '0')}.dcm`)
    writeFileSync(path, bytes)
    return [what, path] as const
  })
  return new Map(paths)
}
