/**
 * What every worker process has in common: it lives as long as its supervisor, and no longer.
 */

/** Resolves when the supervisor asks for the end. Ends the process at once when it is gone. */
export function untilTold(): Promise<void> {
  process.on('disconnect', () => process.exit(0))
  // Ctrl-C reaches the whole group; the supervisor decides in which order we end.
  process.on('SIGINT', () => {})
  return new Promise((resolve) => process.once('SIGTERM', () => resolve()))
}
