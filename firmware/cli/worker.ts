import { runReceiving } from '../roles/receiving.ts'
import { BOX } from '../roles/box.ts'
import { HUB } from '../roles/hub.ts'
import { readArguments, wrongCall } from './arguments.ts'
import { settingsOf } from './client.ts'
import { EXIT } from './commands.ts'

const HELP = `sallyport worker receive|forward --config FILE

A worker process. The supervisor starts it; it is of no use by hand.
`

export async function run(args: string[]): Promise<number> {
  const parsed = readArguments(args, { config: { type: 'string' } }, HELP)
  if (typeof parsed === 'number') return parsed
  const [kind] = parsed.positionals
  const { config } = parsed.values
  if (!process.send || !config) return wrongCall('a worker is started by the supervisor', HELP)
  const settings = settingsOf(config)
  if (!settings) return EXIT.usage
  const role = settings.role === 'box' ? BOX : HUB
  if (kind === 'receive') await runReceiving(role, settings)
  else {
    const { runForwarding } = await import('../roles/forwarding.ts')
    await runForwarding(settings)
  }
  process.disconnect?.()
  return EXIT.ok
}
