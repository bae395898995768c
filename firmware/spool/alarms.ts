/**
 * What is wrong with the spool, in words of `errors.ts`, and since when.
 */
import type { ErrorCode } from '../domain/errors.ts'
import { causeOf } from '../domain/errors.ts'
import type { Ledger } from './ledger.ts'
import type { Water } from './water.ts'

export interface Alarm {
  readonly code: ErrorCode
  /** Milliseconds since 1970. */
  readonly since: number
  readonly count: number
  readonly sentence: string
}

/** An index that was made anew is told for so long. */
const DAMAGE_TOLD_MILLIS = 7 * 24 * 3_600_000

export class Alarms {
  readonly #since = new Map<ErrorCode, number>()

  /** @param setAside files in quarantine */
  of(ledger: Ledger, water: Water, setAside: number, now: number): Alarm[] {
    const { failure, tally } = ledger
    const rebuilt = ledger.rebuiltAt.filter((at) => now - at < DAMAGE_TOLD_MILLIS)
    const found: (readonly [ErrorCode, number, string, (number | undefined)?])[] = [
      ['SPOOL_FULL', water.full || failure?.code === 'SPOOL_FULL' ? 1 : 0, causeOf('SPOOL_FULL', { percent: water.full ? water.percent : 100 })],
      ['DISK_FAILED', failure?.code === 'DISK_FAILED' ? 1 : 0, failure?.message ?? ''],
      ['OBJECT_MISSING', tally.spoilt('OBJECT_MISSING'), causeOf('OBJECT_MISSING')],
      ['OBJECT_DAMAGED', tally.spoilt('OBJECT_DAMAGED'), causeOf('OBJECT_DAMAGED', { detail: 'see what is held' })],
      ['INDEX_DAMAGED', rebuilt.length, causeOf('INDEX_DAMAGED'), rebuilt[0]],
      ['FILES_SET_ASIDE', setAside, causeOf('FILES_SET_ASIDE', { count: setAside })],
    ]
    const alarms: Alarm[] = []
    for (const [code, count, sentence, at] of found) {
      if (count === 0) {
        this.#since.delete(code)
        continue
      }
      const since = at ?? this.#since.get(code) ?? now
      this.#since.set(code, since)
      alarms.push({ code, count, sentence, since })
    }
    return alarms
  }
}
