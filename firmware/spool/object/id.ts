/**
 * Object ids and the paths made of them. An id is 48 bits of time and 80 random bits in Crockford
 * base32 (ulid/spec), so ids sort by the time they were made; nothing a sender chose is in it.
 */
import { randomFillSync } from 'node:crypto'
import { join } from 'node:path'
import type { ObjectId } from '../../domain/identifier.ts'

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz'
const VALUE = new Map(ALPHABET.split('').map((letter, value) => [letter, value]))

const random = Buffer.alloc(16)

/** @param millis since 1970, below 2^48 */
export function newObjectId(millis: number): ObjectId {
  let time = ''
  for (let rest = millis, digit = 0; digit < 10; digit += 1, rest = Math.floor(rest / 32)) time = ALPHABET[rest % 32] + time
  randomFillSync(random)
  let tail = ''
  // 16 letters of 5 bits; a whole random byte each is spent so that none needs bits of two bytes.
  for (const byte of random) tail += ALPHABET[byte & 31]
  return time + tail
}

/** Milliseconds since 1970 at which the id was made. */
export function timeOf(id: ObjectId): number {
  let millis = 0
  for (let digit = 0; digit < 10; digit += 1) millis = millis * 32 + (VALUE.get(id[digit] as string) ?? 0)
  return millis
}

/** 2^16 ms: at 200 objects a second a folder holds 13,000, and two days of backlog are 2,600 folders. */
export const BUCKET_MILLIS = 65_536

/** Folder of the objects whose ids were made in the same 65.5 s: hexadecimal, sorts by time. */
export const bucketAt = (millis: number): string => Math.floor(millis / BUCKET_MILLIS).toString(16).padStart(8, '0')

export const bucketOf = (id: ObjectId): string => bucketAt(timeOf(id))

export const EXTENSION = '.obj'

/** @param objects the `objects/` directory of the spool */
export const pathOf = (objects: string, id: ObjectId): string => join(objects, bucketOf(id), id + EXTENSION)
