/**
 * Dates in certificates against the clock of this machine: when a date does not fit, one of the
 * two is wrong, and a box without a battery wakes up in 1970. What we hold ourselves tells which.
 */
import type { X509Certificate } from 'node:crypto'
import { Fault } from '../domain/errors.ts'
import type { CertificateFacts } from './certificate.ts'
import type { RevocationList } from './crl.ts'

/** What of our own carries dates. */
export interface Dated {
  readonly own?: CertificateFacts | undefined
  readonly authorities: readonly X509Certificate[]
  readonly lists: readonly RevocationList[]
}

/** Clocks of two sound machines differ by no more. */
const TOLERANCE_MILLIS = 5 * 60_000
const HOUR_MILLIS = 3_600_000

/** As people read it: `2026-11-21 22:04 UTC`. */
export const day = (millis: number): string =>
  Number.isFinite(millis) ? new Date(millis).toISOString().slice(0, 16).replace('T', ' ') + ' UTC' : 'no end'

/**
 * The clock is certainly slow when it stands before the making of something we already hold.
 * A list or an authority is never made for later; a certificate may be, so it is no proof.
 */
export function clockBehind({ authorities, lists }: Dated, now: number): Fault | undefined {
  const proofs = [
    ...lists.map((list) => ({ proof: 'our list of revoked certificates', at: list.thisUpdate })),
    ...authorities.map((authority) => ({ proof: 'the authority we trust', at: authority.validFromDate.getTime() })),
  ]
  const latest = proofs.reduce<(typeof proofs)[number] | undefined>((a, b) => (a === undefined || b.at > a.at ? b : a), undefined)
  if (latest === undefined || now + TOLERANCE_MILLIS >= latest.at) return undefined
  return slow(latest.proof, latest.at, now)
}

/** The far side's certificate is not valid yet: it, or our clock? */
export function judgeEarly(dated: Dated, far: CertificateFacts, now: number): Fault {
  const proven = clockBehind(dated, now)
  if (proven !== undefined) return proven
  // Two that were issued independently and both lie ahead: the clock is the likelier.
  if (dated.own !== undefined && now < dated.own.notBefore) return slow('our own certificate', dated.own.notBefore, now)
  return new Fault('FAR_CERTIFICATE_EARLY', { subject: far.subject, date: day(far.notBefore), now: day(now) })
}

/** The far side's certificate has expired: it, or our clock? */
export function judgeExpired(dated: Dated, far: CertificateFacts, now: number): Fault {
  if (dated.own !== undefined && now > dated.own.notAfter)
    return new Fault('CLOCK_AHEAD', { now: day(now), own: day(dated.own.notAfter), far: day(far.notAfter) })
  return new Fault('FAR_CERTIFICATE_EXPIRED', { subject: far.subject, date: day(far.notAfter) })
}

const slow = (proof: string, at: number, now: number): Fault =>
  new Fault('CLOCK_BEHIND', { now: day(now), proof, date: day(at), hours: Math.max(1, Math.floor((at - now) / HOUR_MILLIS)) })
