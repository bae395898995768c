/**
 * LevelDB as it is used here. The only importer of `level`.
 */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Level } from 'level'
import { META, decode, encode } from './rows.ts'
import type { Meta } from './rows.ts'
import { isCorruption } from './trouble.ts'
import type { BatchOperation } from './view.ts'

/** What is used of `classic-level`; the types of `level` are those it shares with browsers. */
export interface Database {
  open(): Promise<void>
  close(): Promise<void>
  get(key: string): Promise<string | undefined>
  getMany(keys: string[]): Promise<(string | undefined)[]>
  batch(operations: BatchOperation[], options?: { sync?: boolean }): Promise<void>
  iterator(range: Range): Iterating<[string, string]>
  keys(range: Range): Iterating<string>
  compactRange(from: string, to: string): Promise<void>
}
export interface Range {
  readonly gt?: string
  readonly gte?: string
  readonly lt?: string
  readonly lte?: string
  readonly limit?: number
  readonly reverse?: boolean
  readonly fillCache?: boolean
}
export interface Iterating<T> extends AsyncIterable<T> {
  nextv(size: number): Promise<T[]>
  close(): Promise<void>
}

const Classic = Level as unknown as {
  new (location: string, options: Record<string, unknown>): Database
  repair(location: string): Promise<void>
}

/** @param create only at the very first start: LevelDB would make an empty index of a lost one */
export async function openDatabase(location: string, create: boolean): Promise<Database> {
  const database = new Classic(location, {
    createIfMissing: create,
    errorIfExists: create,
    keyEncoding: 'utf8',
    valueEncoding: 'utf8',
    // Rows are small and written once or twice; JSON shrinks to a third.
    compression: true,
  })
  await database.open()
  return database
}

/** Makes what can be read of a broken LevelDB readable again. */
export const repairDatabase = (location: string): Promise<void> => Classic.repair(location)

/**
 * Only one process may have the spool, also while it makes its index anew and folders come and go.
 * Node has no file locks; LevelDB's ends with the process that holds it, however it ends.
 * @throws Error with LEVEL_LOCKED as its or its cause's code when another process has it
 */
export async function openLock(directory: string): Promise<Database> {
  const path = join(directory, 'lock')
  const open = async (): Promise<Database> => {
    const database = new Classic(path, { createIfMissing: true })
    await database.open()
    return database
  }
  return open().catch(async (error: unknown) => {
    if (!isCorruption(error)) throw error
    // It was locked by us before it was found damaged, and there is nothing in it.
    await rm(path, { recursive: true, force: true })
    return open()
  })
}

/** @returns undefined when there is none or it is damaged */
export async function readMeta(database: Database): Promise<Meta | undefined> {
  const stored = await database.get(META)
  return stored === undefined ? undefined : decode<Meta>(META, stored)
}

/** Writes directly, for an index that is being made. */
export const putMeta = (database: Database, meta: Meta): Promise<void> =>
  database.batch([{ type: 'put', key: META, value: encode(META, meta) }], { sync: true })
