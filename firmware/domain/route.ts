/**
 * Routes: what comes from which listener or tenant goes to which destinations.
 */
import type { Priority } from './spool.ts'

export interface Route {
  /** Absent = any. */
  readonly listener?: string | undefined
  /** Absent = any. */
  readonly tenant?: string | undefined
  readonly to: readonly string[]
  readonly priority: Priority
}

export interface Target {
  readonly destination: string
  readonly priority: Priority
}

const RANK: Record<Priority, number> = { high: 0, normal: 1, low: 2 }

/** High before normal before low: 0, 1, 2. */
export const priorityRank = (priority: Priority): number => RANK[priority]

/**
 * Every route that matches contributes its destinations; a destination named by several routes
 * is one target with the highest of their priorities. No match: no target, and the caller must
 * refuse the instance rather than accept what would go nowhere.
 */
export function targetsOf(routes: readonly Route[], from: { listener: string; tenant: string }): Target[] {
  const targets = new Map<string, Priority>()
  for (const route of routes) {
    if (route.listener !== undefined && route.listener !== from.listener) continue
    if (route.tenant !== undefined && route.tenant !== from.tenant) continue
    for (const destination of route.to) {
      const held = targets.get(destination)
      if (held === undefined || RANK[route.priority] < RANK[held]) targets.set(destination, route.priority)
    }
  }
  return [...targets].map(([destination, priority]) => ({ destination, priority }))
}
