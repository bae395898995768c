/**
 * Protocol data units of the DICOM upper layer (PS3.8 9.3): encode and decode, no state.
 *
 * A decoder takes the variable field, i.e. what follows the 6 byte header (type, reserved,
 * 32 bit length); an encoder gives the whole PDU. Decoders throw `Malformed` and nothing else.
 */
import { trimUid } from '../domain/identifier.ts'
import type { Limits } from '../domain/limits.ts'
import { Cursor, Malformed, type AbortReason } from './malformed.ts'
import { decodeUserInformation, encodeUserInformation, item, text, type UserInformation } from './user-information.ts'

export const PDU = {
  associateRq: 1,
  associateAc: 2,
  associateRj: 3,
  data: 4,
  releaseRq: 5,
  releaseRp: 6,
  abort: 7,
} as const
export type PduType = (typeof PDU)[keyof typeof PDU]

export const PDU_HEADER = 6

/** The one application context there is (PS3.7 A.2.1). */
export const APPLICATION_CONTEXT = '1.2.840.10008.3.1.1.1'

/** One offer of an A-ASSOCIATE-RQ (PS3.8 9.3.2.2). `id` is odd, 1–255, in any order. */
export interface ProposedContext {
  readonly id: number
  readonly abstractSyntax: string
  readonly transferSyntaxes: readonly string[]
}

/** 0 accepted, 1 user rejection, 2 no reason, 3 abstract syntax, 4 transfer syntaxes (Table 9-18). */
export type ContextResult = 0 | 1 | 2 | 3 | 4

/** One answer of an A-ASSOCIATE-AC (PS3.8 9.3.3.2). `transferSyntax` counts only with result 0. */
export interface ContextAnswer {
  readonly id: number
  readonly result: ContextResult
  readonly transferSyntax: string
}

/**
 * A-ASSOCIATE-RQ (PS3.8 9.3.2). AE titles and versions are the peer's text without padding and
 * may hold any byte but leading or trailing spaces and NULs: check with `isAeTitle` before use.
 */
export interface AssociateRequest extends UserInformation {
  readonly protocolVersion: number
  readonly calledAe: string
  readonly callingAe: string
  readonly applicationContext: string
  readonly contexts: readonly ProposedContext[]
  /** Called, calling and reserved field as received, 64 bytes: the AC gives them back (9.3.3). */
  readonly titles: Buffer
}

export interface AssociateAccept extends UserInformation {
  readonly applicationContext: string
  readonly contexts: readonly ContextAnswer[]
}

/** A-ASSOCIATE-RJ (PS3.8 9.3.4, Table 9-21): 1 permanent or 2 transient; 1 user, 2 ACSE, 3 presentation. */
export interface Rejection {
  readonly result: number
  readonly source: number
  readonly reason: number
}

/** A-ABORT (PS3.8 9.3.8): source 0 service user, 2 service provider; the reason counts only with 2. */
export interface Abort {
  readonly source: number
  readonly reason: number
}

const ITEM = {
  applicationContext: 0x10,
  proposed: 0x20,
  answered: 0x21,
  abstractSyntax: 0x30,
  transferSyntax: 0x40,
  userInformation: 0x50,
} as const

export type AssociateBounds = Pick<Limits, 'associatePduBytes' | 'presentationContexts'>

/** @throws Malformed */
export function decodeAssociateRequest(body: Buffer, bounds: AssociateBounds): AssociateRequest {
  const from = new Cursor(body, 'the A-ASSOCIATE-RQ')
  const protocolVersion = from.u16()
  from.skip(2)
  const titles = Buffer.from(from.take(64))
  const contexts: ProposedContext[] = []
  const ids = new Set<number>()
  const { applicationContext, information } = decodeItems(from, (type, part) => {
    if (type !== ITEM.proposed) return
    const context = decodeProposed(part)
    if (ids.has(context.id)) throw new Malformed(`presentation context ${context.id} is proposed twice`)
    if (ids.size >= bounds.presentationContexts) throw new Malformed('too many presentation contexts are proposed')
    ids.add(context.id)
    contexts.push(context)
  })
  if (contexts.length === 0) throw new Malformed('no presentation context is proposed')
  return {
    protocolVersion,
    calledAe: title(titles, 0),
    callingAe: title(titles, 16),
    applicationContext,
    contexts,
    titles,
    ...information,
  }
}

/** @throws Malformed */
export function decodeAssociateAccept(body: Buffer, bounds: AssociateBounds): AssociateAccept {
  const from = new Cursor(body, 'the A-ASSOCIATE-AC')
  from.skip(68)
  const contexts: ContextAnswer[] = []
  const { applicationContext, information } = decodeItems(from, (type, part) => {
    if (type !== ITEM.answered) return
    if (contexts.length >= bounds.presentationContexts) throw new Malformed('too many presentation contexts are answered')
    contexts.push(decodeAnswered(part))
  })
  return { applicationContext, contexts, ...information }
}

