/**
 * When an instance that failed may be tried again: exponential with full jitter. Pure.
 */
import type { ErrorCode } from '../domain/errors.ts'

const FIRST_MILLIS = 1_000
const CAP_MILLIS = 5 * 60_000
/** Where the link is more likely to blame than the instance. */
const LINK_CAP_MILLIS = 30_000

const FREE_ATTEMPTS = 2
const LINK: ReadonlySet<ErrorCode> = new Set(['ASSOCIATION_LOST', 'ASSOCIATION_ABORTED', 'PROGRESS_STOPPED', 'ANSWER_MISSING', 'WORKER_DIED'])

/**
 * The link broke under it: at first that says nothing about the instance, so it is due at once;
 * an instance that keeps losing its association steps back for the others.
 *
 * @param attempts how many have failed, this one included
 * @param random uniform in [0, 1)
 * @returns milliseconds from now
 */
export function backoffMillis(code: ErrorCode, attempts: number, random: number): number {
  const link = LINK.has(code)
  const counted = link ? attempts - FREE_ATTEMPTS : attempts
  if (counted <= 0) return 0
  const most = Math.min(link ? LINK_CAP_MILLIS : CAP_MILLIS, FIRST_MILLIS * 2 ** Math.min(counted, 20))
  return Math.round(random * most)
}
