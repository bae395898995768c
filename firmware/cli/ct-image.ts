/**
 * The attributes of one CT image of nobody (PS3.3 A.3), for samples, tests and benchmarks.
 */
import { type Element, element } from '../dicom/element.ts'

export const CT_IMAGE = '1.2.840.10008.5.1.4.1.1.2'

/** What all images of one study share. Dates as DA and TM (PS3.5 6.2). */
export interface Study {
  readonly study: string
  readonly frameOfReference: string
  readonly patientId: string
  readonly date: string
  readonly time: string
  readonly description: string
}

export interface Series {
  readonly series: string
  readonly number: number
  readonly description: string
}

export interface Plane {
  readonly sopInstance: string
  /** From 1. */
  readonly number: number
  /** AXIAL, or LOCALIZER for a projection. */
  readonly kind: 'AXIAL' | 'LOCALIZER'
  /** Square. */
  readonly size: number
  readonly millimetresPerPixel: number
  readonly thickness: number
  /** Middle of the first pixel, millimetres (PS3.3 C.7.6.2). */
  readonly position: readonly [number, number, number]
  readonly orientation: readonly [number, number, number, number, number, number]
  /** Little endian, 16 bits each, HU + 1024. */
  readonly pixels: Uint8Array
}

/** Stored value of 0 HU: 12 bits hold −1024 to 3071. */
export const RESCALE_INTERCEPT = -1024

/** Decimal strings of at most 16 characters, without a trail of nines. */
const ds = (values: readonly number[]): string[] => values.map((value) => String(Number(value.toFixed(4))))

export function ctElements(study: Study, series: Series, plane: Plane): Element[] {
  return [...studyElements(study), ...seriesElements(study, series), ...imageElements(study, plane), ...pixelElements(plane)]
}

function studyElements(study: Study): Element[] {
  return [
    element(0x00080020, 'DA', study.date),
    element(0x00080030, 'TM', study.time),
    element(0x00080050, 'SH', ''),
    element(0x00080090, 'PN', ''),
    element(0x00081030, 'LO', study.description),
    element(0x00100010, 'PN', 'Phantom^Sallyport'),
    element(0x00100020, 'LO', study.patientId),
    element(0x00100030, 'DA', ''),
    element(0x00100040, 'CS', 'O'),
    element(0x0020000d, 'UI', study.study),
    element(0x00200010, 'SH', '1'),
  ]
}

function seriesElements(study: Study, series: Series): Element[] {
  return [
    element(0x00080021, 'DA', study.date),
    element(0x00080031, 'TM', study.time),
    element(0x00080060, 'CS', 'CT'),
    element(0x00080070, 'LO', 'Sallyport'),
    element(0x0008103e, 'LO', series.description),
    element(0x00081090, 'LO', 'Phantom'),
    element(0x00180015, 'CS', 'HEAD'),
    element(0x00185100, 'CS', 'HFS'),
    element(0x0020000e, 'UI', series.series),
    element(0x00200011, 'IS', series.number),
    element(0x00200052, 'UI', study.frameOfReference),
    element(0x00201040, 'LO', ''),
  ]
}

function imageElements(study: Study, plane: Plane): Element[] {
  return [
    element(0x00080008, 'CS', ['ORIGINAL', 'PRIMARY', plane.kind]),
    element(0x00080016, 'UI', CT_IMAGE),
    element(0x00080018, 'UI', plane.sopInstance),
    element(0x00080022, 'DA', study.date),
    element(0x00080023, 'DA', study.date),
    element(0x00080032, 'TM', study.time),
    element(0x00080033, 'TM', study.time),
    element(0x00180050, 'DS', ds([plane.thickness])),
    element(0x00180060, 'DS', '120'),
    element(0x00200012, 'IS', 1),
    element(0x00200013, 'IS', plane.number),
    element(0x00200032, 'DS', ds(plane.position)),
    element(0x00200037, 'DS', ds(plane.orientation)),
    ...(plane.kind === 'AXIAL' ? [element(0x00201041, 'DS', ds([plane.position[2]]))] : []),
  ]
}

function pixelElements(plane: Plane): Element[] {
  return [
    element(0x00280002, 'US', 1),
    element(0x00280004, 'CS', 'MONOCHROME2'),
    element(0x00280010, 'US', plane.size),
    element(0x00280011, 'US', plane.size),
    element(0x00280030, 'DS', ds([plane.millimetresPerPixel, plane.millimetresPerPixel])),
    element(0x00280100, 'US', 16),
    element(0x00280101, 'US', 12),
    element(0x00280102, 'US', 11),
    element(0x00280103, 'US', 0),
    element(0x00280301, 'CS', 'YES'),
    element(0x00281050, 'DS', plane.kind === 'AXIAL' ? ['40', '400'] : '400'),
    element(0x00281051, 'DS', plane.kind === 'AXIAL' ? ['90', '2000'] : '1400'),
    element(0x00281052, 'DS', String(RESCALE_INTERCEPT)),
    element(0x00281053, 'DS', '1'),
    ...(plane.kind === 'AXIAL' ? [element(0x00281054, 'LO', 'HU')] : []),
    element(0x00281055, 'LO', plane.kind === 'AXIAL' ? ['BRAIN', 'BONE'] : 'SCOUT'),
    element(0x7fe00010, 'OW', plane.pixels),
  ]
}
