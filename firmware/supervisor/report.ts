/**
 * Makes the status out of what the supervisor holds.
 */
import type { Settings } from '../config/file.ts'
import { causeOf, remedyOf } from '../domain/errors.ts'
import { LINK_STATES } from '../domain/link.ts'
import type { LinkState } from '../domain/link.ts'
import type { Spool } from '../spool/spool.ts'
import type { Admissions } from './admissions.ts'
import { sentenceOf } from './status.ts'
import type { DestinationStatus, Status } from './status.ts'
import type { Worker } from './worker.ts'

/** What a forward worker said last of one destination. */
export interface Linked {
  readonly state: LinkState
  readonly associations: number
}

export interface Sum {
  instances: number
  bytes: number
}

export interface Holdings {
  readonly settings: Settings
  readonly spool: Spool
  readonly version: string
  readonly admissions: Admissions
  readonly links: ReadonlyMap<string, Linked>
  readonly workers: readonly Worker[]
  readonly received: Status['received']
  readonly delivered: ReadonlyMap<string, Readonly<Sum>>
  /** Start of the supervisor, milliseconds since 1970. */
  readonly since: number
}

const CALLING: LinkState = { state: 'connecting', word: LINK_STATES.connecting.word, sentence: 'The far side is being called.', remedy: '', since: 0 }

/** The link of a destination that is in no configuration. */
const goneLink = (destination: string): LinkState => ({
  state: 'unknown',
  word: 'Not configured',
  sentence: causeOf('DESTINATION_UNKNOWN', { destination }),
  remedy: remedyOf('DESTINATION_UNKNOWN'),
  since: 0,
})

export function report(holdings: Holdings): Status {
  const { settings, spool, version, admissions } = holdings
  const water = spool.water()
  const { instances, bytes } = spool.totals()
  const status = {
    name: settings.name,
    role: settings.role,
    version,
    tenant: settings.tenant ?? '',
    pid: process.pid,
    since: holdings.since,
    now: Date.now(),
    listeners: settings.listeners.map(({ name, protocol, address, port, aeTitles }) => ({
      name, protocol, address, port, aeTitles, associations: admissions.openAt(name),
    })),
    destinations: [...settings.destinations.map((one) => configured(one, holdings)), ...forgotten(holdings)],
    received: { ...holdings.received },
    spool: { instances, bytes, diskPercent: water.percent, full: water.full },
    workers: holdings.workers.map(({ kind, pid, restarts }) => ({ kind, pid: pid ?? 0, restarts })),
    knocks: admissions.knocks(),
    alarms: spool.alarms().map(({ code, since, count, sentence }) => ({ code, since, count, sentence, remedy: remedyOf(code) })),
  }
  return { ...status, sentence: sentenceOf(status) }
}

function configured(one: Settings['destinations'][number], { spool, links, delivered }: Holdings): DestinationStatus {
  const { queued, forwarding, held, bytes, oldest } = spool.countsOf(one.name)
  const link = links.get(one.name)
  const sum = delivered.get(one.name)
  return {
    name: one.name,
    kind: one.kind,
    to: one.kind === 'folder' ? one.path : `${one.host}:${one.port}`,
    link: link?.state ?? CALLING,
    associations: link?.associations ?? 0,
    queued,
    forwarding,
    held,
    queuedBytes: bytes,
    oldest,
    delivered: sum?.instances ?? 0,
    deliveredBytes: sum?.bytes ?? 0,
  }
}

/** What the configuration does not name (any more), and something waits for: never out of sight. */
function forgotten({ settings, spool }: Holdings): DestinationStatus[] {
  const names = new Set(settings.destinations.map((one) => one.name))
  return Object.entries(spool.counts())
    .filter(([name, { queued, forwarding, held }]) => !names.has(name) && queued + forwarding + held > 0)
    .map(([name, { queued, forwarding, held, bytes, oldest }]) => ({
      name, kind: 'none', to: '', link: goneLink(name), associations: 0, queued, forwarding, held, queuedBytes: bytes, oldest, delivered: 0, deliveredBytes: 0,
    }))
}
