/**
 * The numbers of PS3.8 by which one side says no to the other, in words for a person.
 */
import type { Abort, ContextResult, Rejection } from './pdu.ts'

/** PS3.8 Table 9-21, `source.reason`. */
const REJECTION: Record<string, string> = {
  '1.1': 'it gives no reason',
  '1.2': 'it does not know the application context',
  '1.3': 'it does not know our AE title (calling AE title not recognized)',
  '1.7': 'it does not answer to the AE title we asked for (called AE title not recognized)',
  '2.1': 'it gives no reason',
  '2.2': 'it does not speak this version of the protocol',
  '3.1': 'it is overloaded for the moment (temporary congestion)',
  '3.2': 'it has no association left (local limit exceeded)',
}

export function rejectionWords(rj: Rejection): string {
  const lasting = rj.result === 1 ? 'for good' : rj.result === 2 ? 'for now' : `with unknown result ${rj.result}`
  const why = REJECTION[`${rj.source}.${rj.reason}`] ?? `its reason ${rj.source}.${rj.reason} is not in the standard`
  return `it rejected the association ${lasting}: ${why}`
}

/** PS3.8 Table 9-26. */
const ABORT: Record<number, string> = {
  0: 'it gives no reason',
  1: 'it did not recognize a PDU',
  2: 'it did not expect a PDU',
  4: 'it did not recognize a parameter of a PDU',
  5: 'it did not expect a parameter of a PDU',
  6: 'it found an invalid value in a PDU',
}
export function abortWords(abort: Abort): string {
  if (abort.source === 0) return 'it aborted the association'
  return `its upper layer aborted the association: ${ABORT[abort.reason] ?? `reason ${abort.reason} is not in the standard`}`
}

/** PS3.8 Table 9-18. */
const CONTEXT: Record<ContextResult, string> = {
  0: 'accepted',
  1: 'rejected by the user of the far side',
  2: 'rejected without a reason',
  3: 'the far side does not support this SOP class',
  4: 'the far side supports none of the transfer syntaxes offered',
}
export const contextWords = (result: ContextResult): string => CONTEXT[result]

/** What the operating system calls the end of a connection, in words. */
const SOCKET: Record<string, string> = {
  ECONNRESET: 'the peer reset the connection',
  EPIPE: 'the peer closed the connection while we were sending',
  ETIMEDOUT: 'the network stopped answering',
  EHOSTUNREACH: 'there is no route to the peer any more',
  ENETUNREACH: 'the network is gone',
  ENETDOWN: 'the network is down',
}
export function socketWords(error: Error & { code?: string }): string {
  return (error.code !== undefined ? SOCKET[error.code] ?? error.code : undefined) ?? error.message
}
