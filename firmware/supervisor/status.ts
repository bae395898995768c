/**
 * What `sallyport status` and the page show. Plain JSON; field names are the metric labels.
 */
import type { LinkState } from '../domain/link.ts'
import type { RefusedKnock } from './admissions.ts'

export interface ListenerStatus {
  readonly name: string
  readonly protocol: string
  readonly address: string
  readonly port: number
  readonly aeTitles: readonly string[]
  readonly associations: number
}

export interface DestinationStatus {
  readonly name: string
  readonly kind: string
  /** host:port or folder. */
  readonly to: string
  readonly link: LinkState
  readonly associations: number
  readonly queued: number
  readonly forwarding: number
  readonly held: number
  readonly queuedBytes: number
  /** Arrival of the oldest that waits, milliseconds since 1970; 0 = nothing waits. */
  readonly oldest: number
  /** Since the supervisor started. */
  readonly delivered: number
  readonly deliveredBytes: number
}

export interface Status {
  readonly name: string
  readonly role: 'box' | 'hub'
  readonly version: string
  readonly tenant: string
  readonly pid: number
  readonly since: number
  readonly now: number
  /** One sentence of truth. */
  readonly sentence: string
  readonly listeners: readonly ListenerStatus[]
  readonly destinations: readonly DestinationStatus[]
  /** Since the supervisor started. */
  readonly received: { readonly instances: number; readonly bytes: number; readonly duplicates: number; readonly versions: number }
  readonly spool: { readonly instances: number; readonly bytes: number; readonly diskPercent: number; readonly full: boolean }
  readonly workers: readonly { readonly kind: string; readonly pid: number; readonly restarts: number }[]
  readonly knocks: readonly RefusedKnock[]
  readonly alarms: readonly { readonly code: string; readonly sentence: string; readonly remedy: string; readonly since: number; readonly count: number }[]
}

/** Calling is not yet a failure; only a failed step is. */
const isDown = (d: DestinationStatus): boolean => d.link.state !== 'connected' && d.link.state !== 'connecting' && d.link.state !== 'unknown'

const images = (count: number): string => `${count} ${count === 1 ? 'image' : 'images'}`

/** The worst that is true, first: what is in danger, what is stuck, what waits, all is well. */
export function sentenceOf(status: Omit<Status, 'sentence'>): string {
  const [alarm] = status.alarms
  if (status.spool.full) return `The disk is full: new images are refused until there is room; ${images(status.spool.instances)} are safe on it.`
  if (alarm) return `${alarm.sentence} ${alarm.remedy}`
  const stuck = status.destinations.find((d) => d.queued + d.forwarding > 0 && isDown(d))
  if (stuck) return `${images(stuck.queued + stuck.forwarding)} waiting for ${stuck.name}: ${stuck.link.sentence}`
  const held = status.destinations.reduce((sum, d) => sum + d.held, 0)
  if (held > 0) return `${images(held)} held: a person must look at ${held === 1 ? 'it' : 'them'} (sallyport queue list --state held).`
  const waiting = status.destinations.reduce((sum, d) => sum + d.queued + d.forwarding, 0)
  if (waiting > 0) return `${images(waiting)} on the way.`
  const down = status.destinations.find((d) => isDown(d))
  if (down) return `Nothing waits, but ${down.name} cannot be reached: ${down.link.sentence}`
  return 'All is well: nothing waits.'
}
