/**
 * Certificate revocation lists (RFC 5280 5): read once, asked often. OpenSSL checks them in the
 * handshake; here they are asked about peers whose association is already up, about our own
 * certificate, and about dates.
 */
import type { X509Crl } from '@peculiar/x509'
import type { webcrypto, X509Certificate } from 'node:crypto'
import { plainSerial } from './certificate.ts'

export interface RevocationList {
  /** Distinguished name of the authority, in the form of `CertificateFacts.issuerName`. */
  readonly issuerName: string
  /** Milliseconds since 1970. */
  readonly thisUpdate: number
  /** Infinity where the list names no end. */
  readonly nextUpdate: number
  readonly serials: ReadonlySet<string>
}

const PEM = /-----BEGIN X509 CRL-----[^-]+-----END X509 CRL-----/g

/**
 * Every list of a PEM text whose signature is good under one of the authorities.
 * @throws Error naming what is wrong: not a list, or signed by nobody we trust.
 */
export async function readRevocationLists(pem: string, authorities: readonly X509Certificate[]): Promise<RevocationList[]> {
  const texts = [...pem.matchAll(PEM)].map(([text]) => text)
  if (texts.length === 0) throw new Error('it holds no revocation list')
  return Promise.all(texts.map((text) => readList(text, authorities)))
}

async function readList(pem: string, authorities: readonly X509Certificate[]): Promise<RevocationList> {
  // 19 MB and 70 ms, which a process without a list is spared.
  await import('reflect-metadata')
  const { X509Crl } = await import('@peculiar/x509')
  const list = new X509Crl(new Uint8Array(Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ''), 'base64')))
  for (const authority of authorities) {
    const publicKey = new Uint8Array(authority.publicKey.export({ type: 'spki', format: 'der' }))
    const key = await importKey(publicKey, list)
    if (key === undefined || !(await list.verify({ publicKey: key }))) continue
    return {
      issuerName: authority.subject,
      thisUpdate: list.thisUpdate.getTime(),
      nextUpdate: list.nextUpdate?.getTime() ?? Number.POSITIVE_INFINITY,
      serials: new Set(list.entries.map((entry) => plainSerial(entry.serialNumber))),
    }
  }
  throw new Error('the revocation list is not signed by an authority we trust')
}

/** The authority's key for the list's algorithm; undefined where they do not fit. */
async function importKey(spki: Uint8Array<ArrayBuffer>, list: X509Crl): Promise<webcrypto.CryptoKey | undefined> {
  const { name, hash } = list.signatureAlgorithm as { name: string; hash?: { name: string } }
  const algorithms =
    name === 'ECDSA' ? ['P-256', 'P-384', 'P-521'].map((namedCurve) => ({ name, namedCurve })) : [{ name, hash }]
  for (const algorithm of algorithms) {
    try {
      return await crypto.subtle.importKey('spki', spki, algorithm, false, ['verify'])
    } catch {
      // Another curve or another kind of key: the next one, or the next authority.
    }
  }
  return undefined
}

/** Whether one of the lists names the certificate. Also for peers whose association is up. */
export const isRevoked = (
  lists: readonly RevocationList[],
  certificate: { readonly serial: string; readonly issuerName: string },
): boolean => lists.some((list) => list.issuerName === certificate.issuerName && list.serials.has(certificate.serial))
