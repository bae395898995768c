/**
 * Headers of elements, items and delimiters as they are written (PS3.5 7.1, 7.5), in any of the
 * three encodings.
 */
import type { Encoding } from './sniff.ts'
import type { Vr } from './vr.ts'

/** @param length of the value, or undefined length; the caller has seen to it that the VR can hold it. */
export function elementHeaderBytes(tag: number, vr: Vr, length: number, encoding: Encoding): Buffer {
  const { explicit, bigEndian } = encoding
  if (!explicit) return itemHeaderBytes(tag, length, bigEndian)
  const header = Buffer.allocUnsafe(vr.long ? 12 : 8)
  writeTag(header, tag, bigEndian)
  header.writeUInt16BE(vr.code, 4)
  if (vr.long) {
    header.writeUInt16LE(0, 6)
    writeUInt32(header, length, 8, bigEndian)
  } else if (bigEndian) header.writeUInt16BE(length, 6)
  else header.writeUInt16LE(length, 6)
  return header
}

/** Tag and 32-bit length: items, delimiters, and every element of Implicit VR. */
export function itemHeaderBytes(tag: number, length: number, bigEndian: boolean): Buffer {
  const header = Buffer.allocUnsafe(8)
  writeTag(header, tag, bigEndian)
  writeUInt32(header, length, 4, bigEndian)
  return header
}

function writeTag(bytes: Buffer, tag: number, bigEndian: boolean): void {
  if (bigEndian) {
    bytes.writeUInt32BE(tag, 0)
  } else {
    bytes.writeUInt16LE(tag >>> 16, 0)
    bytes.writeUInt16LE(tag & 0xffff, 2)
  }
}

function writeUInt32(bytes: Buffer, value: number, at: number, bigEndian: boolean): void {
  if (bigEndian) bytes.writeUInt32BE(value, at)
  else bytes.writeUInt32LE(value, at)
}
