/**
 * The verdict on a finished TLS handshake. Handshakes let everybody through (profile.ts) so that
 * the reason for a refusal can be named; nothing may be read from or written to a socket before
 * `judgePeer` has passed it.
 *
 * OpenSSL keeps only the last problem it met, and with several (a stranger's certificate, for
 * which there is no revocation list either) that is the least telling one. So each is looked for
 * here, from the one that makes all others meaningless downwards; and whatever is not found here
 * but was found by OpenSSL still refuses.
 */
import type { X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { Fault } from '../domain/errors.ts'
import { factsOf, USAGE_OIDS, type CertificateFacts } from './certificate.ts'
import { clockBehind, judgeEarly, judgeExpired, type Dated } from './clock.ts'
import { isRevoked } from './crl.ts'
import { judgeLists } from './identity.ts'

export interface Judgement {
  /** What we are in this handshake. */
  readonly side: 'client' | 'server'
  /** Whom we trust, and our own dates; an `Identity` is one. */
  readonly trust: Dated
  /** Client only: the name that the certificate must bear. */
  readonly host?: string | undefined
  /** Milliseconds since 1970. */
  readonly now: number
}

/** @returns who the far side is, or the fault for which the socket must be closed. */
export function judgePeer(socket: TLSSocket, judgement: Judgement): CertificateFacts | Fault {
  // Asked exactly once: each call takes the first certificate off the chain that OpenSSL keeps, so
  // that a client gets none the second time (Node 24, X509Certificate::GetPeerCert).
  const certificate = socket.getPeerX509Certificate()
  if (certificate === undefined) return new Fault('FAR_CERTIFICATE_MISSING')
  const far = factsOf(certificate)
  const fault = judgeCertificate(certificate, far, judgement) ?? judgeName(certificate, far, judgement)
  if (fault !== undefined) return fault
  // Typed as an Error, but a code in truth.
  const problem: unknown = socket.authorizationError
  if (problem || !socket.authorized) return byOpenssl(problem, far, judgement)
  return far
}

function judgeCertificate(certificate: X509Certificate, far: CertificateFacts, { side, trust, now }: Judgement): Fault | undefined {
  const chain = chainOf(certificate)
  if (!trust.authorities.some((authority) => chain.some((link) => issuedBy(link, authority))))
    return new Fault('FAR_CA_UNKNOWN', { subject: far.subject, issuer: far.issuer })
  if (isRevoked(trust.lists, far)) return new Fault('FAR_CERTIFICATE_REVOKED', { subject: far.subject })
  if (now < far.notBefore) return judgeEarly(trust, far, now)
  if (now > far.notAfter) return judgeExpired(trust, far, now)
  const outdated = judgeLists(trust.lists, now)
  if (outdated !== undefined) return clockBehind(trust, now) ?? outdated
  const wanted = side === 'client' ? 'server' : 'client'
  if (far.usages.length > 0 && !far.usages.includes(USAGE_OIDS[wanted]))
    return new Fault('FAR_CERTIFICATE_PURPOSE', { subject: far.subject, wanted, detail: `it is not for use as ${wanted}` })
  return undefined
}

/**
 * RFC 9525, but for a common name where there is no alternative name: certificates that hospitals
 * make for their PACS often have none.
 */
function judgeName(certificate: X509Certificate, far: CertificateFacts, { side, host }: Judgement): Fault | undefined {
  if (side === 'server') return undefined
  if (host === undefined) throw new Error('verdict: a client must say whom it wants')
  const bears = isIP(host) === 0 ? certificate.checkHost(host, { subject: 'default', partialWildcards: false }) : certificate.checkIP(host)
  if (bears !== undefined) return undefined
  const names = [...far.dnsNames, ...far.ipAddresses]
  return new Fault('FAR_NAME_MISMATCH', { host, names: (names.length === 0 ? [far.subject] : names).slice(0, 8).join(', ') })
}

/** What OpenSSL found and the checks above did not. Fail closed, whatever it is. */
function byOpenssl(problem: unknown, far: CertificateFacts, { side, trust, now }: Judgement): Fault {
  const code = typeof problem === 'string' ? problem : 'not verified'
  switch (code) {
    case 'CERT_HAS_EXPIRED':
    case 'CERT_NOT_YET_VALID':
      // The leaf's own dates are fine by now, so it is one further up.
      return clockBehind(trust, now) ?? new Fault('FAR_CA_EXPIRED', { issuer: far.issuer })
    case 'CERT_REVOKED':
      return new Fault('FAR_CERTIFICATE_REVOKED', { subject: far.subject })
    case 'UNABLE_TO_GET_CRL':
    case 'UNABLE_TO_GET_CRL_ISSUER':
    case 'CRL_SIGNATURE_FAILURE':
      // The last: there is one of its name, but by another key (two authorities alike).
      return new Fault('REVOCATION_LIST_MISSING', { issuer: far.issuer })
    case 'UNABLE_TO_GET_ISSUER_CERT':
    case 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY':
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
    case 'SELF_SIGNED_CERT_IN_CHAIN':
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
    case 'CERT_UNTRUSTED':
      return new Fault('FAR_CA_UNKNOWN', { subject: far.subject, issuer: far.issuer })
    case 'INVALID_PURPOSE':
      return new Fault('FAR_CERTIFICATE_PURPOSE', {
        subject: far.subject,
        wanted: side === 'client' ? 'server' : 'client',
        detail: 'key usage',
      })
    default:
      return new Fault('FAR_CERTIFICATE_BROKEN', { subject: far.subject, detail: code })
  }
}

/** The longest chain OpenSSL builds by default is 100; ours has two links. */
const CHAIN_LINKS = 10

/** The certificates the far side showed, its own first. */
function chainOf(certificate: X509Certificate): X509Certificate[] {
  const chain = [certificate]
  for (let link = certificate.issuerCertificate; link !== undefined && chain.length < CHAIN_LINKS; link = link.issuerCertificate) {
    if (chain.some((held) => held.fingerprint256 === link?.fingerprint256)) break
    chain.push(link)
  }
  return chain
}

/** By signature, not by name: a name can be copied. */
const issuedBy = (certificate: X509Certificate, authority: X509Certificate): boolean =>
  certificate.fingerprint256 === authority.fingerprint256 ||
  (certificate.issuer === authority.subject && certificate.verify(authority.publicKey))
