import type { ProbeStep } from '../link/probe.ts'
import { readArguments, wrongCall } from './arguments.ts'
import { follow, placesOf, saying } from './client.ts'
import { EXIT } from './commands.ts'

const HELP = `sallyport link test [DESTINATION ...] [--config FILE] [--json]

Walks the way to each destination (default: every one that is not a folder): carrier, address,
name, TCP, TLS, association, C-ECHO. Names the first step that fails and what to do about it.
Exit status 0 when every step passed, 1 when one failed.
`

export async function run(args: string[]): Promise<number> {
  const parsed = readArguments(args, { config: { type: 'string' }, json: { type: 'boolean' } }, HELP)
  if (typeof parsed === 'number') return parsed
  const [verb, ...wanted] = parsed.positionals
  if (verb !== 'test') return wrongCall('link takes test', HELP)
  const places = placesOf(parsed.values.config)
  if (typeof places === 'number') return places
  return saying(async () => {
    let failed = false
    let tested = 0
    for (const { socket, settings } of places) {
      for (const destination of settings.destinations) {
        if (wanted.length > 0 ? !wanted.includes(destination.name) : destination.kind === 'folder') continue
        tested += 1
        if (!parsed.values.json) process.stdout.write(`${settings.name} → ${destination.name}\n`)
        for await (const step of follow<ProbeStep>(socket, `/link/test?destination=${destination.name}`)) {
          if (!step.ok) failed = true
          process.stdout.write(parsed.values.json ? JSON.stringify({ at: settings.name, destination: destination.name, ...step }) + '\n' : stepText(step))
        }
      }
    }
    if (tested === 0) {
      process.stderr.write('sallyport: there is no such destination to test\n')
      return EXIT.usage
    }
    return failed ? EXIT.failed : EXIT.ok
  })
}

export function stepText(step: ProbeStep): string {
  const line = `  ${step.ok ? 'ok    ' : 'FAILED'}  ${step.step.padEnd(12)} ${String(Math.round(step.millis)).padStart(5)} ms  ${step.detail}\n`
  return step.remedy ? `${line}          ${step.remedy}\n` : line
}
