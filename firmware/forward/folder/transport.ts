/**
 * A destination that is a folder of Part 10 files: tenant/Study/Series/SOP.dcm. A file appears
 * whole or not at all, and is on stable storage before the instance counts as stored.
 */
import fs from 'node:fs/promises'
import path from 'node:path'
import { fileMeta } from '../../dicom/part10.ts'
import { Fault } from '../../domain/errors.ts'
import { isUid } from '../../domain/identifier.ts'
import type { Lease, ObjectFacts, Outcome } from '../../domain/spool.ts'
import type { Carrier, ObjectSource, Transport } from '../outlet.ts'
import { SeriesFolders, syncFolder } from './series-folders.ts'

/** Where the data set names no study or series. */
const UNNAMED = 'unnamed'
/** Other bytes under one UID, counted up until a free name or the same bytes are found. */
const MOST_VERSIONS = 1000

export class FolderTransport implements Transport {
  readonly #folder: string
  readonly #series: SeriesFolders
  readonly roundTripMillis = 0

  constructor(folder: string) {
    this.#folder = folder
    this.#series = new SeriesFolders(folder)
  }

  /** @throws Fault FOLDER_FAILED when it is not there and cannot be made, or may not be written */
  async open(): Promise<Carrier> {
    try {
      await fs.mkdir(this.#folder, { recursive: true })
      await fs.access(this.#folder, fs.constants.W_OK)
    } catch (error) {
      throw new Fault('FOLDER_FAILED', { detail: (error as NodeJS.ErrnoException).code ?? (error as Error).message })
    }
    return new FolderCarrier(this.#folder, this.#series)
  }
}

class FolderCarrier implements Carrier {
  readonly #folder: string
  readonly #series: SeriesFolders
  alive = true
  lastSendMillis = 0
  lastWaitMillis = 0

  constructor(folder: string, series: SeriesFolders) {
    this.#folder = folder
    this.#series = series
  }

  readonly fits = (): 'yes' => 'yes'

  async send(_lease: Lease, source: ObjectSource): Promise<Outcome> {
    const { facts } = source
    const began = performance.now()
    try {
      const series = path.join(this.#folder, facts.tenant, part(facts.study), part(facts.series))
      await this.#series.make(series)
      // Named by our own id: two writers never meet in one file, and what a crash leaves is overwritten.
      const partFile = path.join(series, `.${facts.id}.part`)
      const bytes = await writeWhole(partFile, facts, source)
      this.lastSendMillis = performance.now() - began
      const hop = await publish(partFile, series, facts, bytes)
      this.lastWaitMillis = performance.now() - began - this.lastSendMillis
      return { event: 'stored', hop }
    } catch (error) {
      if (error instanceof Fault) throw error // the object, not the folder
      const { code, message } = error as NodeJS.ErrnoException
      if (code === undefined) throw error
      // A disk that is full or gone is so for the next image too.
      this.alive = false
      return { event: 'refused', code: 'FOLDER_FAILED', detail: code || message }
    }
  }

  close(): Promise<void> {
    return Promise.resolve()
  }
}

const part = (uid: string): string => (isUid(uid) ? uid : UNNAMED)

/** @returns the length of the file. Removes it when anything fails. */
async function writeWhole(file: string, facts: ObjectFacts, source: ObjectSource): Promise<number> {
  // After a crash in `publish` the left-over may be a second name of the delivered file: it is
  // taken away, never opened for writing.
  await fs.rm(file, { force: true })
  const handle = await fs.open(file, 'wx', 0o640)
  try {
    const meta = fileMeta({ sopClass: facts.sopClass, sopInstance: facts.sopInstance, transferSyntax: facts.transferSyntax, sourceAe: facts.source.callingAe })
    let position = meta.length
    await handle.write(meta, 0, meta.length, 0)
    for await (const bytes of source) {
      for (let done = 0; done < bytes.length; ) {
        const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, position)
        done += bytesWritten
        position += bytesWritten
      }
    }
    await handle.datasync()
    return position
  } catch (error) {
    await fs.rm(file, { force: true }).catch(() => {})
    throw error
  } finally {
    await handle.close()
  }
}

/**
 * Gives the file its name without ever replacing another: `link` fails where a name is taken.
 * The same bytes under the name already are this instance, delivered before its receipt was
 * kept; other bytes are another version and stand beside it.
 */
async function publish(partFile: string, series: string, facts: ObjectFacts, bytes: number): Promise<string> {
  try {
    for (let version = 1; version <= MOST_VERSIONS; version++) {
      const file = path.join(series, version === 1 ? `${facts.sopInstance}.dcm` : `${facts.sopInstance}.v${version}.dcm`)
      try {
        await claim(partFile, file)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
        if (!(await same(partFile, file, bytes))) continue
      }
      await fs.rm(partFile, { force: true })
      await syncFolder(series)
      return file
    }
    throw Object.assign(new Error('too many versions'), { code: 'EEXIST' })
  } finally {
    await fs.rm(partFile, { force: true }).catch(() => {})
  }
}

/** File systems without hard links, such as some network shares. */
const NO_LINKS = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'])

/**
 * Without hard links the name is taken by an empty file of that name, made exclusively, which the
 * rename then replaces. One that a crash left empty is nobody's image and may be replaced too.
 *
 * @throws EEXIST where the name is taken
 */
async function claim(partFile: string, file: string): Promise<void> {
  try {
    await fs.link(partFile, file)
  } catch (error) {
    if (!NO_LINKS.has((error as NodeJS.ErrnoException).code ?? '')) throw error
    await fs.writeFile(file, '', { flag: 'wx' }).catch(async (taken: unknown) => {
      if ((await fs.stat(file)).size > 0) throw taken
    })
    await fs.rename(partFile, file)
  }
}

const PIECE_BYTES = 256 * 1024

/** The file meta names the sender, so two deliveries of one object are equal as a whole. */
async function same(one: string, other: string, bytes: number): Promise<boolean> {
  if ((await fs.stat(other)).size !== bytes) return false
  const [a, b] = await Promise.all([fs.open(one, 'r'), fs.open(other, 'r')])
  try {
    const [left, right] = [Buffer.alloc(PIECE_BYTES), Buffer.alloc(PIECE_BYTES)]
    for (let at = 0; at < bytes; at += PIECE_BYTES) {
      const [x, y] = await Promise.all([a.read(left, 0, PIECE_BYTES, at), b.read(right, 0, PIECE_BYTES, at)])
      if (x.bytesRead !== y.bytesRead || left.compare(right, 0, y.bytesRead, 0, x.bytesRead) !== 0) return false
    }
    return true
  } finally {
    await Promise.all([a.close(), b.close()])
  }
}
