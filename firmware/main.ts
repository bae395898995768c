#!/usr/bin/env node
/**
 * `sallyport <command>`: the one entry of the firmware. Each command is loaded on its own, so
 * that a worker carries no code it does not run.
 */
import { COMMANDS, EXIT, overview } from './cli/commands.ts'

const [name = '', ...args] = process.argv.slice(2)
if (name === '' || name === '--help' || name === 'help') {
  process.stdout.write(overview())
  process.exitCode = name === '' ? EXIT.usage : EXIT.ok
} else if (name === '--version') {
  const { version } = await import('./platform/version.ts')
  process.stdout.write(version + '\n')
} else {
  const command = COMMANDS[name]
  if (!command) {
    process.stderr.write(`sallyport: there is no command ${name}; sallyport --help lists them\n`)
    process.exitCode = EXIT.usage
  } else {
    const loaded = await command.load()
    process.exitCode = await loaded.run(args)
  }
}
