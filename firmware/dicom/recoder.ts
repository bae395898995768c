/**
 * Re-encodes a data set between Implicit Little, Explicit Little and Explicit Big Endian while
 * it streams past. No value is changed: lengths, VRs and byte order are written anew around them.
 *
 * Three things come out differently and are counted in `changes`: group lengths and Length to
 * End are left out (retired, PS3.5 7.2, and wrong after re-encoding); sequences and items of
 * defined length get an undefined one, since the new length is known only after the last byte
 * (PS3.5 7.5.1 allows either); and what has no VR becomes UN (6.2.2).
 *
 * Memory: one output buffer of about the size of the bytes pushed, plus `headerNesting` levels.
 */
import type { Limits } from '../domain/limits.ts'
import { CONTEXT_TAGS, type Context, type Dictionary } from './dictionary.ts'
import { ElementHeader, SHORT_HEADER_BYTES } from './element-header.ts'
import { elementHeaderBytes, itemHeaderBytes } from './header-bytes.ts'
import { Sink } from './sink.ts'
import { type Encoding, sniff } from './sniff.ts'
import { Swapper } from './swapper.ts'
import { ITEM, ITEM_END, PIXEL_DATA, SEQUENCE_END, tagText, UNDEFINED_LENGTH } from './tag.ts'
import { TranscodeFault } from './transcode-fault.ts'
import { looksLikeVr, SQ, UN, type Vr, vrOf, vrOfCode } from './vr.ts'

export interface Changes {
  /** (gggg,0000) and (0008,0001) left out. */
  groupLengths: number
  /** Sequences and items whose defined length became an undefined one. */
  lengths: number
  /** Values written as UN that had another VR or none, empty ones included. */
  unknown: number
}

const LENGTH_TO_END = 0x00080001
const IMPLICIT: Encoding = { explicit: false, bigEndian: false }
const UNKNOWN = vrOf('UN')

/** A sequence, or an item of it. */
interface Level {
  readonly item: boolean
  readonly tag: number
  /** Offset behind its last byte; Infinity where it ends by a delimiter. */
  readonly end: number
  /** Its end, or that of the nearest level around it that has one. */
  readonly limit: number
  /** Encoding of the source around it. */
  readonly outer: Encoding
  /** Content of UN: always Implicit VR Little Endian (PS3.5 6.2.2), copied as it stands. */
  readonly raw: boolean
  /** Nothing of it was read yet. */
  fresh: boolean
  readonly context: Context
}

export class Recoder {
  readonly changes: Changes = { groupLengths: 0, lengths: 0, unknown: 0 }
  readonly #to: Encoding
  readonly #dictionary: Dictionary
  readonly #nesting: number
  readonly #levels: Level[] = []
  readonly #header = new ElementHeader()
  #from: Encoding
  #context: Context = {}
  #offset = 0
  #headerAt = 0
  #sink = new Sink(0)

  /** Value bytes still to come; dropped instead of written where `#drop`. */
  #left = 0
  #drop = false
  readonly #swapper = new Swapper()
  /** Small value that decides later VRs. */
  #noting: keyof Context | undefined
  readonly #noted = Buffer.alloc(2)

  /**
   * @param from as declared; where the first element contradicts it, the bytes are believed.
   */
  constructor(from: Encoding, to: Encoding, dictionary: Dictionary, limits: Pick<Limits, 'headerNesting'>) {
    this.#from = from
    this.#to = to
    this.#dictionary = dictionary
    this.#nesting = limits.headerNesting
  }

  /**
   * The next bytes, cut anywhere; not kept and not changed. Returns what is complete so far.
   *
   * @throws TranscodeFault at the first thing that cannot be carried over. What was returned
   *   before is then the beginning of nothing: the caller discards it.
   */
  push(bytes: Uint8Array): Buffer {
    // Headers grow by half at most, save for small items.
    this.#sink = new Sink(bytes.length + (bytes.length >> 2) + 64)
    let at = 0
    while (at < bytes.length) {
      at += this.#left > 0 ? this.#takeValue(bytes, at) : this.#takeHeader(bytes, at)
    }
    const done = this.#sink.bytes
    this.#sink = new Sink(0)
    return done
  }

