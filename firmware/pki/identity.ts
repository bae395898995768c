/**
 * An identity: a folder with `cert.pem` (ours first, then its issuers), `key.pem` (PKCS#8),
 * `ca.pem` (whom we trust) and, optionally, `crl.pem` (whom they revoked). It is read as a whole
 * or not at all: while files are being exchanged, the last whole set stays in force.
 */
import { createHash, createPrivateKey, type X509Certificate } from 'node:crypto'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { Fault } from '../domain/errors.ts'
import { LIMITS } from '../domain/limits.ts'
import { factsOf, readChain, type CertificateFacts } from './certificate.ts'
import { clockBehind, day } from './clock.ts'
import { isRevoked, readRevocationLists, type RevocationList } from './crl.ts'
import type { TlsMaterial } from './profile.ts'

/** A whole, consistent set. Its dates may still be wrong: see `judgeIdentity`. */
export interface Identity extends TlsMaterial {
  readonly own: CertificateFacts
  readonly authorities: readonly X509Certificate[]
  readonly lists: readonly RevocationList[]
  /** Digest over all parts: equal if and only if nothing changed. */
  readonly version: string
}

export const IDENTITY_FILES = ['cert.pem', 'key.pem', 'ca.pem', 'crl.pem'] as const
export type IdentityFile = (typeof IDENTITY_FILES)[number]

/** @returns the set, or the fault naming the part that is missing, unreadable or does not fit. */
export async function loadIdentity(folder: string): Promise<Identity | Fault> {
  try {
    return await assemble({
      cert: await part(folder, 'cert.pem'),
      key: await part(folder, 'key.pem'),
      ca: await part(folder, 'ca.pem'),
      crl: await part(folder, 'crl.pem').catch((error: unknown) => {
        if (error instanceof Fault && error.code === 'OWN_PART_MISSING') return undefined
        throw error
      }),
    })
  } catch (error) {
    if (error instanceof Fault) return error
    throw error
  }
}

/** The same from texts. @throws Fault. */
export async function assemble(parts: TlsMaterial): Promise<Identity> {
  const chain = reading('cert.pem', () => readChain(parts.cert))
  const authorities = reading('ca.pem', () => readChain(parts.ca))
  const key = reading('key.pem', () => createPrivateKey(parts.key))
  const [leaf] = chain
  if (leaf === undefined) throw unreadable('cert.pem', 'it holds no certificate')
  if (authorities.length === 0) throw unreadable('ca.pem', 'it holds no certificate')
  if (!leaf.checkPrivateKey(key)) throw new Fault('OWN_KEY_MISMATCH')
  let lists: RevocationList[] = []
  if (parts.crl !== undefined) {
    try {
      lists = await readRevocationLists(parts.crl, authorities)
    } catch (error) {
      throw unreadable('crl.pem', messageOf(error))
    }
  }
  const hash = createHash('sha256')
  for (const text of [parts.cert, parts.key, parts.ca, parts.crl ?? '']) hash.update(text).update('\0')
  return { ...parts, own: factsOf(leaf), authorities, lists, version: hash.digest('hex') }
}

/**
 * What is wrong with our own parts at this moment, worst first: our clock, our certificate, our
 * authority, our revocation list. @param now milliseconds since 1970.
 */
export function judgeIdentity(identity: Identity, now: number): Fault | undefined {
  const { own, authorities, lists } = identity
  const slow = clockBehind(identity, now)
  if (slow !== undefined) return slow
  if (isRevoked(lists, own)) return new Fault('OWN_CERTIFICATE_REVOKED', { subject: own.subject })
  if (now > own.notAfter) return new Fault('OWN_CERTIFICATE_EXPIRED', { subject: own.subject, date: day(own.notAfter) })
  if (now < own.notBefore)
    return new Fault('OWN_CERTIFICATE_EARLY', { subject: own.subject, date: day(own.notBefore), now: day(now) })
  const ends = authorities.map((authority) => authority.validToDate.getTime())
  const [first] = authorities
  // One authority of several may run out while its successor is there already.
  if (first !== undefined && ends.every((end) => now > end))
    return new Fault('OWN_CA_EXPIRED', { subject: factsOf(first).subject, date: day(Math.max(...ends)) })
  return judgeLists(lists, now)
}

/** OpenSSL refuses every peer of an authority whose list is out of date, so one such is a fault. */
export function judgeLists(lists: readonly RevocationList[], now: number): Fault | undefined {
  const newest = new Map<string, RevocationList>()
  for (const list of lists) {
    const held = newest.get(list.issuerName)
    if (held === undefined || held.nextUpdate < list.nextUpdate) newest.set(list.issuerName, list)
  }
  for (const list of newest.values()) {
    if (now > list.nextUpdate) return new Fault('REVOCATION_LIST_EXPIRED', { date: day(list.nextUpdate) })
    if (now < list.thisUpdate) return new Fault('REVOCATION_LIST_EARLY', { date: day(list.thisUpdate), now: day(now) })
  }
  return undefined
}

async function part(folder: string, file: IdentityFile): Promise<string> {
  try {
    const handle = await open(join(folder, file), 'r')
    try {
      const { size } = await handle.stat()
      if (size > LIMITS.identityFileBytes) throw unreadable(file, `it is larger than ${LIMITS.identityFileBytes} bytes`)
      return await handle.readFile('utf8')
    } finally {
      await handle.close()
    }
  } catch (error) {
    if (error instanceof Fault) throw error
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw new Fault('OWN_PART_MISSING', { file })
    throw unreadable(file, (error as NodeJS.ErrnoException).code ?? messageOf(error))
  }
}

function reading<Result>(file: IdentityFile, read: () => Result): Result {
  try {
    return read()
  } catch (error) {
    // OpenSSL's texts speak of structure and never quote the content.
    throw unreadable(file, messageOf(error))
  }
}

const unreadable = (file: IdentityFile, detail: string) => new Fault('OWN_PART_UNREADABLE', { file, detail })
const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
