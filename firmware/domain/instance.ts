/**
 * One instance on its way to one destination, as data. An instance with several destinations
 * has one of these for each, and is removed when all of them are.
 *
 * The acknowledgement to the sender is given on entering `queued` (PS3.4 B.2.2: the SCP takes
 * responsibility for the instance with status 0000H). DIMSE statuses: PS3.4 B.2.3.
 */
export const INSTANCE_STATES = [
  'receiving', // bytes are arriving; nothing is promised
  'queued', // durable; acknowledged to the sender; waits for a destination
  'forwarding', // one worker holds the lease
  'acknowledged', // the next hop answered Success
  'committed', // proof at the route's level
  'held', // needs a person
  'removed', // gone; the receipt stays
  'failed', // never became durable; nothing was promised
] as const
export type InstanceState = (typeof INSTANCE_STATES)[number]

export const INSTANCE_EVENTS = [
  'durable', // object file and index are on stable storage
  'failed', // the bytes ended too early, or could not be made durable
  'leased', // a forward worker took it
  'stored', // 0000H, or a Bxxx warning: the next hop has it
  'refused', // A7xx, 0110H, abort, time-out: later may be better
  'rejected', // A9xx, Cxxx, 0122H, no presentation context: later will not be better
  'lease-lost', // the worker died or the supervisor restarted
  'proven', // proof at the route's level is complete
  'disproven', // proof failed
  'released', // may be forgotten
  'retry', // a person says: again
  'discard', // a person says: never
] as const
export type InstanceEvent = (typeof INSTANCE_EVENTS)[number]

export const INSTANCE_TABLE = {
  receiving: { durable: 'queued', failed: 'failed' },
  queued: { leased: 'forwarding', discard: 'removed' },
  forwarding: {
    stored: 'acknowledged',
    refused: 'queued',
    rejected: 'held',
    'lease-lost': 'queued',
  },
  acknowledged: { proven: 'committed', disproven: 'queued' },
  committed: { released: 'removed' },
  held: { retry: 'queued', discard: 'removed' },
  removed: {},
  failed: {},
} as const satisfies Record<InstanceState, Partial<Record<InstanceEvent, InstanceState>>>

/**
 * @throws Error when the table has no cell: that is a defect of ours, and the process that
 *   meets it must die rather than carry on with an instance in an unknown state.
 */
export function nextState(state: InstanceState, event: InstanceEvent): InstanceState {
  const next = (INSTANCE_TABLE[state] as Partial<Record<InstanceEvent, InstanceState>>)[event]
  if (next === undefined) throw new Error(`instance: no cell for ${event} in ${state}`)
  return next
}
