/**
 * Store and forward: plain DICOM in, TLS out, both at the same time. Our box against Orthanc with
 * automatic routing in Lua; from the association asked for to the last image at the sink.
 */
import { orthanc } from '../peers/orthanc.ts'
import { descendants, until } from '../peers/process.ts'
import type { Bench, Part } from './bench.ts'
import { ratio } from './ratio.ts'
import { interleave, type Runner } from './sample.ts'
import { storescu } from './sender.ts'
import { sink, type Sink } from './sink.ts'
import { meter } from './usage.ts'

export async function relay(bench: Bench): Promise<Part> {
  const { rounds, instances } = bench.load
  const farSide = async (): Promise<Sink> => {
    const far = await sink({ identity: bench.sink, ca: bench.ca })
    bench.later(() => far.stop())
    return far
  }
  const runner = (name: string, ours: boolean, pid: number, port: number, far: Sink, idle: () => Promise<boolean>): Runner => ({
    name,
    ours,
    run: async () => {
      const series = bench.fresh(instances)
      const before = far.began().length
      const use = meter(() => [pid, ...descendants(pid)])
      const { began } = await storescu({ port }, series.files, { noDelay: true })
      await far.arrived(before + instances)
      const ended = far.began().at(-1) ?? NaN
      // What is left to be settled belongs to the work.
      await until(`${name} to be idle`, idle)
      return { seconds: (ended - began) / 1000, instances, bytes: instances * series.bytesEach, ...use.stop() }
    },
  })

  const far = await farSide()
  const { side, port } = await bench.makeBox({ port: far.port })
  const tree = await side.start()
  const ours = runner('Sallyport box', true, tree.pid, port, far, async () => (await side.status()).spool.instances === 0)

  const orthancs = async (noDelay: boolean): Promise<Runner> => {
    const its = await farSide()
    const peer = await orthanc({
      noDelay,
      modalities: { far: { aet: 'SINK', port: its.port, tls: true } },
      autoRoute: ['far'],
      tls: { identity: bench.box, ca: bench.ca.cert },
    })
    bench.later(() => peer.stop())
    const idle = async () => {
      const { CountRunning = 0, CountPending = 0 } = await statistics(peer)
      return CountRunning + CountPending === 0
    }
    return runner(`Orthanc, Lua routing, ${noDelay ? 'TCP_NODELAY=1' : 'stock'}`, false, peer.pid, peer.port, its, idle)
  }
  const [fast, stock] = [await orthancs(true), await orthancs(false)]
  for (const one of [ours, fast]) await one.run()
  const title = `Store and forward: ${instances} CT from storescu (TCP_NODELAY=1), plain in, TLS out`
  const job = { title, measured: await interleave(rounds, [ours, fast, stock], bench.settle) }
  return {
    jobs: [job],
    ratios: [
      ratio('store and forward: wall speed against Orthanc', job, fast.name, 'rate', { atLeast: 2.5 }),
      ratio('store and forward: CPU against Orthanc', job, fast.name, 'cpu', { atMost: 0.33 }),
      ratio('store and forward: wall speed against stock Orthanc', job, stock.name, 'rate'),
    ],
    notes: ['CPU and memory are the relay\'s, spool encryption and digests included. The sinks: storescp +tls --ignore, TCP_NODELAY=1.'],
  }
}

async function statistics(peer: { rest(path: string): Promise<Buffer> }): Promise<{ CountRunning?: number; CountPending?: number }> {
  const jobs = JSON.parse((await peer.rest('/jobs?expand')).toString()) as { State: string }[]
  const count = (state: string) => jobs.filter((job) => job.State === state).length
  return { CountRunning: count('Running'), CountPending: count('Pending') }
}
