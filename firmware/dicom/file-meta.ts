/**
 * Preamble and file meta information, to put in front of a data set (PS3.10 7.1).
 */
import { element, encodeElements } from './element.ts'
import { IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME } from './implementation.ts'

export interface FileMeta {
  readonly sopClass: string
  readonly sopInstance: string
  readonly transferSyntax: string
  /** Who wrote or sent it, and who took it, where known; AE titles. */
  readonly sourceAe?: string | undefined
  readonly sendingAe?: string | undefined
  readonly receivingAe?: string | undefined
}

export const PREAMBLE_BYTES = 128

/** 128 zeros, `DICM`, group 0002 with its length; some 300 bytes, always Explicit VR Little Endian. */
export function fileMeta(meta: FileMeta): Buffer {
  const elements = encodeElements([
    element(0x00020001, 'OB', Uint8Array.of(0, 1)),
    element(0x00020002, 'UI', meta.sopClass),
    element(0x00020003, 'UI', meta.sopInstance),
    element(0x00020010, 'UI', meta.transferSyntax),
    element(0x00020012, 'UI', IMPLEMENTATION_CLASS_UID),
    element(0x00020013, 'SH', IMPLEMENTATION_VERSION_NAME),
    ...(meta.sourceAe ? [element(0x00020016, 'AE', meta.sourceAe)] : []),
    ...(meta.sendingAe ? [element(0x00020017, 'AE', meta.sendingAe)] : []),
    ...(meta.receivingAe ? [element(0x00020018, 'AE', meta.receivingAe)] : []),
  ])
  return Buffer.concat([
    Buffer.alloc(PREAMBLE_BYTES),
    Buffer.from('DICM', 'latin1'),
    encodeElements([element(0x00020000, 'UL', elements.length)]),
    elements,
  ])
}
