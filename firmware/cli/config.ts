import { complaintText } from '../config/complaint.ts'
import { loadConfig } from '../config/file.ts'
import { readArguments, wrongCall } from './arguments.ts'
import { EXIT } from './commands.ts'

const HELP = `sallyport config check FILE

Says what is wrong with a configuration, with the line and a sentence. Exit status 0 when it
is right, 2 when it is not.
`

const counted = (list: readonly unknown[], word: string): string => `${list.length} ${word}${list.length === 1 ? '' : 's'}`

export function run(args: string[]): number {
  const parsed = readArguments(args, {}, HELP)
  if (typeof parsed === 'number') return parsed
  const [verb, file] = parsed.positionals
  if (verb !== 'check' || file === undefined) return wrongCall('config check takes one file', HELP)
  const loaded = loadConfig(file, { STATE_DIRECTORY: '/var/lib/sallyport', ...process.env })
  if ('settings' in loaded) {
    const { settings } = loaded
    process.stdout.write(`${file} is right: a ${settings.role} named ${settings.name}, ${counted(settings.listeners, 'listener')}, ${counted(settings.destinations, 'destination')}, ${counted(settings.routes, 'route')}\n`)
    return EXIT.ok
  }
  for (const complaint of loaded.complaints) process.stdout.write(complaintText(file, complaint) + '\n')
  return EXIT.usage
}
