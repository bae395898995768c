/**
 * Opens the index and decides whether it can be believed; if not, sets it aside and makes a new
 * one from the object files and from what still verifies in the old one.
 *
 * LevelDB with a shortened MANIFEST, or without CURRENT, opens empty and deletes its tables while
 * doing so. So before every opening its files are linked into a second folder (no bytes are
 * copied), which goes when the index has proven sound.
 */
import { randomBytes } from 'node:crypto'
import { link, mkdir, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { LIMITS } from '../domain/limits.ts'
import type { Log } from '../domain/log.ts'
import { syncDirectory } from './files.ts'
import { readWitness, vouches, writeWitness } from './generation.ts'
import { openDatabase, putMeta, readMeta, repairDatabase } from './database.ts'
import type { Database } from './database.ts'
import type { Meta } from './rows.ts'
import { survey } from './survey.ts'
import type { Tally } from './tally.ts'
import { isCorruption } from './trouble.ts'
import { IndexDamaged } from './view.ts'

export interface Opened {
  readonly database: Database
  readonly meta: Meta
  readonly tally: Tally
  /** Why it was made anew; undefined when it was found sound, or nothing was there yet. */
  readonly damage: string | undefined
}

/** Fills an index that is being made. */
export type Fill = (made: Database, meta: Meta, old: Old | undefined) => Promise<Meta>

/** What is left of the index that is not believed. */
export interface Old {
  readonly database: Database
  readonly meta: Meta | undefined
  /** It is older than its witness: rows without files are not losses, they have ended since. */
  readonly stale: boolean
}

const INDEX = 'index'
const BEFORE = 'index.before'
const NEW = 'index.new'
const SET_ASIDE = 'index.damaged-'

export interface RecoveryOptions {
  /** The spool's own directory. */
  readonly directory: string
  readonly now: () => number
  readonly log: Log
  readonly fill: Fill
  /** What was read of it lately was not what was written: do not even try. */
  readonly distrusted: boolean
}

/** @throws the error of the disk; nothing is given up because of one, try again */
export async function openIndex(options: RecoveryOptions): Promise<Opened> {
  const { directory, distrusted, log } = options
  await finishSwap(directory)
  const virgin = !(await exists(join(directory, INDEX))) && (await readWitness(directory)) === undefined
  if (!virgin && !(await exists(join(directory, BEFORE)))) await linkAll(join(directory, INDEX), join(directory, BEFORE))
  let damage = distrusted ? 'what was read was not what was written' : undefined
  let emptied = false
  if (!virgin && !distrusted) {
    const tried = await tryOpen(directory)
    if ('tally' in tried) {
      await rm(join(directory, BEFORE), { recursive: true, force: true })
      return { ...tried, damage: undefined }
    }
    damage = tried.damage
    emptied = tried.emptied
  }
  if (damage !== undefined) log.warn('index-damaged', { detail: damage })
  const made = await makeAnew(options, emptied)
  // At a very first start there are no objects; where there are some, index and witness were lost.
  if (virgin && made.meta.rows > 0) damage = 'it is gone'
  return { ...made, damage }
}

async function tryOpen(directory: string): Promise<Omit<Opened, 'damage'> | { damage: string; emptied: boolean }> {
  let database: Database | undefined
  let emptied = true
  try {
    const witness = await readWitness(directory)
    database = await openDatabase(join(directory, INDEX), false)
    const meta = await readMeta(database)
    emptied = meta === undefined
    if (meta === undefined) throw new IndexDamaged('it is empty')
    if (witness === undefined) throw new IndexDamaged('its witness is gone')
    if (!vouches(witness, meta)) throw new IndexDamaged(meta.identity === witness.identity ? 'it is an old copy' : 'it is of another box')
    const tally = await survey(database, meta)
    const generation = Math.max(meta.generation, witness.generation) + 1
    const next = { ...meta, generation }
    await putMeta(database, next)
    await writeWitness(directory, { identity: next.identity, generation })
    return { database, meta: next, tally }
  } catch (error) {
    await database?.close()
    if (isCorruption(error)) return { damage: (error as Error).message, emptied }
    throw error
  }
}

async function makeAnew(options: RecoveryOptions, emptied: boolean): Promise<Omit<Opened, 'damage'>> {
  const { directory, fill, now } = options
  const path = join(directory, NEW)
  await rm(path, { recursive: true, force: true })
  const witness = await readWitness(directory)
  const old = await openOld(options, witness, emptied)
  let made: Database | undefined
  try {
    made = await openDatabase(path, true)
    // Generation 0: not to be believed before it is complete.
    const empty: Meta = { identity: randomBytes(8).toString('hex'), generation: 0, sequence: 0, rows: 0, keys: 0, sum: 0, delivered: 0, deliveredBytes: 0 }
    const meta = await fill(made, empty, old)
    await putMeta(made, { ...meta, generation: 1 })
  } finally {
    await made?.close()
    await old?.database.close()
  }
  if (await exists(join(directory, INDEX))) await rename(join(directory, INDEX), join(directory, `${SET_ASIDE}${now()}`))
  await finishSwap(directory)
  await rm(join(directory, BEFORE), { recursive: true, force: true })
  await dropSetAside(directory)
  const again = await tryOpen(directory)
  if ('tally' in again) return again
  // Just written, and already not what was written: this disk cannot hold an index.
  throw new Error(`index: the one just made is damaged: ${again.damage}`)
}

/** Puts a completed new index in its place: also what a power loss interrupted. */
async function finishSwap(directory: string): Promise<void> {
  const path = join(directory, NEW)
  if (!(await exists(path)) || (await exists(join(directory, INDEX)))) return
  let meta: Meta | undefined
  try {
    const database = await openDatabase(path, false)
    meta = await readMeta(database)
    await database.close()
  } catch {
    meta = undefined
  }
  if (!meta || meta.generation === 0) return
  await rename(path, join(directory, INDEX))
  await syncDirectory(directory)
  await writeWitness(directory, { identity: meta.identity, generation: meta.generation })
}

/** Opens what can be read of the old index, from the links: the folder itself may be emptied. */
async function openOld({ directory, log }: RecoveryOptions, witness: { identity: string; generation: number } | undefined, emptied: boolean): Promise<Old | undefined> {
  const path = join(directory, BEFORE)
  if (!(await exists(path))) return undefined
  try {
    if (emptied) await repairDatabase(path)
    const database = await openDatabase(path, false)
    const meta = await readMeta(database)
    const foreign = witness !== undefined && meta !== undefined && meta.identity !== witness.identity
    if (!foreign) return { database, meta, stale: witness === undefined || meta === undefined || !vouches(witness, meta) }
    await database.close()
    return undefined
  } catch (error) {
    if (!isCorruption(error)) throw error
    log.warn('index-unreadable', { detail: (error as Error).message })
    return undefined
  }
}

/** At a clean end, after the index is closed. */
export const endWitness = (directory: string, { identity, generation, sequence, keys, sum }: Meta): Promise<void> =>
  writeWitness(directory, { identity, generation, end: { sequence, keys, sum } })

async function linkAll(from: string, to: string): Promise<void> {
  if (!(await exists(from))) return
  const half = `${to}.half`
  await rm(half, { recursive: true, force: true })
  await mkdir(half, { mode: 0o700 })
  for (const name of await readdir(from)) if (name !== 'LOCK' && !name.startsWith('LOG')) await link(join(from, name), join(half, name))
  await rename(half, to)
}

async function dropSetAside(directory: string): Promise<void> {
  const names = await setAside(directory)
  for (const name of names.slice(0, Math.max(0, names.length - LIMITS.indexesSetAside))) await rm(join(directory, name), { recursive: true, force: true })
}

/** Names of the damaged indexes that are kept, oldest first. */
export const setAside = async (directory: string): Promise<string[]> =>
  (await readdir(directory)).filter((name) => name.startsWith(SET_ASIDE)).sort()

/** When an index was set aside, milliseconds since 1970. */
export const setAsideAt = (name: string): number => Number(name.slice(SET_ASIDE.length))

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      // What cannot be looked at may well be there.
      if (error.code !== 'ENOENT') throw error
      return false
    },
  )
