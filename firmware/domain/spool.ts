/**
 * What the stages and the spool say to each other. Types only; small messages, never payload.
 *
 * The supervisor owns the index and hands out slots and leases; workers write and read object
 * files with them. Every type here crosses a process boundary and is plain JSON.
 */
import type { ObjectId } from './identifier.ts'
import type { InstanceState } from './instance.ts'

/** Where an instance came from. `peer` is an address without port. */
export interface Source {
  readonly listener: string
  readonly callingAe: string
  readonly calledAe: string
  readonly peer: string
}

/**
 * A prepared, empty object file whose directory entry is already durable, with the data key
 * made for it. `key` is 32 bytes base64; `wrappedKey` is what the file keeps.
 */
export interface Slot {
  readonly id: ObjectId
  readonly path: string
  readonly tenant: string
  readonly cipher: 'aes-256-gcm' | 'chacha20-poly1305'
  readonly key: string
  readonly wrappedKey: string
  readonly keyId: string
}

/** What is known when the first byte of the data set arrives: the file's header. */
export interface ObjectHeader {
  readonly id: ObjectId
  readonly tenant: string
  readonly sopClass: string
  readonly sopInstance: string
  readonly transferSyntax: string
  readonly source: Source
  /** Milliseconds since 1970, UTC. */
  readonly receivedAt: number
}

/** What is known when the last byte has arrived: the file's trailer. */
export interface ObjectTrailer {
  /** Plain bytes of the data set. */
  readonly bytes: number
  /** SHA-256 of the plain data set bytes, lower-case hex. */
  readonly digest: string
  /** From the data set; empty where the modality left it out. */
  readonly study: string
  readonly series: string
}

export type ObjectFacts = ObjectHeader & ObjectTrailer

export type Priority = 'high' | 'normal' | 'low'

/** One instance on its way to one destination. */
export interface Delivery {
  readonly destination: string
  readonly state: InstanceState
  readonly priority: Priority
  readonly attempts: number
  /** Earliest next attempt, milliseconds since 1970; 0 = at once. */
  readonly notBefore: number
  /** Why it waits or is held: code of `errors.ts` and its detail without patient data. */
  readonly code?: string
  readonly detail?: string
}

/** One row of the index. */
export interface InstanceRow extends ObjectFacts {
  /** Arrival order, from 1, never reused while the index lives. */
  readonly sequence: number
  /** 1 for the first; other bytes under the same (tenant, SOP Instance UID) count up. */
  readonly version: number
  readonly deliveries: readonly Delivery[]
}

/** Permission for one worker to send one instance to one destination. */
export interface Lease {
  readonly id: ObjectId
  readonly destination: string
  readonly path: string
  readonly cipher: Slot['cipher']
  readonly key: string
  readonly facts: ObjectFacts
  readonly version: number
  readonly attempts: number
}

/** How an attempt ended; the event of `instance.ts` and why. */
export interface Outcome {
  readonly event: 'stored' | 'refused' | 'rejected' | 'lease-lost'
  readonly code?: string
  readonly detail?: string
  /** DIMSE status of the answer, if there was one. */
  readonly status?: number
  /** Set where the object left in another transfer syntax than it came in. */
  readonly sentAs?: string
  /** Address and AE title that took it. */
  readonly hop?: string
}

/** Kept after removal. */
export interface Receipt {
  readonly id: ObjectId
  readonly tenant: string
  readonly sopClass: string
  readonly sopInstance: string
  readonly study: string
  readonly transferSyntax: string
  readonly digest: string
  readonly bytes: number
  readonly version: number
  readonly receivedAt: number
  readonly endedAt: number
  readonly destination: string
  readonly end: 'delivered' | 'discarded'
  readonly hop?: string
  readonly status?: number
  readonly sentAs?: string
  readonly reason?: string
}

export type CommitOutcome =
  | { readonly kind: 'queued'; readonly version: number }
  /** Same tenant, UID, transfer syntax and digest: in the spool, or delivered within the window. */
  | { readonly kind: 'duplicate'; readonly of: ObjectId }
  /** Not durable; the sender must keep its copy. */
  | { readonly kind: 'refused'; readonly code: string }
