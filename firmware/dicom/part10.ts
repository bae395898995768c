/**
 * Reads what is in front of the data set of a Part 10 file (PS3.10 7.1), so that the data set
 * itself can be streamed byte for byte from `offset`. Tolerant of what is out there: no
 * preamble, no group length, implicit meta information, none at all.
 */
import fs from 'node:fs/promises'
import { trimUid } from '../domain/identifier.ts'
import type { Limits } from '../domain/limits.ts'
import { ElementHeader, LONG_HEADER_BYTES, SHORT_HEADER_BYTES } from './element-header.ts'
import { PREAMBLE_BYTES } from './file-meta.ts'
import { loadDictionary } from './dictionary.ts'
import { Recoder } from './recoder.ts'
import { type HeaderLimits, type HeaderOutcome, HeaderScanner } from './scanner.ts'
import { type Encoding, sniff } from './sniff.ts'
import { MEDIA_STORAGE_DIRECTORY } from './sop-classes.ts'
import { tagText, UNDEFINED_LENGTH } from './tag.ts'
import { TranscodeFault } from './transcode-fault.ts'
import {
  EXPLICIT_BIG_ENDIAN,
  EXPLICIT_LITTLE_ENDIAN,
  IMPLICIT_LITTLE_ENDIAN,
  transferSyntaxOf,
} from './transfer-syntaxes.ts'

export { fileMeta } from './file-meta.ts'
export type { FileMeta } from './file-meta.ts'

export type Part10Limits = HeaderLimits & Pick<Limits, 'fileMetaBytes'>

/** A file with one object. UIDs as written, padding removed. */
export interface Part10Object {
  readonly kind: 'object'
  readonly sopClass: string
  readonly sopInstance: string
  /** Empty where the data set has none. */
  readonly study: string
  readonly series: string
  readonly transferSyntax: string
  /** The file does not say its transfer syntax; it was told from the data set itself. */
  readonly guessed: boolean
  /** First byte of the data set, and how many there are to the end of the file. */
  readonly offset: number
  readonly bytes: number
}

/** A DICOMDIR: part of a medium, nothing to send (PS3.10 8.6). */
export interface Part10Directory {
  readonly kind: 'directory'
}

export interface Part10NotUnderstood {
  readonly kind: 'not-understood'
  /** Completes "The file cannot be read: …"; no values, no path. */
  readonly detail: string
}

export type Part10Outcome = Part10Object | Part10Directory | Part10NotUnderstood

interface Meta {
  readonly sopClass: string
  readonly sopInstance: string
  readonly transferSyntax: string
  readonly offset: number
}

const MEDIA_STORAGE_SOP_CLASS = 0x00020002
const MEDIA_STORAGE_SOP_INSTANCE = 0x00020003
const TRANSFER_SYNTAX = 0x00020010

/** One read nearly always covers everything looked at. */
const WINDOW_BYTES = 16 * 1024

/**
 * SOP class and instance come from the data set, since that is what a receiver will compare
 * with; from the meta information where the data set has none.
 *
 * @throws NodeJS.ErrnoException when the file cannot be opened or read.
 */
export async function readPart10(path: string, limits: Part10Limits): Promise<Part10Outcome> {
  const file = await fs.open(path, 'r')
  try {
    const { size } = await file.stat()
    return await readFrom(new Window(file, size), limits)
  } finally {
    await file.close()
  }
}

async function readFrom(window: Window, limits: Part10Limits): Promise<Part10Outcome> {
  const meta = await readMeta(window, limits)
  if (typeof meta === 'string') return { kind: 'not-understood', detail: meta }
  const head = await window.read(meta.offset, SHORT_HEADER_BYTES)
  // Group 0004 is the directory's own; it occurs in nothing else (PS3.3 F.3).
  if (meta.sopClass === MEDIA_STORAGE_DIRECTORY || (head[0] === 4 && head[1] === 0)) return { kind: 'directory' }
  const guessed = meta.transferSyntax === ''
  const transferSyntax = guessed ? guess(head) : meta.transferSyntax
  if (guessed) {
    const against = await readThrough(window, meta.offset, transferSyntax, limits)
    if (against !== undefined) return { kind: 'not-understood', detail: `it does not say its transfer syntax, and ${against}` }
  }
  const header = await scan(window, meta.offset, transferSyntax, limits)
  const found = header.kind === 'found' ? header : undefined
  const sopClass = found?.sopClass ?? meta.sopClass
  const sopInstance = found?.sopInstance ?? meta.sopInstance
  if (sopClass === '' || sopInstance === '') {
    const detail = header.kind === 'found' ? 'it has no SOP Class UID or no SOP Instance UID' : header.detail
    return { kind: 'not-understood', detail }
  }
  return {
    kind: 'object',
    sopClass,
    sopInstance,
    study: found?.study ?? '',
    series: found?.series ?? '',
    transferSyntax,
    guessed,
    offset: meta.offset,
    bytes: window.size - meta.offset,
  }
}

