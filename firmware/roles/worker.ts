/**
 * What every worker process has in common: it lives as long as its supervisor, and no longer.
 */

/**
 * Ends the process at once when the supervisor is gone. To be called before anything is awaited: a
 * worker that missed it while it was starting would live on, holding the port of its successor.
 */
export function liveWithSupervisor(): void {
  process.on('disconnect', () => process.exit(0))
  if (!process.connected) process.exit(0)
}

/** Resolves when the supervisor asks for the end. */
export function untilTold(): Promise<void> {
  // Ctrl-C reaches the whole group; the supervisor decides in which order we end.
  process.on('SIGINT', () => {})
  return new Promise((resolve) => process.once('SIGTERM', () => resolve()))
}
