/**
 * What a fault met on the way out means for the instance.
 */
import { Fault } from '../domain/errors.ts'
import type { ErrorCode } from '../domain/errors.ts'
import type { Outcome } from '../domain/spool.ts'

/** The object itself is at fault, or cannot be re-encoded: a person must look. The rest passes. */
const REJECTING: ReadonlySet<ErrorCode> = new Set(['OBJECT_DAMAGED', 'OBJECT_MISSING', 'NOT_CONVERTIBLE'])

export const outcomeOf = (fault: Fault): Outcome => ({
  event: REJECTING.has(fault.code) ? 'rejected' : 'refused',
  code: fault.code,
  detail: fault.message,
})
