/**
 * Arguments of a command: parsed by node:util, with the same words for every mistake.
 */
import { parseArgs } from 'node:util'
import type { ParseArgsConfig } from 'node:util'
import { EXIT } from './commands.ts'

type Options = NonNullable<ParseArgsConfig['options']>
type Parsed<O extends Options> = ReturnType<typeof parseArgs<{ options: O & typeof HELP; allowPositionals: true; strict: true }>>

const HELP = { help: { type: 'boolean', short: 'h' } } as const

/** @returns the parsed arguments, or the exit status when help was asked for or the call is wrong. */
export function readArguments<O extends Options>(args: string[], options: O, help: string): Parsed<O> | number {
  try {
    const parsed = parseArgs({ args, options: { ...options, ...HELP }, allowPositionals: true, strict: true })
    if ((parsed.values as { help?: boolean }).help) {
      process.stdout.write(help)
      return EXIT.ok
    }
    return parsed
  } catch (error) {
    // Its second sentence is about names that begin with a dash, which nobody meant.
    return wrongCall((error as Error).message.split('. ')[0] ?? '', help)
  }
}

export function wrongCall(message: string, help: string): number {
  process.stderr.write(`sallyport: ${message}\n\n${help}`)
  return EXIT.usage
}
