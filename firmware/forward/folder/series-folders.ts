/**
 * The folders that series go into, each with a durable entry in the one above it, up to where
 * the destination begins.
 */
import fs from 'node:fs/promises'
import path from 'node:path'

/** Remembered as durable; one that is forgotten is synced again, which costs a few milliseconds. */
const MOST_REMEMBERED = 1000

export class SeriesFolders {
  readonly #top: string
  readonly #made = new Map<string, Promise<void>>()

  /** @param top absolute path of the destination's folder */
  constructor(top: string) {
    this.#top = path.dirname(top)
  }

  /** Two writers of one series wait for the same sync. That a folder is there says nothing: it may be from before a crash. */
  async make(folder: string): Promise<void> {
    // It may have been taken away since, by who fetches the files.
    const anew = (await fs.mkdir(folder, { recursive: true })) !== undefined
    const known = this.#made.get(folder)
    if (known && !anew) return known
    const made = this.#syncAbove(folder)
    this.#made.set(folder, made)
    made.catch(() => this.#made.delete(folder))
    if (this.#made.size > MOST_REMEMBERED) this.#made.delete(this.#made.keys().next().value as string)
    return made
  }

  async #syncAbove(folder: string): Promise<void> {
    for (let at = path.dirname(folder); at.startsWith(this.#top); at = path.dirname(at)) {
      await syncFolder(at)
      if (at === this.#top) break
    }
  }
}

export async function syncFolder(folder: string): Promise<void> {
  const handle = await fs.open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
