/**
 * DIMSE command sets (PS3.7 6.3, Annex E): group 0000 in Implicit VR Little Endian.
 *
 * Decoding keeps what C-STORE and C-ECHO need and steps over the rest; order, unknown elements,
 * a wrong or missing group length and odd lengths are tolerated, a length that leaves the
 * command set is `Malformed`.
 */
import { trimUid } from '../domain/identifier.ts'
import { Malformed } from './malformed.ts'

/** Command Field (0000,0100), PS3.7 E.1. A response has bit 15 set. */
export const COMMAND = {
  storeRq: 0x0001,
  storeRsp: 0x8001,
  echoRq: 0x0030,
  echoRsp: 0x8030,
  cancelRq: 0x0fff,
} as const
export const RESPONSE_BIT = 0x8000

/** Command Data Set Type (0000,0800) that says: no data set follows. */
const NO_DATA_SET = 0x0101
const DATA_SET = 0x0000

/** Priority (0000,0700). */
export const PRIORITY = { low: 2, medium: 0, high: 1 } as const

const TAG = {
  groupLength: 0x0000,
  affectedClass: 0x0002,
  requestedClass: 0x0003,
  field: 0x0100,
  messageId: 0x0110,
  respondsTo: 0x0120,
  priority: 0x0700,
  dataSetType: 0x0800,
  status: 0x0900,
  comment: 0x0902,
  affectedInstance: 0x1000,
  requestedInstance: 0x1001,
} as const

export interface Command {
  readonly field: number
  /** Message ID (0000,0110); -1 in a response. */
  readonly messageId: number
  /** Message ID Being Responded To (0000,0120); -1 in a request. */
  readonly respondsTo: number
  /** Affected, else Requested SOP Class UID; empty when there is none. */
  readonly sopClass: string
  readonly sopInstance: string
  readonly priority: number
  /** A data set follows. */
  readonly dataSet: boolean
  /** -1 in a request. */
  readonly status: number
  /** Error Comment (0000,0902): the peer's free text, may name a patient; show it, do not log it. */
  readonly comment: string
}

/** @throws Malformed */
export function decodeCommand(bytes: Buffer): Command {
  let field = -1
  let messageId = -1
  let respondsTo = -1
  let sopClass = ''
  let sopInstance = ''
  let priority = 0
  let dataSetType = -1
  let status = -1
  let comment = ''
  for (let at = 0; at < bytes.length; ) {
    if (bytes.length - at < 8) throw new Malformed('a DIMSE command ends inside an element')
    const group = bytes.readUInt16LE(at)
    const element = bytes.readUInt16LE(at + 2)
    const length = bytes.readUInt32LE(at + 4)
    at += 8
    if (length > bytes.length - at) throw new Malformed('an element of a DIMSE command is longer than the command')
    const end = at + length
    if (group === 0) {
      switch (element) {
        case TAG.affectedClass:
          sopClass = uid(bytes, at, end)
          break
        case TAG.requestedClass:
          if (sopClass === '') sopClass = uid(bytes, at, end)
          break
        case TAG.affectedInstance:
          sopInstance = uid(bytes, at, end)
          break
        case TAG.requestedInstance:
          if (sopInstance === '') sopInstance = uid(bytes, at, end)
          break
        case TAG.field:
          field = us(bytes, at, end)
          break
        case TAG.messageId:
          messageId = us(bytes, at, end)
          break
        case TAG.respondsTo:
          respondsTo = us(bytes, at, end)
          break
        case TAG.priority:
          priority = us(bytes, at, end)
          break
        case TAG.dataSetType:
          dataSetType = us(bytes, at, end)
          break
        case TAG.status:
          status = us(bytes, at, end)
          break
        case TAG.comment:
          comment = bytes.toString('latin1', at, Math.min(end, at + COMMENT_CHARS)).replace(/[\0 ]+$/, '')
          break
        default:
      }
    }
    at = end
  }
  if (field < 0) throw new Malformed('a DIMSE command has no Command Field')
  if (dataSetType < 0) throw new Malformed('a DIMSE command has no Command Data Set Type')
  const response = (field & RESPONSE_BIT) !== 0
  // C-CANCEL-RQ has no Message ID of its own (PS3.7 9.3.2.3), every other request must.
  if (response ? respondsTo < 0 || status < 0 : messageId < 0 && field !== COMMAND.cancelRq) {
    throw new Malformed(`a DIMSE ${response ? 'response' : 'request'} lacks its message id${response ? ' or status' : ''}`)
  }
  const dataSet = dataSetType !== NO_DATA_SET
  return { field, messageId, respondsTo, sopClass, sopInstance, priority, dataSet, status, comment }
}

