/**
 * What a certificate says, as plain data. Read with OpenSSL's parser (node:crypto), which has
 * read the same bytes in the handshake already: one reading, no second opinion to disagree.
 */
import { X509Certificate } from 'node:crypto'
import { isName, TENANT_URI_PREFIX } from '../domain/identifier.ts'

/** Plain JSON, may cross processes and be logged. Dates are milliseconds since 1970. */
export interface CertificateFacts {
  /** Subject CN, or the whole subject where there is none; printable, at most 64 characters. */
  readonly subject: string
  /** Issuer CN, likewise. */
  readonly issuer: string
  /** Distinguished name of the issuer, one attribute a line, as OpenSSL writes it. */
  readonly issuerName: string
  /** Upper-case hex without leading zeros. */
  readonly serial: string
  readonly dnsNames: readonly string[]
  readonly ipAddresses: readonly string[]
  readonly uris: readonly string[]
  /** The tenant, if the certificate names exactly one, and that well; else undefined. */
  readonly tenant: string | undefined
  readonly notBefore: number
  readonly notAfter: number
  /** SHA-256 over the DER, lower-case hex. */
  readonly fingerprint: string
  /** Extended key usage as OIDs; empty = none stated, every use allowed (RFC 5280 4.2.1.12). */
  readonly usages: readonly string[]
}

export const USAGE_OIDS = { server: '1.3.6.1.5.5.7.3.1', client: '1.3.6.1.5.5.7.3.2' } as const

const SUBJECT_CHARS = 64

/** @throws Error of OpenSSL when it is no certificate. */
export const readCertificate = (source: string | Buffer): CertificateFacts => factsOf(new X509Certificate(source))

const PEM = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g

/** Every certificate of a PEM text, in its order. @throws Error when one cannot be read. */
export const readChain = (pem: string): X509Certificate[] => [...pem.matchAll(PEM)].map(([text]) => new X509Certificate(text))

export function factsOf(certificate: X509Certificate): CertificateFacts {
  const names = alternativeNames(certificate.subjectAltName ?? '')
  const of = (kind: string) => names.filter((name) => name.kind === kind).map((name) => name.value)
  const uris = of('URI')
  return {
    subject: commonName(certificate.subject),
    issuer: commonName(certificate.issuer),
    issuerName: certificate.issuer,
    serial: plainSerial(certificate.serialNumber),
    dnsNames: of('DNS'),
    ipAddresses: of('IP Address'),
    uris,
    tenant: tenantOf(uris),
    notBefore: certificate.validFromDate.getTime(),
    notAfter: certificate.validToDate.getTime(),
    fingerprint: certificate.fingerprint256.replaceAll(':', '').toLowerCase(),
    usages: certificate.keyUsage ?? [],
  }
}

/** The form in which serials are compared: upper-case hex, no leading zeros. */
export const plainSerial = (hex: string): string => hex.toUpperCase().replace(/^0+(?=.)/, '')

/**
 * Two tenants, or one that is not well written, are no tenant: who could be either must be
 * treated as neither.
 */
function tenantOf(uris: readonly string[]): string | undefined {
  const claims = uris.filter((uri) => uri.toLowerCase().startsWith(TENANT_URI_PREFIX))
  const claim = claims[0]
  if (claim === undefined || claims.length > 1 || !claim.startsWith(TENANT_URI_PREFIX)) return undefined
  const tenant = claim.slice(TENANT_URI_PREFIX.length)
  return isName(tenant) ? tenant : undefined
}

/** Names are for people's eyes only; what is shown stays short and harmless in a log. */
function commonName(name: string): string {
  const line = name.split('\n').find((part) => part.startsWith('CN='))
  const text = line === undefined ? name.replaceAll('\n', ', ') : line.slice('CN='.length)
  return text.replace(/[\x00-\x1f\x7f]/g, '?').slice(0, SUBJECT_CHARS)
}

/**
 * Node writes `DNS:a, URI:b`, and puts a value that could be mistaken for more than one into a
 * JSON string (since CVE-2021-44532). What does not follow that form ends the reading: names
 * after it do not count.
 */
function alternativeNames(text: string): { kind: string; value: string }[] {
  const names: { kind: string; value: string }[] = []
  const part = /([A-Za-z ]+):("(?:[^"\\]|\\.)*"|[^,"]*)(?:, |$)/y
  while (part.lastIndex < text.length) {
    const match = part.exec(text)
    if (match === null) return []
    const [, kind = '', raw = ''] = match
    names.push({ kind, value: raw.startsWith('"') ? String(JSON.parse(raw)) : raw })
  }
  return names
}