/** Items of RQ and AC in any order; those not known are skipped (PS3.8 9.3.1). */
function decodeItems(
  from: Cursor,
  context: (type: number, part: Cursor) => void,
): { applicationContext: string; information: UserInformation } {
  let applicationContext = ''
  let information: UserInformation | undefined
  while (from.left > 0) {
    const type = from.u8()
    from.skip(1)
    const part = from.part(from.u16(), `item ${type.toString(16)}H`)
    if (type === ITEM.applicationContext) applicationContext = trimUid(part.text(part.left))
    else if (type === ITEM.userInformation) information = decodeUserInformation(part)
    else context(type, part)
  }
  if (information === undefined) throw new Malformed('the user information is missing')
  return { applicationContext, information }
}

function decodeProposed(part: Cursor): ProposedContext {
  const id = part.u8()
  part.skip(3)
  if (id % 2 === 0) throw new Malformed(`presentation context id ${id} is not odd`)
  let abstractSyntax: string | undefined
  const transferSyntaxes: string[] = []
  while (part.left > 0) {
    const type = part.u8()
    part.skip(1)
    const name = trimUid(part.text(part.u16()))
    if (type === ITEM.abstractSyntax) abstractSyntax ??= name
    else if (type === ITEM.transferSyntax) transferSyntaxes.push(name)
  }
  if (abstractSyntax === undefined) throw new Malformed(`presentation context ${id} has no abstract syntax`)
  if (transferSyntaxes.length === 0) throw new Malformed(`presentation context ${id} has no transfer syntax`)
  return { id, abstractSyntax, transferSyntaxes }
}

function decodeAnswered(part: Cursor): ContextAnswer {
  const id = part.u8()
  part.skip(1)
  const result = part.u8()
  part.skip(1)
  let transferSyntax = ''
  while (part.left > 0) {
    const type = part.u8()
    part.skip(1)
    const name = trimUid(part.text(part.u16()))
    if (type === ITEM.transferSyntax) transferSyntax = name
  }
  // A result outside Table 9-18 is certainly no acceptance.
  return { id, result: result <= 4 ? (result as ContextResult) : 2, transferSyntax }
}

const title = (titles: Buffer, at: number): string => titles.toString('latin1', at, at + 16).replace(/^[ \0]+|[ \0]+$/g, '')

/** `titles` of the request is made from the AE titles when absent. */
export function encodeAssociateRequest(rq: Omit<AssociateRequest, 'titles' | 'protocolVersion'>): Buffer {
  const titles = Buffer.alloc(64)
  titles.fill(0x20, 0, 32)
  titles.write(rq.calledAe, 0, 16, 'latin1')
  titles.write(rq.callingAe, 16, 16, 'latin1')
  const contexts = rq.contexts.map((context) =>
    item(
      ITEM.proposed,
      Buffer.from([context.id, 0, 0, 0]),
      item(ITEM.abstractSyntax, text(context.abstractSyntax)),
      ...context.transferSyntaxes.map((name) => item(ITEM.transferSyntax, text(name))),
    ),
  )
  return encodeAssociate(PDU.associateRq, titles, rq, contexts)
}

/** @param titles the 64 bytes of the request (PS3.8 9.3.3: sent back, not tested). */
export function encodeAssociateAccept(ac: AssociateAccept, titles: Buffer): Buffer {
  const contexts = ac.contexts.map((context) =>
    item(ITEM.answered, Buffer.from([context.id, 0, context.result, 0]), item(ITEM.transferSyntax, text(context.transferSyntax))),
  )
  return encodeAssociate(PDU.associateAc, titles, ac, contexts)
}

function encodeAssociate(
  type: PduType,
  titles: Buffer,
  of: UserInformation & { applicationContext: string },
  contexts: Buffer[],
): Buffer {
  return pdu(
    type,
    Buffer.from([0, 1, 0, 0]),
    titles,
    item(ITEM.applicationContext, text(of.applicationContext)),
    ...contexts,
    item(ITEM.userInformation, encodeUserInformation(of)),
  )
}

export const encodeRejection = (rj: Rejection): Buffer =>
  pdu(PDU.associateRj, Buffer.from([0, rj.result, rj.source, rj.reason]))
export const encodeReleaseRequest = (): Buffer => pdu(PDU.releaseRq, Buffer.alloc(4))
export const encodeReleaseReply = (): Buffer => pdu(PDU.releaseRp, Buffer.alloc(4))
/** The reason of a service user's abort is not significant and sent as 0 (PS3.8 9.3.8). */
export const encodeAbort = (source: 0 | 2, reason: AbortReason): Buffer =>
  pdu(PDU.abort, Buffer.from([0, 0, source, source === 0 ? 0 : reason]))

export function decodeRejection(body: Buffer): Rejection {
  const from = new Cursor(body, 'the A-ASSOCIATE-RJ')
  from.skip(1)
  return { result: from.u8(), source: from.u8(), reason: from.u8() }
}
export function decodeAbort(body: Buffer): Abort {
  const from = new Cursor(body, 'the A-ABORT')
  from.skip(2)
  return { source: from.u8(), reason: from.u8() }
}

function pdu(type: PduType, ...body: Buffer[]): Buffer {
  const header = Buffer.alloc(PDU_HEADER)
  header.writeUInt8(type, 0)
  header.writeUInt32BE(
    body.reduce((sum, part) => sum + part.length, 0),
    2,
  )
  return Buffer.concat([header, ...body])
}
