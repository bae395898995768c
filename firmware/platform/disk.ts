/** The file system a folder lies on. */
import { statfs } from 'node:fs/promises'

export interface DiskSpace {
  /** Bytes altogether, without what only root may use. */
  readonly totalBytes: number
  /** Bytes this process may still write. */
  readonly freeBytes: number
  /** 0–100: as `df` says it, of what this process may use. */
  readonly usedPercent: number
  /** Files that may still be made; Infinity where the file system sets no bound. */
  readonly freeFiles: number
}

/** @throws NodeJS.ErrnoException when the folder does not exist or the disk is gone. */
export async function diskSpace(folder: string): Promise<DiskSpace> {
  const { bsize, blocks, bfree, bavail, files, ffree } = await statfs(folder)
  const used = blocks - bfree
  const usable = used + bavail
  return {
    totalBytes: usable * bsize,
    freeBytes: bavail * bsize,
    usedPercent: usable === 0 ? 100 : (used / usable) * 100,
    // btrfs and others count no inodes.
    freeFiles: files === 0 ? Number.POSITIVE_INFINITY : ffree,
  }
}

/** Bytes this process may still write below the folder. @throws as `diskSpace`. */
export const freeBytes = async (folder: string): Promise<number> => (await diskSpace(folder)).freeBytes
