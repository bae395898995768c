/**
 * What the index holds: keys, values, and how a value proves that it is the one that was written.
 *
 * ```
 * m                                     Meta
 * i/<id>                                StoredRow: the instance. Everything below follows from these
 * q/<destination>/<rank>/<study>/<seq>  Waiting: due now, in the order to send
 * w/<destination>/<notBefore>/<seq>     Waiting: due later
 * h/<destination>/<id>                  held
 * u/<tenant>/<uid>                      Copy[]: what of this UID is in the spool
 * s/<tenant>/<study>                    StudyRow
 * g/<id>                                ended; the file is to be unlinked (grave)
 * d/<tenant>/<uid>                      Copy[]: what of this UID was delivered lately
 * x/<until>/<tenant>/<uid>              when to look at a `d/` row again
 * r/<endedAt>/<id>/<destination>        Receipt
 * ```
 *
 * LevelDB as we have it does not verify checksums when reading, and can lose keys without a word.
 * So a value begins with the CRC-32 of key and value, and `Meta` carries count and sum of the
 * CRC-32 of all keys of the first eight kinds, written in the same batch as the change.
 */
import { crc32 } from 'node:zlib'
import type { ObjectId } from '../domain/identifier.ts'
import { LIMITS } from '../domain/limits.ts'
import { priorityRank } from '../domain/route.ts'
import type { Delivery, InstanceRow, Slot } from '../domain/spool.ts'

export interface StoredDelivery extends Delivery {
  /** Removed by a person, not delivered. */
  readonly discarded?: true
}

export interface StoredRow extends InstanceRow {
  readonly deliveries: readonly StoredDelivery[]
  /** Sequence of the first arrival of the study: what keeps a study together in the queue. */
  readonly studyOrder: number
  readonly cipher: Slot['cipher']
  readonly keyId: string
  readonly wrappedKey: string
}

export interface Waiting {
  readonly id: ObjectId
  readonly sopClass: string
  readonly transferSyntax: string
}

/** One set of bytes under a UID, and the destinations it went to or is on its way to. */
export interface Copy {
  readonly id: ObjectId
  readonly version: number
  readonly digest: string
  readonly transferSyntax: string
  readonly to: readonly string[]
  /** In `d/` rows: until when a repetition counts as a duplicate, milliseconds since 1970. */
  readonly until?: number
}

export interface StudyRow {
  readonly first: number
  readonly instances: number
  readonly bytes: number
  readonly firstAt: number
  readonly lastAt: number
}

export interface Meta {
  /** Random, made with the index: tells it from another box's. */
  readonly identity: string
  /** Counts up at every open and close; the same number stands in a file beside the index. */
  readonly generation: number
  /** Last sequence given out. */
  readonly sequence: number
  readonly rows: number
  readonly keys: number
  readonly sum: number
  readonly delivered: number
  readonly deliveredBytes: number
}

export const META = 'm'

const padded = (number: number, digits: number): string => String(number).padStart(digits, '0')
const SEQUENCE_DIGITS = 12
const MILLIS_DIGITS = 15

export const rowKey = (id: ObjectId): string => `i/${id}`
export const graveKey = (id: ObjectId): string => `g/${id}`
export const copiesKey = (of: { tenant: string; sopInstance: string }): string => `u/${of.tenant}/${of.sopInstance}`
export const endedKey = (of: { tenant: string; sopInstance: string }): string => `d/${of.tenant}/${of.sopInstance}`
export const studyKey = (of: { tenant: string; study: string }): string => `s/${of.tenant}/${of.study}`
export const expiryKey = (until: number, of: { tenant: string; sopInstance: string }): string =>
  `x/${padded(until, MILLIS_DIGITS)}/${of.tenant}/${of.sopInstance}`
export const receiptKey = (endedAt: number, id: ObjectId, destination: string): string =>
  `r/${padded(endedAt, MILLIS_DIGITS)}/${id}/${destination}`

export const queuePrefix = (destination: string, rank: number): string => `q/${destination}/${rank}/`
export const laterPrefix = (destination: string): string => `w/${destination}/`
export const laterUntil = (destination: string, millis: number): string => `w/${destination}/${padded(millis, MILLIS_DIGITS)}/~`
export const heldPrefix = (destination: string): string => `h/${destination}/`
/** First key after all that begin with `prefix`. */
export const after = (prefix: string): string => prefix + '~'

/** @returns the earliest next attempt a `w/` key says */
export const notBeforeOf = (key: string): number => Number(key.split('/')[2])

/** A time further away than any delay was set under a clock that ran ahead: nobody may wait for it. */
export const isDue = (notBefore: number, now: number): boolean => notBefore <= now || notBefore > now + LIMITS.delayMillis

/** Where a delivery stands in the queue; undefined once it needs no key of its own. */
export function standingKey(row: StoredRow, delivery: StoredDelivery): string | undefined {
  const { destination } = delivery
  if (delivery.state === 'held') return heldPrefix(destination) + row.id
  if (delivery.state !== 'queued') return undefined
  const sequence = padded(row.sequence, SEQUENCE_DIGITS)
  if (delivery.notBefore > 0) return `${laterPrefix(destination)}${padded(delivery.notBefore, MILLIS_DIGITS)}/${sequence}`
  return `${queuePrefix(destination, priorityRank(delivery.priority))}${padded(row.studyOrder, SEQUENCE_DIGITS)}/${sequence}`
}

/** Kinds whose keys `Meta` counts. The others may go missing without harm to an instance. */
const COUNTED = 'iqwhusg'
export const isCounted = (key: string): boolean => COUNTED.includes(key[0] as string) && key[1] === '/'
export const COUNTED_KINDS = COUNTED.split('').map((kind) => `${kind}/`)

const CRC_DIGITS = 8

export function encode(key: string, value: unknown): string {
  const json = JSON.stringify(value)
  return crc32(json, crc32(key)).toString(16).padStart(CRC_DIGITS, '0') + json
}

/** @returns undefined when this is not what was written under this key */
export function decode<T>(key: string, stored: string): T | undefined {
  const json = stored.slice(CRC_DIGITS)
  if (crc32(json, crc32(key)).toString(16).padStart(CRC_DIGITS, '0') !== stored.slice(0, CRC_DIGITS)) return undefined
  return JSON.parse(json) as T
}

/** What `Meta.sum` adds up, modulo 2^32. */
export const keySum = (key: string): number => crc32(key)

/** The row as others may see it: without the wrapped key. */
export function instanceOf(row: StoredRow): InstanceRow {
  const { studyOrder: _order, cipher: _cipher, keyId: _keyId, wrappedKey: _wrapped, ...instance } = row
  return instance
}
