/**
 * What becomes of every file of the corpus: sent by our byte-exact sender into a box, over
 * mutual TLS to a hub, and from there into a folder, a `storescp +B` and an Orthanc at once.
 * The same files also go straight into a `storescp +B` and an Orthanc of their own: what those
 * refuse or rewrite by themselves is theirs, not the pair's.
 */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { basename } from 'node:path'
import type { Sent } from '../../firmware/cli/sender.ts'
import { readPart10 } from '../../firmware/dicom/part10.ts'
import { LIMITS } from '../../firmware/domain/limits.ts'
import type { InstanceRow, Receipt } from '../../firmware/domain/spool.ts'
import { FIRMWARE } from '../faults/processes.ts'
import { dicomFiles, startPair, type Pair, type Side } from '../pair.ts'
import { part10, type Part10 } from '../peers/dataset.ts'
import { storescp, type Storescp } from '../peers/dcmtk.ts'
import { orthanc, type Orthanc } from '../peers/orthanc.ts'
import { finish, until } from '../peers/process.ts'

/** The hub's destinations. */
export const ENDS = ['folder', 'storescp', 'orthanc'] as const
export type End = (typeof ENDS)[number]

/** How a data set got to one end. */
export type Arrival =
  | { readonly kind: 'identical' }
  /** Not the bytes of the file, but exactly what this peer makes of the file when it is sent there directly. */
  | { readonly kind: 'rewritten' }
  /** The hub holds it for a person, or keeps on trying. `alone`: the peer refuses it from our sender too. */
  | { readonly kind: 'held' | 'waiting'; readonly why: string; readonly alone: boolean }
  | { readonly kind: 'lost' }

export interface Fate {
  readonly path: string
  readonly name: string
  /** Why our sender passed it over: it never left. */
  readonly passedOver?: string
  /** What the box answered, where that was not Success. */
  readonly refused?: string
  readonly arrivals: Readonly<Partial<Record<End, Arrival>>>
  /** Box and hub have this very data set, by its SHA-256, in their receipts or their rows. */
  readonly digests: { readonly box: boolean; readonly hub: boolean }
}

/** The peers at the far end of the pair, and the same ones with nothing of ours in front of them. */
interface Room {
  readonly pair: Pair
  readonly scp: Storescp
  readonly pacs: Orthanc
  readonly aloneScp: Storescp
  readonly alonePacs: Orthanc
}

/** What our sender said of the files of one call. */
interface Sending {
  readonly sent: ReadonlyMap<string, Sent>
  readonly passedOver: ReadonlyMap<string, string>
}

/** @param paths any files; about 25 s for the 220 of the corpus. */
export async function fidelity(paths: readonly string[]): Promise<Fate[]> {
  const room = await open()
  try {
    return await follow(room, paths)
  } finally {
    const { pair, scp, pacs, aloneScp, alonePacs } = room
    await Promise.all([pair.stop(), scp.stop(), pacs.stop(), aloneScp.stop(), alonePacs.stop()])
  }
}

async function open(): Promise<Room> {
  // Some files are one image in several syntaxes: +uf keeps them apart.
  const unique = { options: ['+uf'], noDelay: true }
  // A data set that ends too early keeps DCMTK waiting for the rest, in Orthanc for 30 s as a rule.
  const impatient = { noDelay: true, settings: { DicomScpTimeout: 4 } }
  const [scp, aloneScp, pacs, alonePacs] = await Promise.all([storescp(unique), storescp(unique), orthanc(impatient), orthanc(impatient)])
  const pair = await startPair({ idle: true })
  pair.hub.configure({
    destinations: [
      { name: 'folder', kind: 'folder', path: 'delivered' },
      { name: 'storescp', kind: 'dicom', host: '127.0.0.1', port: scp.port, calledAe: 'STORESCP' },
      { name: 'orthanc', kind: 'dicom', host: '127.0.0.1', port: pacs.port, calledAe: pacs.aet },
    ],
    routes: [{ to: [...ENDS] }],
  })
  await Promise.all([pair.box.start(), pair.hub.start()])
  return { pair, scp, pacs, aloneScp, alonePacs }
}

/** What `sallyport send --json` does with files or folders. */
export async function send(port: number, paths: readonly string[], called = 'SALLYPORT', host = '127.0.0.1'): Promise<Sending> {
  if (paths.length === 0) return { sent: new Map(), passedOver: new Map() }
  const { output } = await finish(process.execPath, [FIRMWARE, 'send', '--json', '--called', called, '--to', `${host}:${port}`, ...paths])
  const sent = new Map<string, Sent>()
  const passedOver = new Map<string, string>()
  for (const line of output.split('\n')) {
    const over = /^passed over (.*?): (.*)$/.exec(line)
    if (over) passedOver.set(over[1] ?? '', over[2] ?? '')
    else if (line.startsWith('{')) {
      const one = JSON.parse(line) as Sent
      sent.set(one.file, one)
    }
  }
  return { sent, passedOver }
}

/** What an end holds, by SOP Instance UID. */
type Held = Map<string, Part10[]>

function keep(held: Held, files: readonly Buffer[]): void {
  for (const file of files) {
    const object = part10(file)
    held.set(object.sopInstance, [...(held.get(object.sopInstance) ?? []), object])
  }
}

