import { readArguments, wrongCall } from './arguments.ts'
import { EXIT } from './commands.ts'
import { writePhantom } from './phantom.ts'
import { reasonText } from './text.ts'

const HELP = `sallyport sample FOLDER [--instances N] [--seed N]

Writes a synthetic CT study of a phantom: valid Part 10 files with nobody's data, to try a
connection with. Every call makes new UIDs, unless a seed is given.
`

export async function run(args: string[]): Promise<number> {
  const parsed = readArguments(args, { instances: { type: 'string', default: '24' }, seed: { type: 'string' } }, HELP)
  if (typeof parsed === 'number') return parsed
  const [folder] = parsed.positionals
  const instances = Number(parsed.values.instances)
  const seed = parsed.values.seed === undefined ? undefined : Number(parsed.values.seed)
  if (folder === undefined) return wrongCall('sample takes a folder', HELP)
  if (!Number.isInteger(instances) || instances < 1 || instances > 10_000) return wrongCall('--instances takes 1 to 10000', HELP)
  if (seed !== undefined && !Number.isInteger(seed)) return wrongCall('--seed takes a whole number', HELP)
  const written = await writePhantom(folder, { instances, ...(seed === undefined ? {} : { seed }) }).catch((error: NodeJS.ErrnoException) => error)
  if (written instanceof Error) {
    if (written.code === undefined) throw written
    process.stderr.write(`sallyport: ${folder} cannot be written: ${reasonText(written)}\n`)
    return EXIT.failed
  }
  process.stdout.write(`${written.files.length} files in ${folder}, study ${written.study}\n`)
  return EXIT.ok
}
