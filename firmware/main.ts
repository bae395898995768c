#!/usr/bin/env node
/**
 * `sallyport <command>`: the one entry of the firmware.
 *
 * Compiled code is kept between starts: a worker that died is back in a third of the time, and
 * each process is 20–30 MB smaller for never loading the compiler. Where the folder cannot be
 * written, or is not there, nothing is lost but that.
 */
import { enableCompileCache, flushCompileCache } from 'node:module'
import { fileURLToPath } from 'node:url'

const FLUSH_MILLIS = 3_000

// In the environment too: a process started from here finds even this file compiled.
process.env['NODE_COMPILE_CACHE'] ??= fileURLToPath(new URL('../node_modules/.cache/sallyport', import.meta.url))
enableCompileCache(process.env['NODE_COMPILE_CACHE'])
// It is written when a process ends well; one that will be killed leaves it behind as well.
setTimeout(flushCompileCache, FLUSH_MILLIS).unref()
const { runCommand } = await import('./cli/commands.ts')
process.exitCode = await runCommand(process.argv.slice(2))
