import fs from 'node:fs/promises'
import path from 'node:path'
import type { Lease } from '../domain/spool.ts'
import { Fault } from '../domain/errors.ts'
import { FolderTransport } from '../forward/folder/transport.ts'
import { makeLog } from '../platform/log.ts'
import { ObjectReader } from '../spool/object/reader.ts'
import { readArguments, wrongCall } from './arguments.ts'
import { Absent, ask, placesOf, saying } from './client.ts'
import type { Place } from './client.ts'
import { EXIT } from './commands.ts'
import { bytesText } from './text.ts'

const HELP = `sallyport spool verify   reads every image and holds it against its digest
sallyport spool rebuild  makes the index anew from the image files alone
sallyport spool export FOLDER [ID ...]
                         writes Part 10 files: tenant/Study/Series/SOP.dcm; all, or those named

While the firmware runs, its spool stays in use meanwhile; where it does not run, the spool is
opened here. verify and export end with status 1 when an image is damaged; damaged ones are named.

  --config FILE   the configuration whose spool is meant; default: the demo pair
`

/** Images asked for at once. */
const PAGE = 200

type Read = (lease: Lease) => Promise<void>

export async function run(args: string[]): Promise<number> {
  const parsed = readArguments(args, { config: { type: 'string' } }, HELP)
  if (typeof parsed === 'number') return parsed
  const [verb, folder, ...ids] = parsed.positionals
  const places = placesOf(parsed.values.config)
  if (typeof places === 'number') return places
  if (verb === 'verify') return saying(() => each(places, 'verified', undefined, verify))
  if (verb === 'rebuild') return saying(() => rebuild(places))
  if (verb === 'export' && folder) {
    const carrier = await new FolderTransport(path.resolve(folder)).open()
    const wanted = ids.length > 0 ? new Set(ids) : undefined
    return saying(() =>
      each(places, 'exported', wanted, async (lease) => {
        const source = await ObjectReader.open(lease)
        try {
          const outcome = await carrier.send(lease, source)
          if (outcome.event !== 'stored') throw Object.assign(new Error(outcome.detail), { code: outcome.detail })
          process.stdout.write(`${outcome.hop}\n`)
        } finally {
          await source.close()
        }
      }),
    )
  }
  return wrongCall('spool takes verify, rebuild, or export FOLDER', HELP)
}

/** The reader authenticates every chunk and compares length and digest at the end. */
async function verify(lease: Lease): Promise<void> {
  const source = await ObjectReader.open(lease)
  try {
    for await (const bytes of source) void bytes
  } finally {
    await source.close()
  }
}

async function each(places: readonly Place[], done: string, wanted: ReadonlySet<string> | undefined, read: Read): Promise<number> {
  let damaged = 0
  for (const place of places) {
    let count = 0
    let bytes = 0
    for await (const lease of leasesOf(place)) {
      if (wanted && !wanted.has(lease.id)) continue
      try {
        await read(lease)
        count += 1
        bytes += lease.facts.bytes
      } catch (error) {
        if (!(error instanceof Fault)) throw error
        // It may have been delivered and removed since it was listed.
        if (error.code === 'OBJECT_MISSING' && !(await exists(lease.path)) && (await goneSince(place, lease))) continue
        damaged += 1
        process.stdout.write(`DAMAGED ${lease.id} ${lease.facts.sopInstance} ${error.message}\n`)
      }
      if (process.stderr.isTTY) process.stderr.write(`\r\x1b[2K${place.settings.name}: ${count} ${done}, ${bytesText(bytes)}`)
    }
    if (process.stderr.isTTY) process.stderr.write('\r\x1b[2K')
    process.stderr.write(`${place.settings.name}: ${count} ${done}, ${bytesText(bytes)}${damaged ? `, ${damaged} damaged` : ''}\n`)
  }
  return damaged > 0 ? EXIT.failed : EXIT.ok
}

const exists = (file: string): Promise<boolean> => fs.access(file).then(() => true, () => false)

async function goneSince(place: Place, lease: Lease): Promise<boolean> {
  try {
    return (await ask<{ row: unknown }>(place.socket, 'GET', `/queue/${lease.id}`)).row === null
  } catch (error) {
    if (error instanceof Absent) return false
    throw error
  }
}

/** Everything in the spool, whole pages at a time: from the running firmware, or from the disk. */
async function* leasesOf(place: Place): AsyncGenerator<Lease> {
  const local = await openUnlessRunning(place)
  try {
    let after: string | undefined
    for (;;) {
      const page: Lease[] = local
        ? await local.objects({ after, limit: PAGE })
        : (await ask<{ leases: Lease[] }>(place.socket, 'GET', `/spool/objects?limit=${PAGE}${after ? `&after=${after}` : ''}`)).leases
      yield* page
      after = page.at(-1)?.id
      if (page.length < PAGE) return
    }
  } finally {
    await local?.close()
  }
}

async function openUnlessRunning(place: Place) {
  try {
    await ask(place.socket, 'GET', '/status')
    return undefined
  } catch (error) {
    if (!(error instanceof Absent)) throw error
    const { openSpool } = await import('../roles/supervising.ts')
    return openSpool(place.settings, makeLog('spool'))
  }
}

async function rebuild(places: readonly Place[]): Promise<number> {
  for (const place of places) {
    const local = await openUnlessRunning(place)
    try {
      const { instances } = local ? await local.rebuild().then(() => local.totals()) : await ask<{ instances: number }>(place.socket, 'POST', '/spool/rebuild')
      process.stdout.write(`${place.settings.name}: index made anew, ${instances} images\n`)
    } finally {
      await local?.close()
    }
  }
  return EXIT.ok
}
