/**
 * A certificate authority of our own: one per hub (PS3.15 B.12 wants mutual authentication and
 * leaves the trust to the site). P-256 and SHA-256 throughout; the profile of RFC 5280, so that
 * `openssl verify -x509_strict` and every peer accept what it issues.
 */
import 'reflect-metadata'
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsageExtension,
  Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
  X509CrlGenerator,
} from '@peculiar/x509'
import { createPrivateKey, KeyObject, randomBytes, type webcrypto } from 'node:crypto'
import { mkdir, open, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { isName, TENANT_URI_PREFIX } from '../domain/identifier.ts'
import { USAGE_OIDS } from './certificate.ts'

export interface IssueRequest {
  readonly commonName: string
  /** Put into Subject Alternative Name as a URI; see `domain/identifier.ts`. */
  readonly tenant?: string | undefined
  readonly dnsNames?: readonly string[]
  readonly ipAddresses?: readonly string[]
  readonly usage: 'client' | 'server' | 'both'
  readonly notBefore: Date
  readonly notAfter: Date
}

/** PEM texts; the key is PKCS#8. */
export interface Issued {
  readonly cert: string
  readonly key: string
  /** As `CertificateFacts.serial`. */
  readonly serial: string
}

export interface Revocation {
  /** Hex. */
  readonly serial: string
  readonly revokedAt: Date
}

export interface Authority {
  /** PEM. */
  readonly cert: string
  /** PEM, PKCS#8. Leaves this room only for `saveAuthority`. */
  readonly key: string
  issue(request: IssueRequest): Promise<Issued>
  /** @returns the list as PEM; its number grows with `thisUpdate`. */
  revocationList(revoked: readonly Revocation[], dates: { thisUpdate: Date; nextUpdate: Date }): Promise<string>
}

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
const YEAR_MILLIS = 365.25 * 24 * 3_600_000
/** Boxes are paired once and may lie in a drawer: the authority outlives them. */
const AUTHORITY_YEARS = 20
const OID_CRL_NUMBER = '2.5.29.20'

/** 128 random bits, positive, never starting with a zero octet (RFC 5280 4.1.2.2: at most 20). */
function makeSerial(): string {
  const bytes = randomBytes(16)
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40
  return bytes.toString('hex')
}

const makeKeys = () => crypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])
const pemOf = (key: webcrypto.CryptoKey): string => String(KeyObject.from(key).export({ type: 'pkcs8', format: 'pem' }))
const withNewline = (pem: string): string => (pem.endsWith('\n') ? pem : pem + '\n')