  /** @throws TranscodeFault when the data set is cut short. */
  end(): void {
    if (this.#left > 0 || this.#header.has > 0) this.#refuse(`it ends inside an element at offset ${this.#offset}`)
    const level = this.#levels.at(-1)
    if (level !== undefined) this.#refuse(`it ends inside sequence ${tagText(level.tag)}`)
  }

  #takeHeader(bytes: Uint8Array, at: number): number {
    const header = this.#header
    const before = header.has
    let taken = 0
    if (before < SHORT_HEADER_BYTES) {
      taken = header.gather(bytes, at, SHORT_HEADER_BYTES)
      if (header.has === SHORT_HEADER_BYTES && this.#offset + taken === SHORT_HEADER_BYTES) {
        this.#from = sniff(header.bytes, this.#from)
      }
    }
    if (header.has >= SHORT_HEADER_BYTES) {
      const size = header.size(this.#from)
      taken += header.gather(bytes, at + taken, size)
      if (header.has === size) {
        this.#headerAt = this.#offset + taken - size
        header.read(this.#from)
        this.#offset += taken
        this.#act()
        return taken
      }
    }
    this.#offset += taken
    return taken
  }

  #act(): void {
    const { tag, length } = this.#header
    const level = this.#levels.at(-1)
    const end = this.#offset + (length === UNDEFINED_LENGTH ? 0 : length)
    if (level !== undefined && end > level.limit) {
      this.#refuse(`${tagText(tag)} reaches beyond its sequence${this.#where()}`)
    }
    if (level !== undefined && !level.item) this.#actBetweenItems(level)
    else if (tag >>> 16 !== 0xfffe) this.#actOnElement(level)
    else if (tag === ITEM_END && level !== undefined && level.end === Infinity) this.#close()
    else this.#refuse(`${tagText(tag)} stands where an element should${this.#where()}`)
    this.#closeFinished()
  }

  #actBetweenItems(level: Level): void {
    const { tag, length } = this.#header
    if (tag === SEQUENCE_END && level.end === Infinity) return this.#close()
    if (tag !== ITEM) this.#refuse(`an item of ${tagText(level.tag)} should begin but ${tagText(tag)} does${this.#where()}`)
    const whole = level.raw && length !== UNDEFINED_LENGTH
    this.#writeDelimiter(ITEM, whole ? length : UNDEFINED_LENGTH, level.raw)
    if (whole) this.#left = length
    else this.#open(true, level.tag, length, level.raw)
    this.#swapper.begin(1)
  }

