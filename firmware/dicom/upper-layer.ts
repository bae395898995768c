/**
 * State machine of the DICOM upper layer: PS3.8 9.2, Table 9-10, reduced to the states an
 * acceptor and a requestor have over a transport that is already open and that never start a
 * release as acceptor. Sta2, 3, 6, 13 and 1 are the acceptor's; Sta5, 6, 7, 11, 13 and 1 the
 * requestor's.
 *
 * Sta8 (release asked, local answer awaited) is left in the step that enters it, since ours
 * answers at once: AR-2 and AR-4 are one action. So are AR-8 and AR-9 (collision, requestor's
 * side), which leads to Sta11; Sta9, 10 and 12 do not arise. AA-7 is AA-6: one A-ABORT is
 * enough, what still arrives in Sta13 is thrown away until the peer closes or ARTIM expires.
 *
 * AA-1 names the service user as source of the abort; we name the provider (2), as for AA-8,
 * since only then may the PDU say why (PS3.8 9.3.8).
 */
export type UpperLayerState =
  | 'awaiting-request' // Sta2
  | 'deciding' // Sta3
  | 'awaiting-answer' // Sta5
  | 'established' // Sta6
  | 'releasing' // Sta7
  | 'release-collision' // Sta11
  | 'closing' // Sta13
  | 'closed' // Sta1

export type UpperLayerEvent =
  | 'associate-rq'
  | 'associate-ac'
  | 'associate-rj'
  | 'data'
  | 'release-rq'
  | 'release-rp'
  | 'abort'
  | 'malformed' // unrecognized or invalid PDU
  | 'disconnected' // transport connection closed
  | 'expired' // ARTIM, or a bound of ours that stands in for it
  // local
  | 'accept' // AE-7
  | 'reject' // AE-8
  | 'release' // AR-1
  | 'give-up' // AA-1 by the local user

export type UpperLayerAction =
  | 'indicate' // pass it to the user: AE-3, AE-6, DT-2, AR-6
  | 'rejected' // AE-4
  | 'reply-release' // AR-2 + AR-4, AR-8 + AR-9
  | 'released' // AR-3
  | 'aborted' // AA-2, AA-3: the peer's abort; close
  | 'refuse' // AA-1, AA-8: abort with the reason, wait for the peer to close
  | 'lost' // AA-4, AA-5
  | 'close' // AA-2, AR-5
  | 'ignore' // AA-6
  | 'send' // local: AE-7, AE-8, AR-1, AA-1

interface Cell {
  readonly does: UpperLayerAction
  readonly next: UpperLayerState
}

const AA_8 = { does: 'refuse', next: 'closing' } as const
const AA_3 = { does: 'aborted', next: 'closed' } as const
const AA_4 = { does: 'lost', next: 'closed' } as const
const AA_6 = { does: 'ignore', next: 'closing' } as const
const GIVE_UP = { does: 'send', next: 'closing' } as const

/** What every state between Sta2 and Sta12 does unless its row says otherwise. */
const OPEN = {
  'associate-rq': AA_8,
  'associate-ac': AA_8,
  'associate-rj': AA_8,
  data: AA_8,
  'release-rq': AA_8,
  'release-rp': AA_8,
  abort: AA_3,
  malformed: AA_8,
  disconnected: AA_4,
  expired: GIVE_UP,
  'give-up': GIVE_UP,
} as const

export const UPPER_LAYER = {
  'awaiting-request': {
    ...OPEN,
    'associate-rq': { does: 'indicate', next: 'deciding' }, // AE-6
    expired: { does: 'close', next: 'closed' }, // AA-2
  },
  deciding: {
    ...OPEN,
    accept: { does: 'send', next: 'established' }, // AE-7
    reject: { does: 'send', next: 'closing' }, // AE-8
  },
  'awaiting-answer': {
    ...OPEN,
    'associate-ac': { does: 'indicate', next: 'established' }, // AE-3
    'associate-rj': { does: 'rejected', next: 'closed' }, // AE-4
  },
  established: {
    ...OPEN,
    data: { does: 'indicate', next: 'established' }, // DT-2
    'release-rq': { does: 'reply-release', next: 'closing' }, // AR-2, AR-4
    release: { does: 'send', next: 'releasing' }, // AR-1
  },
  releasing: {
    ...OPEN,
    data: { does: 'indicate', next: 'releasing' }, // AR-6
    'release-rq': { does: 'reply-release', next: 'release-collision' }, // AR-8, AR-9
    'release-rp': { does: 'released', next: 'closed' }, // AR-3
  },
  'release-collision': {
    ...OPEN,
    'release-rp': { does: 'released', next: 'closed' }, // AR-3
  },
  closing: {
    'associate-rq': AA_6,
    'associate-ac': AA_6,
    'associate-rj': AA_6,
    data: AA_6,
    'release-rq': AA_6,
    'release-rp': AA_6,
    malformed: AA_6,
    abort: { does: 'close', next: 'closed' }, // AA-2
    disconnected: { does: 'close', next: 'closed' }, // AR-5
    expired: { does: 'close', next: 'closed' }, // AA-2
  },
  closed: {},
} as const satisfies Record<UpperLayerState, Partial<Record<UpperLayerEvent, Cell>>>

/** @throws Error when there is no cell: a defect of ours, never of the peer's. */
export function upperLayerStep(state: UpperLayerState, event: UpperLayerEvent): Cell {
  const cell = (UPPER_LAYER[state] as Partial<Record<UpperLayerEvent, Cell>>)[event]
  if (cell === undefined) throw new Error(`upper layer: no cell for ${event} in ${state}`)
  return cell
}
