/**
 * What a spool is opened with: where it lies, what it may use, and where things go.
 */
import type { Limits } from '../domain/limits.ts'
import type { Log } from '../domain/log.ts'
import type { Target } from '../domain/route.ts'
import type { Slot } from '../domain/spool.ts'
import type { WaterOptions } from './water.ts'

export interface SpoolOptions {
  /** The spool's own directory; made if absent. */
  readonly directory: string
  /** Milliseconds since 1970, UTC. */
  readonly clock: { now(): number }
  readonly cipher: Slot['cipher']
  /** Where what was found without a row goes. */
  readonly targets: (listener: string, tenant: string) => readonly Target[]
  /** Names of those that are configured: what waits for another is held. Absent: all are. */
  readonly destinations?: readonly string[]
  readonly water: WaterOptions
  /** How long after delivery a repetition is answered as a duplicate. */
  readonly duplicateWindowMillis: number
  readonly receiptsMillis: number
  readonly limits?: Limits
  readonly log: Log
}