async function follow({ pair, scp, pacs, aloneScp, alonePacs }: Room, paths: readonly string[]): Promise<Fate[]> {
  const held = { folder: new Map() as Held, storescp: new Map() as Held, orthanc: new Map() as Held }
  const alone = { folder: new Map() as Held, storescp: new Map() as Held, orthanc: new Map() as Held }
  const [sent, said] = [[] as Sending[], [] as Sending[]]
  for (const round of await rounds(paths)) {
    const sending = await send(pair.ports.box, round)
    sent.push(sending)
    await settled(pair.box)
    await settled(pair.hub)
    keep(held.orthanc, await takeOut(pacs))
    said.push(await send(alonePacs.port, unequal(sending, held.orthanc), alonePacs.aet))
    keep(alone.orthanc, await takeOut(alonePacs))
  }
  keep(held.folder, dicomFiles(`${pair.hub.folder}/delivered`).map((path) => readFileSync(path)))
  keep(held.storescp, scp.files().map((path) => readFileSync(path)))
  const box = together(sent)
  const answers = { folder: undefined, storescp: await send(aloneScp.port, unequal(box, held.storescp), 'STORESCP'), orthanc: together(said) }
  keep(alone.storescp, aloneScp.files().map((path) => readFileSync(path)))
  const [boxHas, hubHas, rows] = [await digestsAt(pair.box), await digestsAt(pair.hub), await pair.hub.queue()]

  return paths.map((path): Fate => {
    const name = basename(path)
    const answer = box.sent.get(path)
    if (answer === undefined) return { path, name, passedOver: box.passedOver.get(path) ?? 'not mentioned', arrivals: {}, digests: { box: false, hub: false } }
    const original = originalOf(answer)
    const digest = createHash('sha256').update(original.dataSet).digest('hex')
    const digests = { box: boxHas.has(digest), hub: hubHas.has(digest) }
    if (!answer.ok) return { path, name, refused: answer.text, arrivals: {}, digests }
    const row = rows.find((one) => one.digest === digest && one.sopInstance === answer.sopInstance)
    const arrivals = ENDS.map((end) => [end, arrival(original, row, { end, held: held[end], alone: alone[end], said: answers[end]?.sent.get(path) })] as const)
    return { path, name, arrivals: Object.fromEntries(arrivals), digests }
  })
}

/** The file as the tests' own reader has it; its sender named the instance as the data set does. */
const originalOf = ({ file, sopInstance }: Sent): Part10 => ({ ...part10(readFileSync(file)), sopInstance })

const isIn = (held: Held, original: Part10): boolean =>
  (held.get(original.sopInstance) ?? []).some(({ transferSyntax, dataSet }) => transferSyntax === original.transferSyntax && dataSet.equals(original.dataSet))

/** What an end took, or should have taken, and does not hold byte for byte. */
const unequal = ({ sent }: Sending, held: Held): string[] =>
  [...sent.values()].filter((one) => one.ok && !isIn(held, originalOf(one))).map(({ file }) => file)

interface Found {
  readonly end: End
  readonly held: Held
  readonly alone: Held
  /** What the same peer said to our sender. */
  readonly said: Sent | undefined
}

function arrival(original: Part10, row: InstanceRow | undefined, { end, held, alone, said }: Found): Arrival {
  if (isIn(held, original)) return { kind: 'identical' }
  const delivery = row?.deliveries.find(({ destination }) => destination === end)
  if (delivery !== undefined) {
    const why = delivery.detail ?? delivery.code ?? ''
    return { kind: delivery.state === 'held' ? 'held' : 'waiting', why, alone: said?.ok === false }
  }
  const [there, own] = [held.get(original.sopInstance) ?? [], alone.get(original.sopInstance) ?? []]
  return { kind: there.some(({ dataSet }) => own.some((one) => one.dataSet.equals(dataSet))) ? 'rewritten' : 'lost' }
}

/** Orthanc keeps one version of a UID: each round holds a UID once. */
async function rounds(paths: readonly string[]): Promise<string[][]> {
  const all: string[][] = []
  const seen = new Map<string, number>()
  for (const path of paths) {
    const object = await readPart10(path, LIMITS)
    const uid = object.kind === 'object' ? object.sopInstance : path
    const round = seen.get(uid) ?? 0
    seen.set(uid, round + 1)
    ;(all[round] ??= []).push(path)
  }
  return all
}

const together = (all: readonly Sending[]): Sending => ({
  sent: new Map(all.flatMap(({ sent }) => [...sent])),
  passedOver: new Map(all.flatMap(({ passedOver }) => [...passedOver])),
})

/** Takes every instance out of an Orthanc, as it keeps them. */
async function takeOut(pacs: Orthanc): Promise<Buffer[]> {
  const ids = await pacs.instances()
  const files: Buffer[] = []
  // Eight at a time: Orthanc turns more away.
  for (let at = 0; at < ids.length; at += 8) files.push(...(await Promise.all(ids.slice(at, at + 8).map((id) => pacs.file(id)))))
  await pacs.rest('/tools/bulk-delete', { method: 'POST', body: JSON.stringify({ Resources: ids }) })
  return files
}

const PENDING = new Set<string>(['queued', 'forwarding'])

/** What still waits, or is on its way once more, was refused before. */
const settled = (side: Side) =>
  until(`${side.role} to have tried everything`, async () => {
    const rows = await side.queue()
    return rows.every(({ deliveries }) => deliveries.every(({ state, attempts, code }) => !PENDING.has(state) || (attempts >= 1 && code !== undefined)))
  }, 90_000)

/** Of everything a side has or had. */
async function digestsAt(side: Side): Promise<Set<string>> {
  const seen: readonly (Receipt | InstanceRow)[] = [...(await side.receipts()), ...(await side.queue())]
  return new Set(seen.map(({ digest }) => digest))
}
