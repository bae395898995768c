/**
 * UIDs of our own: `2.25.` and a UUID as one decimal number (PS3.5 B.2), at most 44 characters.
 */
import { createHash, randomUUID } from 'node:crypto'

const fromUuidBytes = (hex: string): string => `2.25.${BigInt(`0x${hex}`)}`

/** Globally unique, from a random UUID (RFC 9562, version 4). */
export const newUid = (): string => fromUuidBytes(randomUUID().replaceAll('-', ''))

/**
 * The same name gives the same UID: a custom UUID (RFC 9562, version 8) over its SHA-256.
 * For samples and tests that must come out alike each time.
 */
export function uidOf(name: string): string {
  const bytes = createHash('sha256').update(name).digest().subarray(0, 16)
  bytes[6] = (bytes[6]! & 0x0f) | 0x80
  bytes[8] = (bytes[8]! & 0x3f) | 0x80
  return fromUuidBytes(bytes.toString('hex'))
}
