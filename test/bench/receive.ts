/**
 * Durable receive: images come in over plain DICOM and are answered. Our box and Orthanc answer
 * when the image is on stable storage; storescp writes to the page cache and says so.
 */
import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { storescp } from '../peers/dcmtk.ts'
import { orthanc } from '../peers/orthanc.ts'
import { descendants, freePort } from '../peers/process.ts'
import type { Bench, Job, Part } from './bench.ts'
import { ratio } from './ratio.ts'
import { interleave, type Runner, type Sample } from './sample.ts'
import { sallyportSend, storescu, type Sending } from './sender.ts'
import { meter } from './usage.ts'

interface Receiver {
  readonly name: string
  readonly ours?: boolean
  readonly port: number
  readonly pid: number
  /** Forgets what it stored, where it keeps it for ever. */
  clear(): void
}

/** The destination is a port nobody listens on: everything stays in the spool. */
async function ourBox(bench: Bench): Promise<Receiver> {
  const { side, port } = await bench.makeBox({ port: await freePort() })
  const tree = await side.start()
  return { name: 'Sallyport box', ours: true, port, pid: tree.pid, clear: () => {} }
}

async function orthancs(bench: Bench, noDelay: boolean): Promise<Receiver> {
  const peer = await orthanc({ noDelay })
  bench.later(() => peer.stop())
  return { name: 'Orthanc', port: peer.port, pid: peer.pid, clear: () => {} }
}

async function storescps(bench: Bench, noDelay: boolean): Promise<Receiver> {
  const peer = await storescp({ noDelay, fork: true, options: ['--max-pdu', '131072'] })
  bench.later(() => peer.stop())
  const clear = () => {
    for (const name of readdirSync(peer.folder)) rmSync(join(peer.folder, name), { force: true })
  }
  return { name: 'storescp +B, no fsync', port: peer.port, pid: peer.pid, clear }
}

type Send = (receiver: Receiver) => Promise<{ sending: Sending; instances: number; bytes: number }>

function runner(receiver: Receiver, send: Send): Runner {
  return {
    name: receiver.name,
    ours: receiver.ours ?? false,
    run: async (): Promise<Sample> => {
      receiver.clear()
      const use = meter(() => [receiver.pid, ...descendants(receiver.pid)])
      const { sending, instances, bytes } = await send(receiver)
      return { seconds: (sending.ended - sending.began) / 1000, instances, bytes, ...use.stop() }
    },
  }
}

export async function receive(bench: Bench): Promise<Part> {
  const { rounds, instances, slowInstances } = bench.load
  const ours = await ourBox(bench)
  const fast = [ours, await orthancs(bench, true), await storescps(bench, true)]
  const stock = [ours, await orthancs(bench, false), await storescps(bench, false)]

  const scu = (count: number, noDelay: boolean, lanes: number): Send => async ({ port }) => {
    const series = bench.fresh(count)
    return { sending: await storescu({ port }, series.files, { noDelay, lanes }), instances: count, bytes: count * series.bytesEach }
  }
  const own: Send = async ({ port }) => {
    const series = bench.fresh(instances)
    return { sending: await sallyportSend({ port }, series.folder, instances), instances, bytes: instances * series.bytesEach }
  }
  const job = async (title: string, receivers: readonly Receiver[], send: Send, times = rounds): Promise<Job> => ({
    title,
    measured: await interleave(times, receivers.map((receiver) => runner(receiver, send)), bench.settle),
  })

  for (const receiver of [...fast, ...stock]) await scu(Math.min(instances, 100), true, 1)(receiver)
  const one = await job(`Durable receive: ${instances} CT from storescu, TCP_NODELAY=1 everywhere`, fast, scu(instances, true, 1))
  const four = await job(`Durable receive: ${instances} CT from four storescu at once, TCP_NODELAY=1 everywhere`, fast, scu(instances, true, 4))
  const send = await job(`Durable receive: ${instances} CT from \`sallyport send\`, peers with TCP_NODELAY=1`, fast, own)
  const nagle = await job(`Durable receive: ${slowInstances} CT from a stock storescu, all peers stock (Nagle)`, stock, scu(slowInstances, false, 1), Math.min(rounds, 3))
  const least = { atLeast: 2 }
  return {
    jobs: [one, four, send, nagle],
    ratios: [
      ratio('durable receive, one association: MB/s against Orthanc', one, 'Orthanc', 'rate', least),
      ratio('durable receive, four associations: MB/s against Orthanc', four, 'Orthanc', 'rate', least),
      ratio('durable receive, our sender: MB/s against Orthanc', send, 'Orthanc', 'rate', least),
      ratio('durable receive, stock sender: MB/s against Orthanc', nagle, 'Orthanc', 'rate', least),
      ratio('durable receive, one association: CPU against Orthanc', one, 'Orthanc', 'cpu'),
      ratio('durable receive, one association: MB/s against storescp, which does not sync', one, 'storescp +B, no fsync', 'rate'),
    ],
    notes: ['CPU and memory are the receiver\'s.'],
  }
}
