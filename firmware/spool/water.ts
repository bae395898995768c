/**
 * How full the disk is, and whether new images may come in. Refuses at the high mark, takes again
 * below the low one; in between it stays as it was, so that a spool at its edge does not flutter.
 */
import { LIMITS } from '../domain/limits.ts'

export interface WaterOptions {
  readonly highPercent: number
  readonly lowPercent: number
  /** Most bytes the spool itself may hold; absent = only the disk counts. */
  readonly maxBytes?: number | undefined
  /** Bytes of the file system the spool is on: all, and free for us. */
  readonly free: () => Promise<{ total: number; free: number }>
}

export interface Water {
  /** Of the disk, or of `maxBytes`, whichever is fuller; 0–100. */
  readonly percent: number
  readonly full: boolean
}

export class WaterGauge {
  readonly #options: WaterOptions
  readonly #now: () => number
  #total = 0
  #used = 0
  #measuredAt = -Infinity
  #measuring: Promise<void> | undefined
  /** Bytes that came in since the disk was asked. */
  #since = 0
  #full = false
  #percent = 0

  constructor(options: WaterOptions, now: () => number) {
    this.#options = options
    this.#now = now
  }

  get water(): Water {
    return { percent: Math.round(this.#percent), full: this.#full }
  }

  /** Bytes were stored; counted until the disk is asked again. */
  add(bytes: number): void {
    this.#since += bytes
  }

  /** @param held bytes of the spool's instances */
  async look(held: number): Promise<Water> {
    const age = this.#now() - this.#measuredAt
    if (this.#measuredAt === -Infinity || this.#full) await this.#measure()
    else if (age >= LIMITS.waterMillis || age < 0) void this.#measure()
    this.#judge(held)
    return this.water
  }

  #measure(): Promise<void> {
    this.#measuring ??= this.#options
      .free()
      .then(({ total, free }) => {
        this.#total = total
        this.#used = total - free
        this.#since = 0
        this.#measuredAt = this.#now()
      })
      // A disk that cannot be asked is judged by the last answer; writing will tell.
      .catch(() => undefined)
      .finally(() => {
        this.#measuring = undefined
      })
    return this.#measuring
  }

  #judge(held: number): void {
    const { highPercent, lowPercent, maxBytes } = this.#options
    const ofDisk = this.#total > 0 ? ((this.#used + this.#since) / this.#total) * 100 : 0
    // Reaching maxBytes is the high mark; the low one lies as far below as on the disk.
    const ofQuota = maxBytes === undefined ? 0 : (held / maxBytes) * highPercent
    const level = Math.max(ofDisk, ofQuota)
    this.#percent = Math.min(100, maxBytes === undefined ? ofDisk : Math.max(ofDisk, (held / maxBytes) * 100))
    this.#full = this.#full ? level >= lowPercent : level >= highPercent
  }
}
