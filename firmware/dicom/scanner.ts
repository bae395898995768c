/**
 * Reads the four identifiers of a data set while it streams past, without keeping it.
 *
 * A gateway must carry what modalities made, so this refuses only what cannot be walked up to
 * (0020,000E); what comes after is never looked at. It is iterative and bounded in memory
 * (about 3 KiB, plus the compressed prefix of a deflated data set) and in work, whatever comes.
 *
 * Elements: PS3.5 7.1; sequences and items: 7.5; UN of undefined length: 6.2.2.
 */
import type { Limits } from '../domain/limits.ts'
import { ElementHeader, SHORT_HEADER_BYTES } from './element-header.ts'
import { type HeaderFound, Identifiers, isIdentifier } from './identifiers.ts'
import { type Inflated, Inflater } from './inflater.ts'
import { type Encoding, sniff } from './sniff.ts'
import {
  ITEM,
  ITEM_END,
  SEQUENCE_END,
  SERIES_INSTANCE_UID,
  tagText,
  UNDEFINED_LENGTH,
} from './tag.ts'
import { transferSyntaxOf } from './transfer-syntaxes.ts'
import { UN, vrOfCode } from './vr.ts'

export type { HeaderFound } from './identifiers.ts'

export type HeaderLimits = Pick<Limits, 'headerBytes' | 'deflatedHeaderBytes' | 'headerValueBytes' | 'headerNesting'>

/** `detail` completes "The data set cannot be read: …"; it holds tags and offsets, no values. */
export interface HeaderNotUnderstood {
  readonly kind: 'not-understood'
  readonly detail: string
}

export type HeaderOutcome = HeaderFound | HeaderNotUnderstood

/** Where a Part 10 file says DICM; a data set that does is a file sent by mistake. */
const DICM_AT = 128
const DICM_END = DICM_AT + 4

const IMPLICIT: Encoding = { explicit: false, bigEndian: false }

/** How to go on when an undefined-length sequence ends. */
interface Level {
  readonly tag: number
  readonly outer: Encoding
  /** In an item of undefined length elements follow; between items only items may. */
  inItem: boolean
  /** Behind UN, until the first element has shown whether it is implicit as it should be. */
  unsettled: boolean
}

/**
 * INVARIANTS:
 * - `outcome`, once set, never changes, and `push` then costs one comparison.
 * - The result does not depend on how the bytes are cut into chunks.
 * - Only sequences and items of undefined length are walked (their end is not known otherwise);
 *   those of defined length are skipped like any value. So `#levels` holds undefined ones only.
 */
export class HeaderScanner {
  readonly #limits: HeaderLimits
  #inflater: Inflater | undefined
  readonly #levels: Level[] = []
  #outcome: HeaderOutcome | undefined
  /**
   * The outcome, unless byte 132 shows that this is a Part 10 file: its preamble of zeros, for
   * one, reads as empty elements. Not needed once an identifier was found.
   */
  #verdict: HeaderOutcome | undefined

  #encoding: Encoding

  /** Of the data set, inflated where it was deflated. */
  #offset = 0
  /** Element headers and kept values; skipped values cost nothing and do not count. */
  #worked = 0
  readonly #head = new Uint8Array(DICM_END)

  readonly #header = new ElementHeader()
  #headerAt = 0

  #skip = 0
  readonly #identifiers = new Identifiers()

  /**
   * @param transferSyntax UID, as negotiated; see `transferSyntaxOf` for unknown ones.
   */
  constructor(transferSyntax: string, limits: HeaderLimits) {
    const syntax = transferSyntaxOf(transferSyntax)
    this.#limits = limits
    this.#encoding = syntax
    this.#inflater = syntax.deflated ? new Inflater(Math.min(limits.headerBytes, limits.deflatedHeaderBytes)) : undefined
  }

  /** Set as soon as it is known; further bytes change nothing. */
  get outcome(): HeaderOutcome | undefined {
    return this.#outcome
  }

