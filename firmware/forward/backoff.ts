/**
 * When an instance that failed may be tried again: exponential with full jitter. Pure.
 */
import type { ErrorCode } from '../domain/errors.ts'

const FIRST_MILLIS = 1_000
const CAP_MILLIS = 5 * 60_000

/**
 * The link broke under it: at first that says nothing about the instance, so it is due at once;
 * an instance that keeps losing its association steps back for the others.
 *
 * @param attempts how many have failed, this one included
 * @param random uniform in [0, 1)
 * @returns milliseconds from now
 */
export function backoffMillis(code: ErrorCode, attempts: number, random: number): number {
  const free = code === 'ASSOCIATION_LOST' || code === 'WORKER_DIED' ? 2 : 0
  if (attempts <= free) return 0
  const exponent = Math.min(attempts - free - 1, 20)
  return Math.round(random * Math.min(CAP_MILLIS, FIRST_MILLIS * 2 ** (exponent + 1)))
}