/** A new authority. @param dates for tests; by default from an hour ago for 20 years. */
export async function createAuthority(name: string, dates?: { notBefore: Date; notAfter: Date }): Promise<Authority> {
  const now = Date.now()
  const keys = await makeKeys()
  const certificate = await X509CertificateGenerator.createSelfSigned({
    serialNumber: makeSerial(),
    name: [{ CN: [name] }],
    // An hour back: a box whose clock is a little slow can still be paired.
    notBefore: dates?.notBefore ?? new Date(now - 3_600_000),
    notAfter: dates?.notAfter ?? new Date(now + AUTHORITY_YEARS * YEAR_MILLIS),
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [
      // pathLen 0: what it issues cannot issue further.
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
      await AuthorityKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  return authorityOf(certificate, pemOf(keys.privateKey))
}

/** @param folder as `saveAuthority` wrote it. @throws Error when a file is missing or broken. */
export async function loadAuthority(folder: string): Promise<Authority> {
  const [cert, key] = await Promise.all([
    readFile(join(folder, 'ca.pem'), 'utf8'),
    readFile(join(folder, 'ca-key.pem'), 'utf8'),
  ])
  return authorityOf(new X509Certificate(cert), key)
}

/** Writes `ca.pem` and `ca-key.pem` (0600), each whole or not at all. */
export async function saveAuthority(authority: Authority, folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  await writeWhole(join(folder, 'ca-key.pem'), authority.key, 0o600)
  await writeWhole(join(folder, 'ca.pem'), authority.cert, 0o644)
}

/** The files of an identity folder (see identity.ts), key first: the certificate completes it. */
export async function saveIdentity(
  folder: string,
  parts: { cert: string; key: string; ca: string; crl?: string | undefined },
): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  await writeWhole(join(folder, 'ca.pem'), parts.ca, 0o644)
  if (parts.crl !== undefined) await writeWhole(join(folder, 'crl.pem'), parts.crl, 0o644)
  await writeWhole(join(folder, 'key.pem'), parts.key, 0o600)
  await writeWhole(join(folder, 'cert.pem'), parts.cert, 0o644)
}

/** Temporary file, fdatasync, rename, fsync of the folder: after a power cut the old or the new. */
export async function writeWhole(path: string, text: string, mode: number): Promise<void> {
  const part = `${path}.${randomBytes(4).toString('hex')}.part`
  const file = await open(part, 'wx', mode)
  try {
    await file.writeFile(text)
    await file.datasync()
  } finally {
    await file.close()
  }
  await rename(part, path)
  const folder = await open(join(path, '..'), 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

async function authorityOf(certificate: X509Certificate, key: string): Promise<Authority> {
  const signingKey = await crypto.subtle.importKey(
    'pkcs8',
    new Uint8Array(createPrivateKey(key).export({ type: 'pkcs8', format: 'der' })),
    ALGORITHM,
    false,
    ['sign'],
  )
  const publicKey = await certificate.publicKey.export()
  const issuer = certificate.subjectName
  const issuerKey = await AuthorityKeyIdentifierExtension.create(publicKey)

  return {
    cert: withNewline(certificate.toString('pem')),
    key,
    async issue(request) {
      if (request.tenant !== undefined && !isName(request.tenant)) throw new Error(`no tenant name: ${request.tenant}`)
      const keys = await makeKeys()
      const serial = makeSerial()
      const names = [
        ...(request.dnsNames ?? []).map((value) => ({ type: 'dns' as const, value })),
        ...(request.ipAddresses ?? []).map((value) => ({ type: 'ip' as const, value })),
        ...(request.tenant === undefined ? [] : [{ type: 'url' as const, value: TENANT_URI_PREFIX + request.tenant }]),
      ]
      const usages = request.usage === 'both' ? [USAGE_OIDS.server, USAGE_OIDS.client] : [USAGE_OIDS[request.usage]]
      const issued = await X509CertificateGenerator.create({
        serialNumber: serial,
        subject: [{ CN: [request.commonName] }],
        issuer,
        notBefore: request.notBefore,
        notAfter: request.notAfter,
        publicKey: keys.publicKey,
        signingKey,
        signingAlgorithm: ALGORITHM,
        extensions: [
          new BasicConstraintsExtension(false, undefined, true),
          // ECDHE only ever signs (RFC 8446 4.4.2.2): no keyEncipherment, no keyAgreement.
          new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
          new ExtendedKeyUsageExtension(usages),
          await SubjectKeyIdentifierExtension.create(keys.publicKey),
          issuerKey,
          ...(names.length === 0 ? [] : [new SubjectAlternativeNameExtension(names)]),
        ],
      })
      return { cert: withNewline(issued.toString('pem')), key: pemOf(keys.privateKey), serial: serial.toUpperCase() }
    },
    async revocationList(revoked, { thisUpdate, nextUpdate }) {
      const list = await X509CrlGenerator.create({
        issuer,
        thisUpdate,
        nextUpdate,
        signingAlgorithm: ALGORITHM,
        signingKey,
        entries: revoked.map(({ serial, revokedAt }) => ({ serialNumber: serial, revocationDate: revokedAt })),
        extensions: [issuerKey, new Extension(OID_CRL_NUMBER, false, derInteger(thisUpdate.getTime()))],
      })
      // The label of RFC 7468 7; the library's own is one that OpenSSL does not read.
      return withNewline(PemConverter.encode(list.rawData, 'X509 CRL'))
    },
  }
}

/** DER INTEGER of a positive number below 2^53 (X.690 8.3). */
function derInteger(value: number): Uint8Array<ArrayBuffer> {
  let hex = value.toString(16)
  if (hex.length % 2 === 1) hex = '0' + hex
  if (Number.parseInt(hex.slice(0, 2), 16) >= 0x80) hex = '00' + hex
  return new Uint8Array([0x02, hex.length / 2, ...Buffer.from(hex, 'hex')])
}
