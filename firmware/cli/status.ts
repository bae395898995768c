import type { Status } from '../supervisor/status.ts'
import { readArguments } from './arguments.ts'
import { ask, placesOf, saying } from './client.ts'
import { EXIT } from './commands.ts'
import { bytesText, durationText, table } from './text.ts'

const HELP = `sallyport status [--config FILE] [--json | --watch]

What is so: one sentence, then listeners, destinations, refused callers and alarms.
Without --config it shows the demo pair (npm start).

  --json     one JSON object for each, one a line
  --watch    again every second until Ctrl-C
  --config   the configuration of the firmware to ask
`

export async function run(args: string[]): Promise<number> {
  const parsed = readArguments(args, { config: { type: 'string' }, json: { type: 'boolean' }, watch: { type: 'boolean' } }, HELP)
  if (typeof parsed === 'number') return parsed
  const places = placesOf(parsed.values.config)
  if (typeof places === 'number') return places
  return saying(async () => {
    for (;;) {
      const all: Status[] = []
      for (const { socket } of places) all.push(await ask<Status>(socket, 'GET', '/status'))
      if (parsed.values.watch && process.stdout.isTTY && !parsed.values.json) process.stdout.write('\x1b[2J\x1b[H')
      process.stdout.write(all.map((status) => (parsed.values.json ? JSON.stringify(status) + '\n' : statusText(status))).join('\n'))
      if (!parsed.values.watch) return EXIT.ok
      await new Promise((resolve) => setTimeout(resolve, 1000))
    }
  })
}

export function statusText(status: Status): string {
  const { spool, received } = status
  const parts = [
    `${status.role} ${status.name}${status.tenant ? ` of ${status.tenant}` : ''}, version ${status.version}, running for ${durationText(status.now - status.since)}\n`,
    `${status.sentence}\n\n`,
    `received ${received.instances} (${bytesText(received.bytes)})${received.duplicates ? `, ${received.duplicates} seen before` : ''}${received.versions ? `, ${received.versions} other versions` : ''}; `,
    `on the disk ${spool.instances} (${bytesText(spool.bytes)}), disk ${spool.diskPercent} % full\n\n`,
    table(
      ['listener', 'protocol', 'address', 'port', 'AE title', 'associations'],
      status.listeners.map((l) => [l.name, l.protocol, l.address, l.port, l.aeTitles.join(' '), l.associations]),
    ),
    '\n',
    table(
      ['destination', 'to', 'link', 'queued', 'forwarding', 'held', 'delivered', 'waiting since'],
      status.destinations.map((d) => [
        d.name, d.to, d.link.word, d.queued, d.forwarding, d.held, d.delivered, d.oldest ? durationText(status.now - d.oldest) : '',
      ]),
    ),
  ]
  for (const d of status.destinations) {
    if (d.link.remedy) parts.push(`  ${d.name}: ${d.link.sentence} ${d.link.remedy}\n`)
  }
  for (const alarm of status.alarms) parts.push(`\nALARM ${alarm.code} (${alarm.count}): ${alarm.sentence} ${alarm.remedy}\n`)
  if (status.knocks.length > 0) {
    parts.push('\nrefused callers, newest first\n', table(
      ['last', 'times', 'listener', 'from', 'calling', 'called', 'why'],
      status.knocks.slice(0, 10).map((k) => [
        durationText(status.now - k.last) + ' ago', k.times, k.listener, k.peer, k.callingAe, k.calledAe, `${k.sentence} ${k.remedy}`,
      ]),
    ))
  }
  return parts.join('')
}