/** A UID longer than 64 is wrong anyhow; the bound keeps one from becoming a large string. */
const uid = (bytes: Buffer, from: number, to: number): string =>
  trimUid(bytes.toString('latin1', from, Math.min(to, from + 80)))

function us(bytes: Buffer, from: number, to: number): number {
  if (to - from < 2) throw new Malformed('a number in a DIMSE command has fewer than 2 bytes')
  return bytes.readUInt16LE(from)
}

/** Error Comment is LO: 64 characters (PS3.7 C). */
export const COMMENT_CHARS = 64

export interface StoreRequestFields {
  readonly messageId: number
  readonly sopClass: string
  readonly sopInstance: string
  readonly priority: number
}

/** C-STORE-RQ (PS3.7 9.3.1.1). */
export const encodeStoreRequest = (rq: StoreRequestFields): Buffer =>
  encode([
    [TAG.affectedClass, rq.sopClass],
    [TAG.field, COMMAND.storeRq],
    [TAG.messageId, rq.messageId],
    [TAG.priority, rq.priority],
    [TAG.dataSetType, DATA_SET],
    [TAG.affectedInstance, rq.sopInstance],
  ])

/** C-ECHO-RQ (PS3.7 9.3.5.1). */
export const encodeEchoRequest = (messageId: number, sopClass: string): Buffer =>
  encode([
    [TAG.affectedClass, sopClass],
    [TAG.field, COMMAND.echoRq],
    [TAG.messageId, messageId],
    [TAG.dataSetType, NO_DATA_SET],
  ])

export interface ResponseFields {
  /** Of the request; bit 15 is set here. */
  readonly field: number
  readonly messageId: number
  readonly status: number
  /** Left out when empty. */
  readonly sopClass?: string
  readonly sopInstance?: string
  /** Cut to 64 characters; backslash and control characters, which LO forbids, become spaces. */
  readonly comment?: string
}

/** Any response without a data set (PS3.7 9.3.1.2, 9.3.5.2). */
export function encodeResponse(rsp: ResponseFields): Buffer {
  const elements: Element[] = []
  if (rsp.sopClass) elements.push([TAG.affectedClass, rsp.sopClass])
  elements.push([TAG.field, rsp.field | RESPONSE_BIT], [TAG.respondsTo, rsp.messageId])
  elements.push([TAG.dataSetType, NO_DATA_SET], [TAG.status, rsp.status])
  if (rsp.comment) {
    const text = rsp.comment.slice(0, COMMENT_CHARS).replace(/[^\x20-\x7e]|\\/g, ' ')
    elements.push([TAG.comment, text.length % 2 === 0 ? text : `${text} `])
  }
  if (rsp.sopInstance) elements.push([TAG.affectedInstance, rsp.sopInstance])
  return encode(elements)
}

type Element = readonly [element: number, value: number | string]

/** Elements must ascend. Group length (0000,0000) goes in front (PS3.7 6.3.1). */
function encode(elements: readonly Element[]): Buffer {
  let size = 12
  for (const [, value] of elements) size += 8 + (typeof value === 'number' ? 2 : value.length + (value.length & 1))
  const out = Buffer.alloc(size)
  out.writeUInt32LE(4, 4)
  out.writeUInt32LE(size - 12, 8)
  let at = 12
  for (const [element, value] of elements) {
    out.writeUInt16LE(element, at + 2)
    if (typeof value === 'number') {
      out.writeUInt32LE(2, at + 4)
      out.writeUInt16LE(value, at + 8)
      at += 10
    } else {
      // UI is padded with NUL, which the buffer is full of; LO comes padded.
      const padded = value.length + (value.length & 1)
      out.writeUInt32LE(padded, at + 4)
      out.write(value, at + 8, 'latin1')
      at += 8 + padded
    }
  }
  return out
}
