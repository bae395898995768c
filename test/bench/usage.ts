/**
 * What a side costs: CPU seconds (user and system) and peak resident memory of all its processes,
 * from /proc. Linux counts CPU time of a process in ticks of 10 ms.
 */
import { readFileSync } from 'node:fs'
import { inspect } from '../faults/processes.ts'

/** USER_HZ, 100 on every architecture Node runs on (proc(5)). */
const TICKS = 100

export interface Usage {
  readonly cpuSeconds: number
  /** Sum of the peaks of its processes, which they need not have reached at one time. */
  readonly peakKiB: number
}

/** Fields 14–17 of /proc/pid/stat: utime, stime, cutime, cstime. */
function ticks(pid: number | 'self'): [number, number, number, number] {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return [11, 12, 13, 14].map((at) => Number(fields[at])) as [number, number, number, number]
  } catch {
    return [0, 0, 0, 0]
  }
}

const cpuOf = (pids: readonly number[]): number =>
  pids.reduce((sum, pid) => sum + ticks(pid).reduce((all, one) => all + one, 0), 0) / TICKS

/** Measures processes that run on: those of `pids`, and what they started and buried meanwhile. */
export function meter(pids: () => readonly number[]): { stop(): Usage } {
  const before = cpuOf(pids())
  return {
    stop: () => {
      const members = pids()
      return { cpuSeconds: cpuOf(members) - before, peakKiB: members.reduce((sum, pid) => sum + (inspect(pid)?.peakKiB ?? 0), 0) }
    },
  }
}

/** CPU seconds of our children that have ended; the difference is what ended in between. */
export function buriedCpuSeconds(): number {
  const [, , user, system] = ticks('self')
  return (user + system) / TICKS
}

/** Follows processes that will have ended before anybody can ask them. */
export function watchPeak(pids: () => readonly number[]): { stop(): number } {
  const peaks = new Map<number, number>()
  const look = () => {
    for (const pid of pids()) peaks.set(pid, Math.max(peaks.get(pid) ?? 0, inspect(pid)?.peakKiB ?? 0))
  }
  const timer = setInterval(look, 20)
  return {
    stop: () => {
      clearInterval(timer)
      return [...peaks.values()].reduce((sum, one) => sum + one, 0)
    },
  }
}
