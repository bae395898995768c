/**
 * The few file operations of an object file, and what their failures mean. Callbacks of node:fs
 * rather than its promises: no FileHandle, half the microtasks.
 */
import { close, constants, fdatasync, fstat, open, read, writev } from 'node:fs'
import { Fault } from '../../domain/errors.ts'

const { O_RDONLY, O_WRONLY, O_NOFOLLOW } = constants

const opened = (path: string, flags: number): Promise<number> =>
  new Promise((resolve, reject) => open(path, flags | O_NOFOLLOW, (error, fd) => (error ? reject(error) : resolve(fd))))

export const openToRead = (path: string): Promise<number> => opened(path, O_RDONLY)

/** The file must exist: a slot is prepared, never made by the writer. */
export const openToWrite = (path: string): Promise<number> => opened(path, O_WRONLY)

export const sizeOf = (fd: number): Promise<number> =>
  new Promise((resolve, reject) => fstat(fd, (error, stats) => (error ? reject(error) : resolve(stats.size))))

export const synced = (fd: number): Promise<void> =>
  new Promise((resolve, reject) => fdatasync(fd, (error) => (error ? reject(error) : resolve())))

/** Errors of close say nothing that fdatasync has not said. */
export const closed = (fd: number): Promise<void> => new Promise((resolve) => close(fd, () => resolve()))

/** Reads exactly `length` bytes. @returns false when the file is shorter */
export async function readFully(fd: number, into: Buffer, length: number, position: number): Promise<boolean> {
  for (let done = 0; done < length; ) {
    const got = await new Promise<number>((resolve, reject) =>
      read(fd, into, done, length - done, position + done, (error, count) => (error ? reject(error) : resolve(count))),
    )
    if (got === 0) return false
    done += got
  }
  return true
}

/** Buffers of one system call: IOV_MAX is 1024 on Linux. */
const VECTOR = 1024

/** Writes all of the buffers, whatever the kernel takes at a time. */
export async function writeFully(fd: number, buffers: Buffer[], position: number): Promise<void> {
  let rest = buffers
  let at = position
  while (rest.length > 0) {
    const now = rest.length > VECTOR ? rest.slice(0, VECTOR) : rest
    let count = await new Promise<number>((resolve, reject) =>
      writev(fd, now, at, (error, bytes) => (error ? reject(error) : resolve(bytes))),
    )
    if (count === 0) throw Object.assign(new Error('the disk took nothing'), { code: 'EIO' })
    at += count
    let whole = 0
    while (whole < rest.length && count >= (rest[whole] as Buffer).length) count -= (rest[whole++] as Buffer).length
    rest = rest.slice(whole)
    if (count > 0) rest[0] = (rest[0] as Buffer).subarray(count)
  }
}

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? 'unknown'

/** A full disk is told apart from a failing one: a sender may try again soon, or must not. */
export function faultOfWriting(error: unknown): Fault {
  const code = codeOf(error)
  return code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG'
    ? new Fault('SPOOL_FULL', { percent: 100 }, { cause: error })
    : new Fault('DISK_FAILED', { detail: code }, { cause: error })
}

/** A file that is gone, one the disk cannot give back, and a shortage of ours (EMFILE, ENOMEM). */
export function faultOfReading(error: unknown): Fault {
  if (error instanceof Fault) return error
  const code = codeOf(error)
  if (code === 'ENOENT' || code === 'ENOTDIR') return new Fault('OBJECT_MISSING', {}, { cause: error })
  if (code === 'EIO' || code === 'EUCLEAN' || code === 'EBADMSG') return new Fault('OBJECT_DAMAGED', { detail: code }, { cause: error })
  return new Fault('DISK_FAILED', { detail: code }, { cause: error })
}
