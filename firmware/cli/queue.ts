import type { Delivery, InstanceRow } from '../domain/spool.ts'
import { readArguments, wrongCall } from './arguments.ts'
import { ask, placesOf, saying } from './client.ts'
import type { Place } from './client.ts'
import { EXIT } from './commands.ts'
import { bytesText, durationText, table } from './text.ts'

const HELP = `sallyport queue list [--state queued|forwarding|held] [--destination D] [--tenant T] [--limit N]
sallyport queue show ID
sallyport queue retry ID | --all [--destination D]
sallyport queue discard ID --reason WHY [--destination D]

What waits, what is on its way and what is held; one line for each image and destination.
retry puts held images back into the queue. discard gives an image up: it is removed, and the
receipt says who gave the reason. No patient names are shown.

  --config FILE    the configuration of the firmware to ask; default: the demo pair
  --json           one JSON object a line
`

const OPTIONS = {
  config: { type: 'string' },
  json: { type: 'boolean' },
  state: { type: 'string' },
  destination: { type: 'string' },
  tenant: { type: 'string' },
  limit: { type: 'string' },
  all: { type: 'boolean' },
  reason: { type: 'string' },
} as const

export async function run(args: string[]): Promise<number> {
  const parsed = readArguments(args, OPTIONS, HELP)
  if (typeof parsed === 'number') return parsed
  const [verb, id] = parsed.positionals
  const { values } = parsed
  const places = placesOf(values.config)
  if (typeof places === 'number') return places
  const destination = values.destination === undefined ? {} : { destination: values.destination }
  return saying(async () => {
    if (verb === 'list') return list(places, values)
    if (verb === 'show' && id) return show(places, id)
    if (verb === 'retry' && (id || values.all)) return change(places, '/queue/retry', { ...(id ? { id } : {}), ...destination })
    if (verb === 'discard' && id && values.reason) return change(places, '/queue/discard', { id, reason: values.reason, ...destination })
    return wrongCall('queue takes list, show ID, retry ID or --all, or discard ID --reason WHY', HELP)
  })
}

type Values = { json?: boolean; state?: string; destination?: string; tenant?: string; limit?: string }

async function list(places: readonly Place[], values: Values): Promise<number> {
  const query = new URLSearchParams()
  for (const key of ['state', 'destination', 'tenant', 'limit'] as const) if (values[key] !== undefined) query.set(key, values[key])
  const lines: (string | number)[][] = []
  for (const { socket, settings } of places) {
    const { rows } = await ask<{ rows: InstanceRow[] }>(socket, 'GET', `/queue?${query.toString()}`)
    if (values.json) for (const row of rows) process.stdout.write(JSON.stringify(row) + '\n')
    else for (const row of rows) for (const delivery of row.deliveries) if (shown(delivery, values)) lines.push([settings.name, ...cells(row, delivery)])
  }
  if (!values.json) process.stdout.write(lines.length === 0 ? 'Nothing waits.\n' : table(HEAD, lines))
  return EXIT.ok
}

const HEAD = ['at', 'id', 'arrived', 'size', 'from', 'to', 'state', 'attempts', 'why']
const shown = (delivery: Delivery, values: Values): boolean =>
  (values.state === undefined || delivery.state === values.state) &&
  (values.destination === undefined || delivery.destination === values.destination)
const cells = (row: InstanceRow, delivery: Delivery): (string | number)[] => [
  row.id, durationText(Date.now() - row.receivedAt) + ' ago', bytesText(row.bytes), row.source.callingAe, delivery.destination,
  delivery.state, delivery.attempts, delivery.detail ?? delivery.code ?? '',
]

/** Asks each place until one knows the image. */
async function show(places: readonly Place[], id: string): Promise<number> {
  for (const { socket, settings } of places) {
    const { row } = await ask<{ row: InstanceRow | null }>(socket, 'GET', `/queue/${encodeURIComponent(id)}`)
    if (!row) continue
    process.stdout.write(JSON.stringify({ at: settings.name, ...row }, null, 2) + '\n')
    return EXIT.ok
  }
  process.stderr.write(`sallyport: no image ${id} is in the spool\n`)
  return EXIT.failed
}

async function change(places: readonly Place[], url: string, body: object): Promise<number> {
  let count = 0
  for (const { socket } of places) count += (await ask<{ count: number }>(socket, 'POST', url, body)).count
  process.stdout.write(`${count} changed\n`)
  // That nothing is held is no failure of "retry everything"; one that was named and is not there is.
  return count > 0 || !('id' in body) ? EXIT.ok : EXIT.failed
}