  #actOnElement(level: Level | undefined): void {
    const { tag, length } = this.#header
    if (level?.raw) return this.#copyRaw(level)
    if ((tag & 0xffff) === 0 || tag === LENGTH_TO_END) {
      if (length === UNDEFINED_LENGTH) this.#refuse(`${tagText(tag)} has no length${this.#where()}`)
      this.changes.groupLengths++
      this.#left = length
      this.#drop = length > 0
      return
    }
    const vr = this.#vrOf(tag, length)
    if (length === UNDEFINED_LENGTH) this.#openUndefined(tag, vr)
    else if (vr.code === SQ) this.#openSequence(tag, length)
    else this.#beginValue(tag, vr, length)
  }

  /** What the source says; the dictionary where it says nothing, or nothing known. */
  #vrOf(tag: number, length: number): Vr {
    const said = vrOfCode(this.#header.vr)
    if (said !== undefined) return said
    if (looksLikeVr(this.#header.vr)) return UNKNOWN
    const vr = this.#dictionary.vrFor(tag, this.#context)
    // In Implicit VR nothing but a sequence has an undefined length (PS3.5 7.5, A.1).
    return length === UNDEFINED_LENGTH && !this.#from.explicit ? vrOf('SQ') : vr
  }

  #openUndefined(tag: number, vr: Vr): void {
    if ((vr.code !== SQ && vr.code !== UN) || tag === PIXEL_DATA) {
      this.#refuse(`${tagText(tag)} is compressed although the transfer syntax is not${this.#where()}`)
    }
    const raw = vr.code === UN
    this.#writeHeader(tag, vr, UNDEFINED_LENGTH)
    this.#open(false, tag, UNDEFINED_LENGTH, raw)
  }

  #openSequence(tag: number, length: number): void {
    this.#writeHeader(tag, vrOf('SQ'), UNDEFINED_LENGTH)
    this.#open(false, tag, length, false)
  }

  #open(item: boolean, tag: number, length: number, raw: boolean): void {
    if (this.#levels.length >= 2 * this.#nesting) {
      this.#refuse(`sequence ${tagText(tag)} is nested more than ${this.#nesting} deep${this.#where()}`)
    }
    const end = length === UNDEFINED_LENGTH ? Infinity : this.#offset + length
    const limit = Math.min(end, this.#levels.at(-1)?.limit ?? Infinity)
    this.#levels.push({ item, tag, end, limit, outer: this.#from, raw, fresh: true, context: this.#context })
    if (end !== Infinity) this.changes.lengths++
    if (raw) this.#from = IMPLICIT
  }

  /** Ends the innermost level, and writes its delimiter: its own, or one in place of its length. */
  #close(): void {
    const level = this.#levels.pop()!
    this.#writeDelimiter(level.item ? ITEM_END : SEQUENCE_END, 0, level.raw)
    this.#from = level.outer
    this.#context = level.context
  }

  #closeFinished(): void {
    if (this.#left > 0) return
    for (let level = this.#levels.at(-1); level?.end === this.#offset; level = this.#levels.at(-1)) this.#close()
  }

  #beginValue(tag: number, vr: Vr, length: number): void {
    const swaps = this.#from.bigEndian !== this.#to.bigEndian
    if (swaps && vr.code === UN && length > 0) {
      this.#refuse(`the byte order of ${tagText(tag)} cannot be changed, its VR being unknown${this.#where()}`)
    }
    if (swaps && length % vr.unit !== 0) {
      this.#refuse(`${tagText(tag)} ${vr.name} has ${length} bytes, no multiple of ${vr.unit}${this.#where()}`)
    }
    let written = vr
    if (this.#to.explicit && !vr.long && length > 0xffff) {
      // PS3.5 6.2.2, Note: too long for the 16-bit length of its VR.
      if (this.#to.bigEndian) this.#refuse(`${tagText(tag)} ${vr.name} is too long for its VR${this.#where()}`)
      written = UNKNOWN
    }
    if (this.#to.explicit && written.code === UN && this.#header.vr !== UN) this.changes.unknown++
    this.#writeHeader(tag, written, length)
    this.#left = length
    this.#swapper.begin(swaps ? vr.unit : 1)
    this.#noting = length === 2 ? CONTEXT_TAGS[tag] : undefined
  }

  #takeValue(bytes: Uint8Array, at: number): number {
    const some = bytes.subarray(at, at + this.#left)
    this.#left -= some.length
    this.#offset += some.length
    if (!this.#drop) {
      if (this.#noting !== undefined) this.#note(some, this.#noting)
      this.#swapper.write(some, this.#sink)
    }
    if (this.#left === 0) {
      this.#drop = false
      this.#noting = undefined
      this.#closeFinished()
    }
    return some.length
  }

  /** A US of one value, possibly arriving byte by byte. */
  #note(some: Uint8Array, name: keyof Context): void {
    this.#noted.set(some, 2 - this.#left - some.length)
    if (this.#left > 0) return
    const value = this.#from.bigEndian ? this.#noted.readUInt16BE() : this.#noted.readUInt16LE()
    this.#context = { ...this.#context, [name]: value }
  }

  /** Inside UN: headers are copied too, and only what has no length is walked. */
  #copyRaw(level: Level): void {
    const { tag, length, bytes, vrCode } = this.#header
    if (level.fresh && vrOfCode(vrCode) !== undefined) {
      this.#refuse(`what stands behind UN ${tagText(level.tag)} is not implicit as it must be${this.#where()}`)
    }
    level.fresh = false
    this.#sink.write(bytes.subarray(0, SHORT_HEADER_BYTES))
    if (length === UNDEFINED_LENGTH) this.#open(false, tag, length, true)
    else this.#left = length
    this.#swapper.begin(1)
  }

  #writeHeader(tag: number, vr: Vr, length: number): void {
    this.#sink.write(elementHeaderBytes(tag, vr, length, this.#to))
  }

  /** Inside UN delimiters are little endian like the rest, whatever the transfer syntax. */
  #writeDelimiter(tag: number, length: number, raw: boolean): void {
    this.#sink.write(itemHeaderBytes(tag, length, this.#to.bigEndian && !raw))
  }

  #where(): string {
    return ` at offset ${this.#headerAt}`
  }

  #refuse(detail: string): never {
    throw new TranscodeFault(detail)
  }
}
