/**
 * A hub that is away while images keep coming: how a box with a long queue starts, receives,
 * answers questions and empties itself. The queue is filled over the wire, by senders of tiny
 * images, so that every one of them was received, written and acknowledged like any other.
 */
import { connect } from 'node:net'
import { syntheticSeries, type SyntheticDataSet } from '../../firmware/cli/synthetic.ts'
import { associate, type Association } from '../../firmware/dicom/requestor.ts'
import { LIMITS } from '../../firmware/domain/limits.ts'
import type { Status } from '../../firmware/supervisor/status.ts'
import { startPair, type Pair, type Side } from '../pair.ts'
import { until } from '../peers/process.ts'

export interface BacklogOptions {
  readonly instances: number
  /** Comparisons with an empty box, interleaved. */
  readonly rounds: number
  readonly say: (line: string) => void
}

export interface BacklogReport {
  readonly queued: number
  /** Of the supervisor after a kill of everything, until it is ready. */
  readonly readyMillis: number
  /** Images per second, in pairs of one round each. */
  readonly rates: readonly { readonly full: number; readonly empty: number }[]
  readonly statusMillis: number
  readonly listMillis: number
  readonly listed: number
  /** Highest resident set of any process of the box, MiB. */
  readonly peakMib: number
  /** Studies in the order in which their first image arrived at the box, and at the hub. */
  readonly arrived: readonly string[]
  readonly left: readonly string[]
  readonly delivered: number
  readonly summary: string
}

const SENDERS = 8
/** Pixels of 16 × 16: about 1.5 KB with all attributes. */
const SIZE = 16
const OF_STUDY = 50
const OF_ROUND = 800
/** The hub is back: so many must have left before the order is looked at. */
const SAMPLE = 600
const TIMES = { progressMillis: 60_000, answerMillis: 60_000 }

async function open(port: number, callingAe: string, { sopClass, transferSyntax }: SyntheticDataSet): Promise<Association> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true })
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject))
  return associate(socket, { calledAe: 'SALLYPORT', callingAe, contexts: [{ abstractSyntax: sopClass, transferSyntaxes: [transferSyntax] }] }, LIMITS)
}

/** Sends `count` images over `SENDERS` associations, a study after the other on each. @returns images a second, none refused */
async function send(port: number, count: number): Promise<number> {
  let left = count
  const began = performance.now()
  const one = async (n: number): Promise<void> => {
    let association: Association | undefined
    while (left > 0) {
      const take = Math.min(left, OF_STUDY)
      left -= take
      for (const image of syntheticSeries(take, SIZE)) {
        association ??= await open(port, `MODALITY${n}`, image)
        const contextId = association.contexts[0]?.id ?? 0
        const { status } = await association.store({ contextId, sopClass: image.sopClass, sopInstance: image.sopInstance }, [image.bytes], TIMES)
        if (status !== 0) throw new Error(`answered ${status.toString(16)}`)
      }
    }
    await association?.release()
  }
  await Promise.all(Array.from({ length: SENDERS }, (_, n) => one(n)))
  return Math.round(count / ((performance.now() - began) / 1000))
}

const timed = async <T>(work: () => Promise<T>): Promise<[T, number]> => {
  const began = performance.now()
  const result = await work()
  return [result, Math.round(performance.now() - began)]
}
const peakOf = (side: Side): number => Math.round(Math.max(...side.tree.members().map(({ peakKiB }) => peakKiB)) / 1024)
const queuedOf = ({ destinations }: Status): number => destinations.reduce((sum, one) => sum + one.queued + one.forwarding, 0)
const middle = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0

export async function runBacklog(options: BacklogOptions): Promise<BacklogReport> {
  const pair = await startPair({ idle: true })
  // Alike in everything but the queue; its hub is away, too.
  const other = await startPair({ idle: true })
  try {
    return await measure(pair, other, options)
  } finally {
    await Promise.all([pair.stop(), other.stop()])
  }
}

async function measure(pair: Pair, other: Pair, { instances, rounds, say }: BacklogOptions): Promise<BacklogReport> {
  const { box, hub, ports } = pair
  await box.start()
  const filling = await send(ports.box, instances)
  say(`${instances} images received at ${filling}/s`)
  let peakMib = peakOf(box)
  await box.tree.killAll()
  await box.stop()
  const [, readyMillis] = await timed(() => box.start())
  say(`ready ${readyMillis} ms after everything was killed`)
  const queued = queuedOf(await box.status())
  await other.box.start()
  // Both are warm: neither meets its first image in a round.
  for (const port of [ports.box, other.ports.box]) await send(port, OF_ROUND)
  const rates: { full: number; empty: number }[] = []
  for (let round = 0; round < rounds; round++) {
    const rate = { full: 0, empty: 0 }
    const turns = [['full', ports.box], ['empty', other.ports.box]] as const
    // Taking turns at who is first: what else the machine does favours neither.
    for (const [which, port] of round % 2 === 0 ? turns : turns.toReversed()) rate[which] = await send(port, OF_ROUND)
    rates.push(rate)
    say(`round ${round + 1}: ${rate.full}/s behind the queue, ${rate.empty}/s into an empty spool`)
  }
  // While it receives, as a person looks when something is wrong.
  const receiving = send(ports.box, OF_ROUND)
  const [, statusMillis] = await timed(() => box.cli('status'))
  const [rows, listMillis] = await timed(() => box.cli('queue', 'list', '--limit', '1000', '--json'))
  await receiving
  const listed = rows.output.split('\n').filter((line) => line.startsWith('{"')).length
  say(`status ${statusMillis} ms, queue list of ${listed} ${listMillis} ms, both as commands and while receiving`)
  const first = (await box.queue()).sort((a, b) => (a.id < b.id ? -1 : 1))
  const arrived = [...new Set(first.map(({ study }) => study))]
  await hub.start()
  const delivered = await until('a sample to leave', async () => {
    const { delivered: count } = await box.destination('hub')
    return count >= SAMPLE && count
  }, 120_000)
  const receipts = (await box.receipts()).sort((a, b) => a.endedAt - b.endedAt)
  const left = [...new Set(receipts.map(({ study }) => study))]
  peakMib = Math.max(peakMib, peakOf(box))
  const ratio = middle(rates.map((rate) => rate.full / rate.empty))
  return {
    queued, readyMillis, rates, statusMillis, listMillis, listed, peakMib, arrived, left, delivered,
    summary: `${queued} queued: ready in ${readyMillis} ms; receiving at ${Math.round(100 * ratio)} % of an empty spool's rate (median of ${rounds}); highest resident set ${peakMib} MiB`,
  }
}
