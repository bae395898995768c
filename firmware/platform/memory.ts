/**
 * Keeps a process small. Payload goes through buffers outside the heap, each used once; by
 * default V8 and the C library let used ones pile up by the tens of megabytes.
 */

/** The third lets V8 collect used buffers when they are some 20 MB, not 50. No more CPU time. */
const SMALL = ['--max-semi-space-size=2', '--max-old-space-size=96', '--scavenger-max-new-space-capacity-mb=8']

/** Has the C library give freed memory back to the system (mallopt(3)). */
const THRIFTY = { MALLOC_ARENA_MAX: '2', MALLOC_TRIM_THRESHOLD_: '1048576' }

/**
 * Starts this process again with the settings above, in place (execve(2)): same pid, same files.
 * Returns only when they are in force. Processes forked from here inherit them.
 */
export function beSmall(): void {
  if (SMALL.every((flag) => process.execArgv.includes(flag))) return
  const again = [process.execPath, ...process.execArgv, ...SMALL, ...process.argv.slice(1)]
  process.execve?.(process.execPath, again, { ...process.env, ...THRIFTY })
}
