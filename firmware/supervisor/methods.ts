/**
 * What supervisor and workers ask of each other, per kind of worker. Types only.
 */
import type { Settings } from '../config/file.ts'
import type { LinkState } from '../domain/link.ts'
import type { ErrorCode } from '../domain/errors.ts'
import type { CommitOutcome, Lease, ObjectFacts, Outcome, Slot } from '../domain/spool.ts'
import type { WaitingContext } from '../forward/outlet.ts'
import type { ProbeStep } from '../link/probe.ts'
import type { Admission, Knock } from '../receive/intake.ts'

/** What a worker is started with: the settings as the supervisor read them, not as the file is now. */
type SettingsService = { settings: (argument: Record<string, never>) => Settings }

/** Served to `receive` workers. */
export type ReceiveService = SettingsService & {
  ready: (argument: { pid: number }) => void
  /** It cannot do its work, and says why. */
  failed: (argument: { code: ErrorCode; fields: Record<string, string | number> }) => void
  admit: (argument: { knock: Knock; tenant: string }) => Admission
  closed: (argument: { admission: number; how: string; stores: number }) => void
  refused: (argument: { knock: Knock; code: ErrorCode; fields: Record<string, string | number> }) => void
  slot: (argument: { tenant: string }) => Promise<Slot>
  giveBack: (argument: { id: string }) => void
  commit: (argument: { facts: ObjectFacts }) => Promise<CommitOutcome>
}

/** Served by `receive` workers: nothing is asked of them. */
export type ReceiveWorker = Record<string, never>

/** Served to `forward` workers. */
export type ForwardService = SettingsService & {
  ready: (argument: { pid: number }) => void
  lease: (argument: { destination: string; count: number }) => Promise<{ leases: Lease[]; waiting: number; nextDue: number }>
  settle: (argument: { id: string; destination: string; outcome: Outcome; delayMillis: number }) => Promise<void>
  waiting: (argument: { destination: string }) => WaitingContext[]
  hold: (argument: { destination: string; sopClass: string; transferSyntax: string; detail: string }) => Promise<void>
  link: (argument: { destination: string; state: LinkState; associations: number }) => void
  testStep: (argument: { test: number; step: ProbeStep | null }) => void
}

/** Served by `forward` workers. */
export type ForwardWorker = {
  queued: (argument: { destination: string }) => void
  test: (argument: { test: number; destination: string }) => void
}
