/**
 * What the receiving stage asks of the supervisor. A port: `roles/` wires it to the channel.
 */
import type { ErrorCode } from '../domain/errors.ts'
import type { CommitOutcome, ObjectFacts, ObjectHeader, Slot } from '../domain/spool.ts'

/** Somebody at the door: enough to say in log and status who it was. */
export interface Knock {
  readonly listener: string
  readonly peer: string
  readonly callingAe: string
  readonly calledAe: string
  /** Common name of the client certificate, where there was one. */
  readonly certificate?: string | undefined
}

export type Admission =
  | { readonly admission: number }
  | { readonly refused: ErrorCode; readonly fields: Record<string, string | number> }

export interface Intake {
  /** Counts the association against the bounds over all workers. */
  admit(knock: Knock, tenant: string): Promise<Admission>
  closed(admission: number, end: { how: string; stores: number }): void
  /** Tells log and status who was refused, and why. */
  refused(knock: Knock, code: ErrorCode, fields: Record<string, string | number>): void
  /** @throws Fault SPOOL_FULL, DISK_FAILED or SUPERVISOR_GONE */
  slot(tenant: string): Promise<Slot>
  giveBack(id: string): void
  /** @throws Fault SUPERVISOR_GONE; any other failure is a refused outcome. */
  commit(facts: ObjectFacts): Promise<CommitOutcome>
}

/** The object file being written; `spool/object` implements it. */
export interface ObjectSink {
  write(bytes: Buffer): boolean
  drained(): Promise<void>
  /** Resolves when the bytes are on stable storage. @throws Fault SPOOL_FULL or DISK_FAILED */
  finish(found: { study: string; series: string }): Promise<{ bytes: number; digest: string }>
  abandon(): Promise<void>
}
export type OpenObject = (slot: Slot, header: ObjectHeader) => ObjectSink
