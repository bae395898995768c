/**
 * What an acceptor asks of its owner, and what it is told: the room for policy and storage.
 */
import type { Limits } from '../domain/limits.ts'
import type { End } from './connection.ts'
import type { AssociateRequest, ContextAnswer, Rejection } from './pdu.ts'

/** A proposed context without an answer is answered "rejected without a reason". */
export type Decision = { readonly accept: readonly ContextAnswer[] } | { readonly reject: Rejection }

export interface StoreRequest {
  readonly contextId: number
  readonly messageId: number
  /** Equals the abstract syntax of the context. */
  readonly sopClass: string
  /** Passes `isUid`. */
  readonly sopInstance: string
  /** Agreed for the context: what the data set comes in. */
  readonly transferSyntax: string
  readonly priority: number
}

/** DIMSE status; `comment` becomes Error Comment (0000,0902), 64 characters, no patient data. */
export interface StoreAnswer {
  readonly status: number
  readonly comment?: string
}

/** Takes one data set. A throw or rejection from any of these is a defect and reaches the process. */
export interface StoreSink {
  /**
   * @param bytes a view into the socket's chunk, not empty; valid until this returns.
   * @returns false: no more until `drained()` resolves; the socket is not read meanwhile.
   */
  write(bytes: Buffer): boolean
  drained(): Promise<void>
  /** The data set is whole. The answer goes out when this resolves, if the peer is still there. */
  end(): Promise<StoreAnswer>
  /** The data set will not become whole. */
  abort(reason: string): void
}

/** `stores`: answered with success or a warning; `refusals`: answered otherwise. */
export interface AcceptorEnd extends End {
  readonly stores: number
  readonly refusals: number
}

export interface AcceptorHandlers {
  request(rq: AssociateRequest): Promise<Decision>
  /** An answer instead of a sink: the data set is read, thrown away, and then answered so. */
  store(rq: StoreRequest): StoreSink | StoreAnswer | Promise<StoreSink | StoreAnswer>
  /** The socket is gone. */
  closed(end: AcceptorEnd): void
}

export type AcceptorBounds = Pick<
  Limits,
  | 'pduBytes'
  | 'pduSendBytes'
  | 'associatePduBytes'
  | 'presentationContexts'
  | 'commandBytes'
  | 'artimMillis'
  | 'discardBytes'
  | 'idleMillis'
  | 'slowMillis'
  | 'slowBytes'
>