  /** The next bytes of the data set, cut anywhere. They are not kept. */
  push(bytes: Uint8Array): HeaderOutcome | undefined {
    if (this.#outcome !== undefined) return this.#outcome
    if (this.#inflater === undefined) this.#take(bytes)
    else this.#takeInflated(this.#inflater.push(bytes))
    return this.#outcome
  }

  /** No more bytes. What ends between two elements is whole; what ends inside one is not. */
  end(): HeaderOutcome {
    if (this.#outcome === undefined && this.#inflater !== undefined) this.#takeInflated(this.#inflater.end())
    if (this.#outcome !== undefined) return this.#outcome
    if (this.#verdict === undefined) {
      const missing = this.#missing()
      if (missing === undefined) this.#conclude()
      else this.#fail(missing)
    }
    return this.#settle()
  }

  #takeInflated(inflated: Inflated): void {
    if (inflated.bytes.length > 0) this.#take(inflated.bytes)
    if (inflated.fault !== undefined && this.#outcome === undefined) {
      this.#fail(inflated.fault)
      this.#settle()
    }
    if (this.#outcome !== undefined) this.#inflater = undefined
  }

  #take(bytes: Uint8Array): void {
    if (this.#offset < DICM_END) this.#head.set(bytes.subarray(0, DICM_END - this.#offset), this.#offset)
    let at = 0
    while (at < bytes.length && this.#verdict === undefined) {
      if (this.#skip > 0) {
        const some = Math.min(this.#skip, bytes.length - at)
        this.#skip -= some
        at += some
        this.#offset += some
      } else if (this.#identifiers.open) {
        const some = this.#identifiers.take(bytes, at)
        at += some
        this.#offset += some
        if (!this.#identifiers.open && this.#header.tag === SERIES_INSTANCE_UID) this.#conclude()
      } else {
        at += this.#takeHeader(bytes, at)
      }
    }
    if (this.#verdict === undefined) return
    this.#offset += bytes.length - at
    if (!this.#identifiers.none || this.#offset >= DICM_END) this.#settle()
  }

  #settle(): HeaderOutcome {
    const [d, i, c, m] = this.#head.subarray(DICM_AT)
    const isFile = this.#identifiers.none && d === 0x44 && i === 0x49 && c === 0x43 && m === 0x4d
    this.#outcome = isFile
      ? { kind: 'not-understood', detail: 'a Part 10 file was sent in place of its data set (DICM at offset 128)' }
      : this.#verdict!
    return this.#outcome
  }

  #takeHeader(bytes: Uint8Array, at: number): number {
    const header = this.#header
    let taken = 0
    if (header.has < SHORT_HEADER_BYTES) {
      taken = header.gather(bytes, at, SHORT_HEADER_BYTES)
      this.#offset += taken
      if (header.has < SHORT_HEADER_BYTES) return taken
      this.#settleEncoding()
    }
    const size = header.size(this.#encoding)
    const more = header.gather(bytes, at + taken, size)
    this.#offset += more
    if (header.has === size) {
      header.read(this.#encoding)
      this.#headerAt = this.#offset - size
      this.#worked += size
      if (this.#worked > this.#limits.headerBytes) {
        this.#fail(`no end of the header in ${this.#limits.headerBytes} bytes of elements`)
      } else {
        this.#act()
      }
    }
    return taken + more
  }

  /** Where the bytes may contradict what was declared: the first element, and the first behind UN. */
  #settleEncoding(): void {
    const level = this.#levels.at(-1)
    if (this.#offset === SHORT_HEADER_BYTES) {
      this.#encoding = sniff(this.#header.bytes, this.#encoding)
    } else if (level?.unsettled && level.inItem && this.#header.group(this.#encoding) !== 0xfffe) {
      level.unsettled = false
      // Older writers put explicit elements behind UN.
      if (vrOfCode(this.#header.vrCode) !== undefined) this.#encoding = { explicit: true, bigEndian: false }
    }
  }

  #act(): void {
    const level = this.#levels.at(-1)
    if (level !== undefined && !level.inItem) this.#actBetweenItems(level)
    else if (this.#header.tag >>> 16 === 0xfffe) this.#actOnDelimiter(level)
    else this.#actOnElement(level === undefined)
  }

  /** The length of a delimiter is zero (PS3.5 7.5) and has no value behind it when it is not. */
  #actBetweenItems(level: Level): void {
    if (this.#header.tag === SEQUENCE_END) {
      this.#levels.pop()
      this.#encoding = level.outer
    } else if (this.#header.tag !== ITEM) {
      this.#fail(`an item of sequence ${tagText(level.tag)} should begin but ${tagText(this.#header.tag)} does${this.#where()}`)
    } else if (this.#header.length === UNDEFINED_LENGTH) {
      level.inItem = true
    } else {
      this.#skip = this.#header.length
    }
  }

  #actOnDelimiter(level: Level | undefined): void {
    if (this.#header.tag === ITEM_END && level !== undefined) {
      level.inItem = false
    } else if (this.#header.tag === SEQUENCE_END && level !== undefined) {
      // The item's own delimiter was left out; the sequence's closes both.
      level.inItem = false
      this.#actBetweenItems(level)
    } else if (level === undefined && (this.#header.tag === ITEM_END || this.#header.tag === SEQUENCE_END)) {
      // A delimiter too many, after a sequence of defined length: some writers add it.
    } else {
      this.#fail(`${tagText(this.#header.tag)} stands outside of a sequence${this.#where()}`)
    }
  }

  #actOnElement(top: boolean): void {
    if (top && this.#header.tag > SERIES_INSTANCE_UID) {
      this.#conclude()
    } else if (this.#header.length === UNDEFINED_LENGTH) {
      this.#enter()
    } else if (top && this.#header.length <= this.#limits.headerValueBytes && this.#header.length > 0 && isIdentifier(this.#header.tag)) {
      this.#identifiers.begin(this.#header.tag, this.#header.length)
      this.#worked += this.#header.length
    } else {
      this.#skip = this.#header.length
      if (top && this.#header.tag === SERIES_INSTANCE_UID) this.#conclude()
    }
  }

  #enter(): void {
    if (this.#levels.length >= this.#limits.headerNesting) {
      this.#fail(`sequence ${tagText(this.#header.tag)} is nested more than ${this.#limits.headerNesting} deep${this.#where()}`)
      return
    }
    const unsettled = this.#header.vr === UN
    this.#levels.push({ tag: this.#header.tag, outer: this.#encoding, inItem: false, unsettled })
    // PS3.5 6.2.2: what hides behind UN is Implicit VR Little Endian.
    if (unsettled) this.#encoding = IMPLICIT
  }

  #conclude(): void {
    this.#verdict ??= this.#identifiers.found()
  }

  /** What was begun when the bytes ended. */
  #missing(): string | undefined {
    if (this.#offset === 0) return 'it is empty'
    if (this.#header.has > 0) return `it ends inside the header of an element at offset ${this.#offset}`
    if (this.#skip > 0 || this.#identifiers.open) {
      return `it ends at offset ${this.#offset} inside ${tagText(this.#header.tag)}, which says it has ${this.#header.length} bytes from offset ${this.#headerAt}`
    }
    const level = this.#levels.at(-1)
    return level === undefined ? undefined : `it ends at offset ${this.#offset} inside sequence ${tagText(level.tag)}`
  }

  #where(): string {
    return ` at offset ${this.#headerAt}`
  }

  #fail(detail: string): void {
    this.#verdict ??= { kind: 'not-understood', detail }
  }
}
