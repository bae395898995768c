/**
 * A small study of a patient nobody is, as files: what a test sends when it must know every byte.
 */
import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { explicit, file, SECONDARY_CAPTURE, uid, type Element } from './element.ts'

export interface StudyImage {
  readonly path: string
  readonly sopInstance: string
  readonly dataSet: Buffer
}

export interface Study {
  readonly images: readonly StudyImage[]
  readonly paths: readonly string[]
  /** Whatever nobody on the way may read: name, id, UIDs, a piece of the pixels. */
  readonly secrets: { readonly name: string; readonly id: string; readonly study: string; readonly pixels: Buffer }
}

let studies = 0

/** @param pixels bytes in each image, even */
export function writeStudy(folder: string, count: number, pixels = 20_000): Study {
  const number = `${process.pid}.${Date.now()}.${(studies += 1)}`
  const [study, series] = [`1.2.826.0.1.3680043.9.${number}`, `1.2.826.0.1.3680043.9.${number}.1`]
  const secrets = { name: `Geheim^Ada^${studies}`, id: `PAT-${number}`, study, pixels: noise(series, 64) }
  const images = Array.from({ length: count }, (_, index): StudyImage => {
    const sopInstance = `${series}.${index + 1}`
    const elements: Element[] = [
      [0x00080016, 'UI', uid(SECONDARY_CAPTURE)],
      [0x00080018, 'UI', uid(sopInstance)],
      [0x00100010, 'PN', padded(secrets.name)],
      [0x00100020, 'LO', padded(secrets.id)],
      [0x0020000d, 'UI', uid(study)],
      [0x0020000e, 'UI', uid(series)],
      [0x7fe00010, 'OW', Buffer.concat([secrets.pixels, noise(sopInstance, Math.max(0, pixels - 64))])],
    ]
    const dataSet = Buffer.concat(elements.map(explicit))
    const path = join(folder, `${studies}-${String(index).padStart(4, '0')}.dcm`)
    writeFileSync(path, file(SECONDARY_CAPTURE, sopInstance, dataSet))
    return { path, sopInstance, dataSet }
  })
  return { images, paths: images.map(({ path }) => path), secrets }
}

const padded = (text: string): string => (text.length % 2 === 0 ? text : `${text} `)

/** The same for the same name, and found nowhere else. */
function noise(name: string, bytes: number): Buffer {
  const block = createHash('sha512').update(name).digest()
  return Buffer.alloc(bytes, block)
}
