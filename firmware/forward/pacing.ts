/**
 * How many associations to a destination are worth having, found from what the link gives. Pure.
 *
 * On one association the wire is idle from an instance's last byte to its answer: one round trip
 * and the far side's durable write. So with `wait` against `send` known, `1 + wait / send`
 * associations fill the wire; more of them only compete. On a narrow link the instances' bytes
 * queue in the kernel, the waiting grows, and the number rises to the most that is allowed: there
 * the associations share what the link gives, and a slow one holds up one instance, not all.
 */
export interface PaceInput {
  /** Instances that wait for this destination, those being sent included. */
  readonly waiting: number
  /** Most associations the configuration allows. */
  readonly most: number
  /** Most the far side lets in, learnt from an A-ASSOCIATE-RJ for congestion or a local limit. */
  readonly admitted: number
  /** TCP connect time of the last dial, milliseconds. */
  readonly roundTripMillis: number
  /** Means over the last instances, milliseconds; 0 before the first. */
  readonly sendMillis: number
  readonly waitMillis: number
}

/** Before anything was measured an instance is taken to need this long on the wire. */
const GUESSED_SEND_MILLIS = 5
/** An association costs its handshakes; it must find at least this many instances to carry. */
const WORTH_INSTANCES = 2

/** @returns how many associations to have, at least 1 while anything waits, 0 when nothing does. */
export function associationsWanted(input: PaceInput): number {
  if (input.waiting === 0) return 0
  const send = input.sendMillis > 0 ? input.sendMillis : GUESSED_SEND_MILLIS
  const wait = input.sendMillis > 0 ? Math.max(input.waitMillis, input.roundTripMillis) : input.roundTripMillis
  const fill = 1 + Math.ceil(wait / send)
  const worth = Math.ceil(input.waiting / WORTH_INSTANCES)
  return Math.max(1, Math.min(fill, worth, input.most, input.admitted))
}

/** Exponentially weighted mean of the last ten or so. */
const WEIGHT = 0.2
export const meanOf = (mean: number, sample: number): number => (mean === 0 ? sample : mean + WEIGHT * (sample - mean))
