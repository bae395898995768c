/**
 * Objects in bulk for benchmarks and load tests: right in form, cheap to make, of nobody.
 */
import fs from 'node:fs/promises'
import path from 'node:path'
import { element, elementHeader, encodeElements } from '../dicom/element.ts'
import { fileMeta } from '../dicom/file-meta.ts'
import { PIXEL_DATA } from '../dicom/tag.ts'
import { EXPLICIT_LITTLE_ENDIAN } from '../dicom/transfer-syntaxes.ts'
import { newUid } from '../dicom/uid.ts'
import { CT_IMAGE, ctElements, type Series, type Study } from './ct-image.ts'
import { slice } from './phantom.ts'

export interface SyntheticDataSet {
  readonly sopClass: string
  readonly sopInstance: string
  readonly study: string
  readonly transferSyntax: string
  /** The data set alone, as it goes over the wire. */
  readonly bytes: Buffer
}

/** Multi-frame Grayscale Word Secondary Capture Image Storage. */
const MULTI_FRAME = '1.2.840.10008.5.1.4.1.1.7.3'
const MULTI_FRAME_SIZE = 512
const FRAME_BYTES = MULTI_FRAME_SIZE * MULTI_FRAME_SIZE * 2

/** Enough slices drawn that neighbours differ; the rest repeat their pixels under new UIDs. */
const DRAWN = 8

/**
 * CT images of one new series, one after the other; 512 × 512 gives 525 KB each. The pixels
 * are those of the phantom; drawing them is the only cost, and done at most eight times.
 *
 * @param size rows and columns.
 */
export function* syntheticSeries(instances: number, size = 512): Generator<SyntheticDataSet> {
  const study = newStudy()
  const series: Series = { series: newUid(), number: 1, description: 'Synthetic' }
  const drawn: ReturnType<typeof slice>[] = []
  for (let number = 1; number <= instances; number++) {
    const index = (number - 1) % DRAWN
    drawn[index] ??= slice('', index + 1, DRAWN, size)
    const plane = { ...drawn[index], sopInstance: newUid(), number, position: shifted(drawn[index].position, number) }
    yield {
      sopClass: CT_IMAGE,
      sopInstance: plane.sopInstance,
      study: study.study,
      transferSyntax: EXPLICIT_LITTLE_ENDIAN,
      bytes: encodeElements(ctElements(study, series, plane)),
    }
  }
}

/** One CT image; see `syntheticSeries`. */
export const syntheticDataSet = (size = 512): SyntheticDataSet => syntheticSeries(1, size).next().value as SyntheticDataSet

/** The series as Part 10 files; the paths, in order. */
export async function writeSyntheticSeries(folder: string, instances: number, size = 512): Promise<string[]> {
  await fs.mkdir(folder, { recursive: true })
  const files: string[] = []
  for (const object of syntheticSeries(instances, size)) {
    const file = path.join(folder, `ct-${String(files.length + 1).padStart(5, '0')}.dcm`)
    await fs.writeFile(file, [fileMeta(object), object.bytes])
    files.push(file)
  }
  return files
}

/**
 * One multi-frame object of about `bytes` bytes, written frame by frame: memory stays at one.
 *
 * @param bytes of pixel data, rounded down to whole frames of 512 KiB, at most 4 GiB less one.
 * @returns bytes of the data set.
 */
export async function writeSyntheticMultiFrame(file: string, bytes: number): Promise<number> {
  const frames = Math.max(1, Math.floor(Math.min(bytes, 0xfffffffe) / FRAME_BYTES))
  const sopInstance = newUid()
  const head = Buffer.concat([
    encodeElements(multiFrameElements(sopInstance, frames)),
    elementHeader(PIXEL_DATA, 'OW', frames * FRAME_BYTES),
  ])
  const handle = await fs.open(file, 'w')
  try {
    await handle.writeFile(fileMeta({ sopClass: MULTI_FRAME, sopInstance, transferSyntax: EXPLICIT_LITTLE_ENDIAN }))
    await handle.writeFile(head)
    const frame = Buffer.from(slice('', 1, 1, MULTI_FRAME_SIZE).pixels)
    for (let number = 0; number < frames; number++) {
      // Frames that differ: none can be taken for another.
      frame.writeUInt32LE(number, 0)
      await handle.writeFile(frame)
    }
  } finally {
    await handle.close()
  }
  return head.length + frames * FRAME_BYTES
}

function newStudy(): Study {
  return {
    study: newUid(),
    frameOfReference: newUid(),
    patientId: 'SALLYPORT-SYNTHETIC',
    date: '20260101',
    time: '120000',
    description: 'Synthetic',
  }
}

const shifted = ([x, y]: readonly [number, number, number], number: number): [number, number, number] => [x, y, number]

function multiFrameElements(sopInstance: string, frames: number): ReturnType<typeof element>[] {
  return [
    element(0x00080008, 'CS', ['ORIGINAL', 'PRIMARY']),
    element(0x00080016, 'UI', MULTI_FRAME),
    element(0x00080018, 'UI', sopInstance),
    element(0x00080020, 'DA', '20260101'),
    element(0x00080023, 'DA', '20260101'),
    element(0x00080030, 'TM', '120000'),
    element(0x00080033, 'TM', '120000'),
    element(0x00080050, 'SH', ''),
    element(0x00080060, 'CS', 'OT'),
    element(0x00080064, 'CS', 'SYN'),
    element(0x00080090, 'PN', ''),
    element(0x00100010, 'PN', 'Phantom^Sallyport'),
    element(0x00100020, 'LO', 'SALLYPORT-SYNTHETIC'),
    element(0x00100030, 'DA', ''),
    element(0x00100040, 'CS', 'O'),
    element(0x0020000d, 'UI', newUid()),
    element(0x0020000e, 'UI', newUid()),
    element(0x00200010, 'SH', '1'),
    element(0x00200011, 'IS', 1),
    element(0x00200013, 'IS', 1),
    element(0x00200020, 'CS', ''),
    element(0x00200060, 'CS', ''),
    element(0x00280002, 'US', 1),
    element(0x00280004, 'CS', 'MONOCHROME2'),
    element(0x00280008, 'IS', frames),
    element(0x00280009, 'AT', 0x00182001),
    element(0x00280010, 'US', MULTI_FRAME_SIZE),
    element(0x00280011, 'US', MULTI_FRAME_SIZE),
    element(0x00280100, 'US', 16),
    element(0x00280101, 'US', 12),
    element(0x00280102, 'US', 11),
    element(0x00280103, 'US', 0),
    element(0x00280301, 'CS', 'YES'),
    element(0x00281052, 'DS', '-1024'),
    element(0x00281053, 'DS', '1'),
    element(0x00281054, 'LO', 'US'),
    element(0x20500020, 'CS', 'IDENTITY'),
    element(0x00182001, 'IS', Array.from({ length: frames }, (_, index) => index + 1)),
  ]
}
