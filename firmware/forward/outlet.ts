/**
 * What the forwarding stage asks of the supervisor, and what it asks of a transport. Ports:
 * `roles/` wires the first to the channel and the object files, each transport is a folder here.
 */
import type { Lease, ObjectFacts, Outcome } from '../domain/spool.ts'

/** Instances that wait for one destination, by what they need negotiated. */
export interface WaitingContext {
  readonly sopClass: string
  readonly transferSyntax: string
  readonly count: number
}

export interface Outlet {
  /**
   * @returns at most `count` leases in the order to send, fewer when fewer are due, how many
   *   wait in all, these included, and when the next delayed one is due (milliseconds since 1970, 0 = none)
   */
  lease(count: number): Promise<{ leases: Lease[]; waiting: number; nextDue: number }>
  /** @param delayMillis before it may be tried again; only for `refused` */
  settle(lease: Lease, outcome: Outcome, delayMillis: number): void
  waiting(): Promise<WaitingContext[]>
  /** The far side takes nothing of this kind: whatever of it waits is held at once. */
  hold(context: { sopClass: string; transferSyntax: string }, detail: string): void
}

/** The plain bytes of one data set, authenticated, with bounded read-ahead. */
export interface ObjectSource extends AsyncIterable<Buffer> {
  readonly facts: ObjectFacts
  close(): Promise<void>
}

/** @throws Fault OBJECT_DAMAGED or OBJECT_MISSING, here or while it is read */
export type OpenLease = (lease: Lease) => Promise<ObjectSource>

/** One way out that carries one instance at a time: an association, or a folder. */
export interface Carrier {
  /** Can it take this one? `unproposed`: open another, proposing what this one needs. */
  readonly fits: (facts: ObjectFacts) => 'yes' | 'unproposed' | { readonly refused: string }
  /** Never throws for what the far side does; @throws Fault OBJECT_DAMAGED from the source */
  send(lease: Lease, source: ObjectSource): Promise<Outcome>
  /** False once the far side is gone. */
  readonly alive: boolean
  /** Milliseconds of the last instance: until its bytes were taken, and from then to its answer. */
  readonly lastSendMillis: number
  readonly lastWaitMillis: number
  /** Ends it in order; bounded in time. */
  close(): Promise<void>
}

export interface Transport {
  /**
   * @param needed proposed first; then what waits
   * @throws Fault naming what failed
   */
  open(needed: readonly { sopClass: string; transferSyntax: string }[]): Promise<Carrier>
  readonly roundTripMillis: number
}