/** A sentence where it cannot be read. */
async function readMeta(window: Window, limits: Part10Limits): Promise<Meta | string> {
  const start = await findMeta(window)
  let at = start
  let encoding: Encoding = { explicit: true, bigEndian: false }
  const header = new ElementHeader()
  const values = new Map<number, string>()
  for (;;) {
    const bytes = await window.read(at, LONG_HEADER_BYTES)
    // Another group, or too short to be any: the data set begins.
    if (bytes.length < SHORT_HEADER_BYTES || bytes[0] !== 2 || bytes[1] !== 0) break
    header.gather(bytes, 0, SHORT_HEADER_BYTES)
    if (at === start) encoding = sniff(header.bytes, encoding)
    const size = header.size(encoding)
    header.gather(bytes, SHORT_HEADER_BYTES, size)
    if (header.has < size) return `its file meta information ends inside an element at offset ${at}`
    header.read(encoding)
    const end = at + size + header.length
    if (header.length === UNDEFINED_LENGTH || end > window.size || end - start > limits.fileMetaBytes) {
      return `its file meta information says ${tagText(header.tag)} at offset ${at} has ${header.length} bytes`
    }
    if (isWanted(header.tag) && header.length <= limits.headerValueBytes) {
      values.set(header.tag, text(await window.read(at + size, header.length)))
    }
    at = end
  }
  return {
    sopClass: values.get(MEDIA_STORAGE_SOP_CLASS) ?? '',
    sopInstance: values.get(MEDIA_STORAGE_SOP_INSTANCE) ?? '',
    transferSyntax: values.get(TRANSFER_SYNTAX) ?? '',
    offset: at,
  }
}

const isWanted = (tag: number): boolean =>
  tag === MEDIA_STORAGE_SOP_CLASS || tag === MEDIA_STORAGE_SOP_INSTANCE || tag === TRANSFER_SYNTAX

const text = (bytes: Uint8Array): string => trimUid(Buffer.from(bytes).toString('latin1'))

/** Behind preamble and DICM; behind DICM alone; at the very beginning where both are missing. */
async function findMeta(window: Window): Promise<number> {
  const isMagic = async (at: number): Promise<boolean> => text(await window.read(at, 4)) === 'DICM'
  if (await isMagic(PREAMBLE_BYTES)) return PREAMBLE_BYTES + 4
  return (await isMagic(0)) ? 4 : 0
}

function guess(head: Uint8Array): string {
  if (head.length < SHORT_HEADER_BYTES) return IMPLICIT_LITTLE_ENDIAN
  const { explicit, bigEndian } = sniff(head, { explicit: false, bigEndian: false })
  return !explicit ? IMPLICIT_LITTLE_ENDIAN : bigEndian ? EXPLICIT_BIG_ENDIAN : EXPLICIT_LITTLE_ENDIAN
}

async function scan(
  window: Window,
  offset: number,
  transferSyntax: string,
  limits: Part10Limits,
): Promise<HeaderOutcome> {
  const scanner = new HeaderScanner(transferSyntax, limits)
  for (let at = offset; at < window.size; ) {
    const bytes = await window.read(at, WINDOW_BYTES)
    if (bytes.length === 0 || scanner.push(bytes) !== undefined) break
    at += bytes.length
  }
  return scanner.end()
}

/**
 * A guess is believed only if the whole data set can be walked by it: a compressed one without
 * its transfer syntax would be sent under a false name. Says what speaks against it.
 */
async function readThrough(
  window: Window,
  offset: number,
  transferSyntax: string,
  limits: Part10Limits,
): Promise<string | undefined> {
  const encoding = transferSyntaxOf(transferSyntax)
  const recoder = new Recoder(encoding, encoding, await loadDictionary(), limits)
  try {
    for (let at = offset; at < window.size; ) {
      const bytes = await window.read(at, WINDOW_BYTES)
      if (bytes.length === 0) break
      recoder.push(bytes)
      at += bytes.length
    }
    recoder.end()
    return undefined
  } catch (error) {
    if (error instanceof TranscodeFault) return String(error.fields.detail)
    throw error
  }
}

/** Reads at positions; keeps the last block. */
class Window {
  readonly size: number
  readonly #file: fs.FileHandle
  readonly #block = Buffer.alloc(WINDOW_BYTES)
  #from = 0
  #has = 0

  constructor(file: fs.FileHandle, size: number) {
    this.#file = file
    this.size = size
  }

  /** Up to `length` bytes (at most a window), fewer at the end of the file; valid until the next read. */
  async read(at: number, length: number): Promise<Uint8Array> {
    const want = Math.min(length, Math.max(0, this.size - at))
    if (at < this.#from || at + want > this.#from + this.#has) {
      this.#from = at
      this.#has = (await this.#file.read(this.#block, 0, WINDOW_BYTES, at)).bytesRead
    }
    return this.#block.subarray(at - this.#from, Math.min(at - this.#from + want, this.#has))
  }
}
