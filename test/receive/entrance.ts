/**
 * A listener of ours on a free port over a real spool, and in between what the supervisor answers:
 * each answer can be held back or replaced, and what was said is kept.
 */
import { freePort } from '../peers/process.ts'
import { CT, EXPLICIT, Script, VERIFICATION, associateRq, data, storeRq } from '../dicom/script.ts'
import { encode, LITTLE, ui } from '../dicom/data-set.ts'
import { HUB, Place } from '../spool/place.ts'
import { decodeCommand, type Command } from '../../firmware/dicom/command.ts'
import { LIMITS, type Limits } from '../../firmware/domain/limits.ts'
import type { Slot } from '../../firmware/domain/spool.ts'
import type { Intake } from '../../firmware/receive/intake.ts'
import { Listener, type ListenerOptions } from '../../firmware/receive/listener.ts'
import { Peers } from '../../firmware/receive/peers.ts'
import { Slots } from '../../firmware/receive/slots.ts'
import { ObjectWriter } from '../../firmware/spool/object/writer.ts'
import type { Spool } from '../../firmware/spool/spool.ts'

export interface EntranceOptions {
  readonly limits?: Partial<Limits>
  readonly intake?: (real: Intake) => Partial<Intake>
  readonly listener?: Partial<ListenerOptions>
}

export interface Entrance {
  readonly port: number
  readonly listener: Listener
  readonly spool: Spool
  readonly slots: Slots
  readonly said: { event: string; fields: Record<string, unknown> }[]
  /** Admissions not given back; slots taken and neither given back nor committed. */
  readonly open: { readonly admissions: Set<number>; readonly slots: Set<string> }
}

type Teardown = { teardown(work: () => unknown): void }

export async function entrance(t: Teardown, options: EntranceOptions = {}): Promise<Entrance> {
  const place = new Place()
  const spool = await place.open()
  const port = await freePort()
  const said: Entrance['said'] = []
  const open = { admissions: new Set<number>(), slots: new Set<string>() }
  let admissions = 0
  const real: Intake = {
    admit: () => {
      open.admissions.add(++admissions)
      return Promise.resolve({ admission: admissions })
    },
    closed: (admission) => void open.admissions.delete(admission),
    refused: (knock, code, fields) => void said.push({ event: code, fields: { ...knock, ...fields } }),
    slot: async (tenant): Promise<Slot> => {
      const slot = await spool.slot(tenant)
      open.slots.add(slot.id)
      return slot
    },
    giveBack: (id) => {
      if (open.slots.delete(id)) spool.giveBack(id)
    },
    commit: (facts) => {
      open.slots.delete(facts.id)
      return spool.commit(facts, HUB)
    },
  }
  const intake: Intake = { ...real, ...options.intake?.(real) }
  const slots = new Slots(intake)
  const keep = (event: string, fields: object = {}) => void said.push({ event, fields: { ...fields } })
  const room = {
    intake, slots,
    open: ObjectWriter.open.bind(ObjectWriter),
    limits: { ...LIMITS, ...options.limits },
    log: { info: keep, warn: keep },
    now: Date.now,
  }
  const listener = new Listener(room, {
    name: 'lan', address: '::', port, shared: false,
    rules: { aeTitles: ['*'], callers: ['*'], peers: new Peers(['*']), sopClasses: new Set(), transferSyntaxes: [] },
    tenantOf: () => 'clinic',
    hasRoute: () => true,
    ...options.listener,
  })
  await listener.listen()
  t.teardown(async () => {
    await listener.close(0)
    slots.giveBackAll()
    await spool.close()
    place.remove()
  })
  return { port, listener, spool, slots, said, open }
}

/** An association with one storage and one Verification context. */
export async function associated(port: number): Promise<Script> {
  const peer = await Script.to(port)
  peer.send(associateRq([{ id: 1, abstractSyntax: CT }, { id: 3, abstractSyntax: VERIFICATION }]))
  const pdu = await peer.read()
  if (pdu?.type !== 2) throw new Error(`no association but PDU ${pdu?.type}`)
  return peer
}

/** A data set in Explicit VR Little Endian with as many bytes of pixels. */
export const image = (sopInstance = '1.2.3.4', bytes = 1000, sopClass = CT): Buffer =>
  encode([
    { tag: 0x00080016, vr: 'UI', value: ui(sopClass) },
    { tag: 0x00080018, vr: 'UI', value: ui(sopInstance) },
    { tag: 0x0020000d, vr: 'UI', value: ui('1.2.9') },
    { tag: 0x0020000e, vr: 'UI', value: ui('1.2.9.1') },
    { tag: 0x7fe00010, vr: 'OB', value: Buffer.alloc(bytes, 7) },
  ], LITTLE)

/** One C-STORE as PDUs: the command, then the data set in two halves of one or more fragments each. */
export function store(sopInstance = '1.2.3.4', dataSet = image(sopInstance), messageId = 1): [command: Buffer, first: Buffer, second: Buffer] {
  const half = (dataSet.length >> 2) << 1
  const fragments = (from: number, to: number, last: number): Buffer => {
    const count = Math.ceil((to - from) / FRAGMENT_BYTES)
    return Buffer.concat(Array.from({ length: count }, (_, n) =>
      data(1, n === count - 1 ? last : 0, dataSet.subarray(from + n * FRAGMENT_BYTES, Math.min(to, from + (n + 1) * FRAGMENT_BYTES)))))
  }
  return [data(1, 3, storeRq(messageId, sopInstance)), fragments(0, half, 0), fragments(half, dataSet.length, 2)]
}

const FRAGMENT_BYTES = 64 * 1024

export async function answer(peer: Script): Promise<Command | undefined> {
  const bytes = await peer.message()
  return bytes && decodeCommand(bytes)
}

export { CT, EXPLICIT }
