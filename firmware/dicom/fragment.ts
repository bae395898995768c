/**
 * P-DATA-TF and the fragments of messages in them (PS3.8 9.3.5, Annex E), as they are sent.
 */
import { PDU, PDU_HEADER } from './pdu.ts'

/** Length, context id and message control header in front of each fragment (PS3.8 9.3.5.1). */
export const PDV_HEADER = 6
/** Smallest Maximum Length that can carry anything: a PDV header and two bytes (PS3.8 D.1). */
export const MAXIMUM_LENGTH_FLOOR = PDV_HEADER + 2

/** Bit 0 of the message control header: command, not data set; bit 1: last fragment (PS3.8 E.2). */
export const PDV_COMMAND = 1
export const PDV_LAST = 2

/** Header of a P-DATA-TF with one PDV of `count` bytes (PS3.8 9.3.5), 12 bytes. */
export function dataHeader(contextId: number, flags: number, count: number): Buffer {
  const header = Buffer.allocUnsafe(PDU_HEADER + PDV_HEADER)
  writeDataHeader(header, 0, contextId, flags, count)
  return header
}

export function writeDataHeader(into: Buffer, at: number, contextId: number, flags: number, count: number): void {
  into.writeUInt16BE(PDU.data << 8, at)
  into.writeUInt32BE(count + PDV_HEADER, at + 2)
  into.writeUInt32BE(count + 2, at + 6)
  into[at + 10] = contextId
  into[at + 11] = flags
}

/**
 * Bytes of a message that fit one P-DATA-TF to a peer that declared `maximumLength` (0 = no
 * limit, then `sendBytes`). Even, since fragments are (PS3.8 9.3.5.1).
 */
export function fragmentBytes(maximumLength: number, sendBytes: number): number {
  const room = maximumLength === 0 ? sendBytes : Math.min(maximumLength, sendBytes)
  return (room - PDV_HEADER) & ~1
}

/** A whole message part in as many P-DATA-TF as it needs, in one buffer for one write. */
export function frameMessage(contextId: number, command: boolean, message: Buffer, fragment: number): Buffer {
  const count = Math.max(1, Math.ceil(message.length / fragment))
  const out = Buffer.allocUnsafe(message.length + count * (PDU_HEADER + PDV_HEADER))
  let at = 0
  for (let n = 0, from = 0; n < count; n++, from += fragment) {
    const size = Math.min(fragment, message.length - from)
    writeDataHeader(out, at, contextId, (command ? PDV_COMMAND : 0) | (n === count - 1 ? PDV_LAST : 0), size)
    at += PDU_HEADER + PDV_HEADER
    at += message.copy(out, at, from, from + size)
  }
  return out
}
