/**
 * Writes a synthetic CT study: valid Part 10 files, an image one can judge by eye, nobody's data.
 */
import fs from 'node:fs/promises'
import path from 'node:path'
import { encodeElements } from '../dicom/element.ts'
import { fileMeta } from '../dicom/file-meta.ts'
import { EXPLICIT_LITTLE_ENDIAN } from '../dicom/transfer-syntaxes.ts'
import { newUid, uidOf } from '../dicom/uid.ts'
import { CT_IMAGE, ctElements, type Plane, RESCALE_INTERCEPT, type Series, type Study } from './ct-image.ts'
import { densityAt, HEAD_FROM_Z, HEAD_TO_Z } from './phantom-head.ts'
import { type Canvas, drawRuler, drawText } from './phantom-marks.ts'

export interface PhantomOptions {
  /** Axial slices, from 1; 24 unless given. */
  readonly instances?: number
  /** Rows and columns, 64 to 4096; 256 unless given. */
  readonly size?: number
  /** The same seed gives the same files, byte for byte; without, all UIDs are new. */
  readonly seed?: number | string
  /** Puts a frontal projection in front, as a series of its own. */
  readonly scout?: boolean
  /** Date and time of the study; with a seed 2026-01-01, otherwise now. */
  readonly now?: Date
}

export interface WrittenPhantom {
  /** Paths, in the order of the slices. */
  readonly files: readonly string[]
  readonly study: string
}

const FIELD_MILLIMETRES = 250
const MARK_HU = 600
const MOST_STORED = 4095

/** @throws NodeJS.ErrnoException when the folder cannot be made or written. */
export async function writePhantom(folder: string, options: PhantomOptions = {}): Promise<WrittenPhantom> {
  const { instances = 24, size = 256, seed, scout = false } = options
  const uid = seed === undefined ? (): string => newUid() : (name: string): string => uidOf(`phantom ${seed} ${name}`)
  const study = describeStudy(uid, options.now ?? (seed === undefined ? new Date() : new Date('2026-01-01T12:00:00Z')))
  await fs.mkdir(folder, { recursive: true })
  const files: string[] = []
  const write = async (name: string, series: Series, plane: Plane): Promise<void> => {
    const file = path.join(folder, name)
    await fs.writeFile(file, encodeFile(study, series, plane))
    files.push(file)
  }
  if (scout) {
    const series = { series: uid('scout'), number: 1, description: 'Scout' }
    await write('scout.dcm', series, projection(uid('scout 1'), size))
  }
  const series = { series: uid('axial'), number: scout ? 2 : 1, description: 'Head 120 kV' }
  for (let number = 1; number <= instances; number++) {
    const plane = slice(uid(`axial ${number}`), number, instances, size)
    await write(`ct-${String(number).padStart(String(instances).length, '0')}.dcm`, series, plane)
  }
  return { files, study: study.study }
}

function describeStudy(uid: (name: string) => string, now: Date): Study {
  const digits = now.toISOString().replace(/\D/g, '')
  return {
    study: uid('study'),
    frameOfReference: uid('frame'),
    patientId: 'SALLYPORT-PHANTOM',
    date: digits.slice(0, 8),
    time: digits.slice(8, 14),
    description: 'Sallyport phantom',
  }
}

const encodeFile = (study: Study, series: Series, plane: Plane): Buffer =>
  Buffer.concat([
    fileMeta({ sopClass: CT_IMAGE, sopInstance: plane.sopInstance, transferSyntax: EXPLICIT_LITTLE_ENDIAN }),
    encodeElements(ctElements(study, series, plane)),
  ])

/** One axial slice, from the base of the skull (1) to its top. */
export function slice(sopInstance: string, number: number, of: number, size: number): Plane {
  const step = FIELD_MILLIMETRES / size
  const thickness = (HEAD_TO_Z - HEAD_FROM_Z) / of
  const z = HEAD_FROM_Z + (number - 0.5) * thickness
  const corner = (-(size - 1) / 2) * step
  const canvas = render(size, number, (column, row) => densityAt(corner + column * step, corner + row * step, z, step))
  drawText(canvas, `${number}/${of}`, 6, 6, MARK_HU - RESCALE_INTERCEPT)
  drawText(canvas, `${z < 0 ? '-' : '+'}${Math.abs(z).toFixed(1)} mm`, 6, size - 13, MARK_HU - RESCALE_INTERCEPT)
  drawRuler(canvas, step, MARK_HU - RESCALE_INTERCEPT)
  return {
    sopInstance,
    number,
    kind: 'AXIAL',
    size,
    millimetresPerPixel: step,
    thickness,
    position: [corner, corner, z],
    orientation: [1, 0, 0, 0, 1, 0],
    pixels: littleEndian(canvas.pixels),
  }
}

/** The head from the front: what a ray through it meets, scaled to look like a radiograph. */
export function projection(sopInstance: string, size: number): Plane {
  const step = FIELD_MILLIMETRES / size
  const corner = (-(size - 1) / 2) * step
  const top = -corner + (HEAD_FROM_Z + HEAD_TO_Z) / 2
  const depth = 3
  const canvas = render(size, 0, (column, row) => {
    let sum = 0
    for (let y = -100; y <= 100; y += depth) sum += densityAt(corner + column * step, y, top - row * step, depth) + 1000
    return (sum * depth) / 130 - 1000
  })
  drawRuler(canvas, step, MARK_HU * 2 - RESCALE_INTERCEPT)
  return {
    sopInstance,
    number: 1,
    kind: 'LOCALIZER',
    size,
    millimetresPerPixel: step,
    thickness: 200,
    position: [corner, 0, top],
    orientation: [1, 0, 0, 0, 0, -1],
    pixels: littleEndian(canvas.pixels),
  }
}

/** `seed` gives each slice a noise of its own, the same every time. */
function render(size: number, seed: number, density: (column: number, row: number) => number): Canvas {
  const pixels = new Uint16Array(size * size)
  let state = (seed * 2654435761 + 97) >>> 0 || 1
  for (let row = 0; row < size; row++) {
    for (let column = 0; column < size; column++) {
      // xorshift32: two of its bytes make a small triangle of noise, about ±6 HU.
      state ^= state << 13
      state ^= state >>> 17
      state ^= state << 5
      const noise = ((state & 0xff) + ((state >>> 8) & 0xff) - 255) / 40
      const stored = Math.round(density(column, row) + noise) - RESCALE_INTERCEPT
      pixels[row * size + column] = stored < 0 ? 0 : stored > MOST_STORED ? MOST_STORED : stored
    }
  }
  return { pixels, size }
}

function littleEndian(pixels: Uint16Array): Buffer {
  const bytes = Buffer.alloc(pixels.length * 2)
  pixels.forEach((value, index) => bytes.writeUInt16LE(value, index * 2))
  return bytes
}
