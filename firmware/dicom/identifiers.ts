/**
 * The four identifiers of a data set, gathered from pieces of their values.
 */
import { trimUid } from '../domain/identifier.ts'
import { SERIES_INSTANCE_UID, SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID } from './tag.ts'

/**
 * Values as sent, trailing padding removed, syntax not checked (`isUid` of the domain does).
 * Class and instance are undefined where absent or empty, study and series empty.
 */
export interface HeaderFound {
  readonly kind: 'found'
  readonly sopClass: string | undefined
  readonly sopInstance: string | undefined
  readonly study: string
  readonly series: string
}

export const isIdentifier = (tag: number): boolean =>
  tag === SOP_CLASS_UID || tag === SOP_INSTANCE_UID || tag === STUDY_INSTANCE_UID || tag === SERIES_INSTANCE_UID

export class Identifiers {
  readonly #values = new Map<number, string>()
  #tag = 0
  #value: Uint8Array | undefined
  #has = 0

  get none(): boolean {
    return this.#values.size === 0
  }

  /** A value was begun and is not whole yet. */
  get open(): boolean {
    return this.#value !== undefined
  }

  /** @param length at least 1; the caller bounds it. */
  begin(tag: number, length: number): void {
    this.#tag = tag
    this.#value = new Uint8Array(length)
    this.#has = 0
  }

  /** Takes what is missing of the value begun; says how many bytes it took. */
  take(bytes: Uint8Array, at: number): number {
    const value = this.#value!
    const some = bytes.subarray(at, at + value.length - this.#has)
    value.set(some, this.#has)
    this.#has += some.length
    if (this.#has === value.length) {
      this.#value = undefined
      // The first of two is kept; UI is ASCII (PS3.5 6.2).
      if (!this.#values.has(this.#tag)) this.#values.set(this.#tag, trimUid(Buffer.from(value).toString('latin1')))
    }
    return some.length
  }

  found(): HeaderFound {
    return {
      kind: 'found',
      sopClass: this.#values.get(SOP_CLASS_UID) || undefined,
      sopInstance: this.#values.get(SOP_INSTANCE_UID) || undefined,
      study: this.#values.get(STUDY_INSTANCE_UID) ?? '',
      series: this.#values.get(SERIES_INSTANCE_UID) ?? '',
    }
  }
}
