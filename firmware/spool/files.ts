/**
 * The tree of object files: preparing, walking in order of ids, unlinking, setting aside.
 */
import { close, open } from 'node:fs'
import { mkdir, open as openFile, readdir, rename, rmdir, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { isObjectId } from '../domain/identifier.ts'
import type { ObjectId } from '../domain/identifier.ts'
import { BUCKET_MILLIS, EXTENSION, bucketAt, bucketOf, pathOf } from './object/id.ts'

const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException).code

export async function syncDirectory(directory: string): Promise<void> {
  const handle = await openFile(directory, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** A small file that is there whole or not at all, mode 0600. */
export async function writeDurably(path: string, text: string): Promise<void> {
  const handle = await openFile(`${path}.new`, 'w', 0o600)
  try {
    await handle.writeFile(text)
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(`${path}.new`, path)
  await syncDirectory(dirname(path))
}

const BUCKET = /^[0-9a-f]{8}$/

export interface Found {
  readonly id: ObjectId
  readonly path: string
}

export class ObjectFiles {
  readonly #objects: string
  readonly #quarantine: string
  /** Folders something was unlinked from, to be removed when empty. */
  readonly #emptied = new Set<string>()
  #durableBucket = ''

  static async open(directory: string): Promise<ObjectFiles> {
    const objects = join(directory, 'objects')
    const quarantine = join(directory, 'quarantine')
    for (const one of [objects, quarantine]) await mkdir(one, { recursive: true, mode: 0o700 })
    await syncDirectory(directory)
    return new ObjectFiles(objects, quarantine)
  }

  private constructor(objects: string, quarantine: string) {
    this.#objects = objects
    this.#quarantine = quarantine
  }

  pathOf(id: ObjectId): string {
    return pathOf(this.#objects, id)
  }

  /**
   * Creates empty files of ids made now, and syncs their folder (and the folder's own entry) once
   * for all: the acknowledgement of an image later costs no directory sync.
   * @throws the error of the file system; none of the files is left then
   */
  async prepare(ids: readonly ObjectId[]): Promise<void> {
    const made: ObjectId[] = []
    try {
      for (const bucket of new Set(ids.map(bucketOf))) {
        const folder = join(this.#objects, bucket)
        // Also where it exists: a process that was killed may have made it and not come to sync it.
        if (bucket !== this.#durableBucket) {
          await mkdir(folder, { recursive: true, mode: 0o700 })
          await syncDirectory(this.#objects)
          this.#durableBucket = bucket
        }
        const members = ids.filter((id) => bucketOf(id) === bucket)
        const tries = await Promise.allSettled(members.map((id) => createEmpty(this.pathOf(id)).then(() => made.push(id))))
        const failed = tries.find((one) => one.status === 'rejected')
        if (failed) throw failed.reason
        await syncDirectory(folder)
      }
    } catch (error) {
      // The folder may be what is missing.
      this.#durableBucket = ''
      // Only what was made here: an id that was taken is an object. What stays is empty, and found so.
      await Promise.all(made.map((id) => this.unlink(id).catch(() => undefined)))
      throw error
    }
  }

  /** All object files in the order of their ids; holds the names of one folder at a time. */
  async *walk(): AsyncGenerator<Found> {
    const buckets = (await readdir(this.#objects)).filter((name) => BUCKET.test(name)).sort()
    for (const bucket of buckets) {
      const names = (await readdir(join(this.#objects, bucket))).sort()
      if (names.length === 0) this.#emptied.add(bucket)
      for (const name of names) {
        const id = name.slice(0, -EXTENSION.length)
        if (name.endsWith(EXTENSION) && isObjectId(id) && bucketOf(id) === bucket) yield { id, path: join(this.#objects, bucket, name) }
      }
    }
  }

  /** @throws the error of the file system, except that the file is gone already */
  async unlink(id: ObjectId): Promise<void> {
    try {
      await unlink(this.pathOf(id))
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') throw error
    }
    this.#emptied.add(bucketOf(id))
  }

  /** Removes folders that became empty, except those of now, in which slots are being made. */
  async sweep(now: number): Promise<void> {
    const present = bucketAt(now - BUCKET_MILLIS)
    for (const bucket of this.#emptied) {
      if (bucket >= present) continue
      this.#emptied.delete(bucket)
      // The clock may come back to it.
      if (bucket === this.#durableBucket) this.#durableBucket = ''
      // Not empty, or gone: both are as they should be.
      await rmdir(join(this.#objects, bucket)).catch(() => undefined)
    }
  }

  /** Sets a file aside for a person to look at. It counts as used disk, and only a person removes it. */
  async quarantine({ id, path }: Found): Promise<void> {
    await rename(path, join(this.#quarantine, id + EXTENSION))
    this.#emptied.add(bucketOf(id))
  }

  /** How many files are set aside. */
  async quarantined(): Promise<number> {
    return (await readdir(this.#quarantine)).filter((name) => name.endsWith(EXTENSION)).length
  }
}

const createEmpty = (path: string): Promise<void> =>
  new Promise((resolve, reject) =>
    open(path, 'wx', 0o600, (error, fd) => (error ? reject(error) : close(fd, () => resolve()))),
  )
