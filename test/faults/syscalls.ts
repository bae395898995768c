/**
 * System calls of a running process, watched or made to fail: strace attached to it and to all
 * of its threads (strace(1), "Tampering").
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { scratch, start, until } from '../peers/process.ts'
import { inspect } from './processes.ts'

/** Why it cannot be done here; undefined where it can. */
export function whyNoTracing(): string | undefined {
  if (process.getuid?.() === 0) return undefined
  const scope = '/proc/sys/kernel/yama/ptrace_scope'
  return !existsSync(scope) || readFileSync(scope, 'utf8').trim() === '0' ? undefined : 'only root may trace processes here'
}

export interface Tracing {
  /** What was traced so far, one call a line, with thread and time. */
  lines(): string[]
  /** The process goes on as it was. */
  stop(): Promise<void>
}

/**
 * @param pids traced with their threads, and what they start
 * @param expressions each behind an `-e`: `inject=fdatasync:error=EIO:when=3`, `trace=write`
 */
export async function trace(pids: readonly number[], expressions: readonly string[], options: readonly string[] = []): Promise<Tracing> {
  const file = join(scratch('strace'), 'calls')
  const args = ['-f', '-ttt', '-o', file, ...options, ...expressions.flatMap((one) => ['-e', one]), ...pids.flatMap((pid) => ['-p', String(pid)])]
  const peer = await start('strace', args)
  await until('strace to attach', () => pids.every((pid) => new RegExp(`Process ${pid} attached`).test(peer.output())))
  return {
    lines: () => readFileSync(file, 'utf8').split('\n').filter((line) => line !== ''),
    stop: async () => {
      // It has ended by itself where all that it traced is gone.
      if (inspect(peer.pid)) process.kill(peer.pid, 'SIGINT')
      await peer.exited
    },
  }
}
