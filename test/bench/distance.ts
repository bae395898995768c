/**
 * A round trip of 40 ms: as many associations as the box finds to pay, against one, and storescu
 * alone and four at once beside it. From the first association at the far side to the last answer.
 */
import { storescu } from './sender.ts'
import { descendants, until } from '../peers/process.ts'
import type { Bench, Part } from './bench.ts'
import { delayLine } from './delay-line.ts'
import { ratio } from './ratio.ts'
import { interleave, type Runner } from './sample.ts'
import { sink, type Sink } from './sink.ts'
import { meter } from './usage.ts'

const ROUND_TRIP_MILLIS = 40

export async function distance(bench: Bench): Promise<Part> {
  const { rounds, farInstances: instances } = bench.load
  const line = await delayLine(ROUND_TRIP_MILLIS)
  bench.later(() => line.close())
  const far = async (): Promise<Sink> => {
    const there = await sink({ identity: bench.sink, ca: bench.ca, ...line.listens })
    await line.up()
    return { ...there, stop: async (grace) => (await line.down(), there.stop(grace)) }
  }
  const { host, port } = line

  const ours = async (name: string, associations: number): Promise<Runner> => {
    const { side, port: lan } = await bench.makeBox({ host, port, associations })
    return {
      name,
      ours: true,
      run: async () => {
        const series = bench.fresh(instances)
        // Started anew each time: what it measured of the line the last time is forgotten.
        const { pid } = await side.start()
        await storescu({ port: lan }, series.files, { noDelay: true })
        const use = meter(() => [pid, ...descendants(pid)])
        const there = await far()
        try {
          await there.arrived(instances)
          await until('the queue to be empty', async () => (await side.status()).spool.instances === 0)
          const answered = (await side.receipts()).map(({ endedAt }) => endedAt)
          const seconds = (Math.max(...answered) - (there.associations()[0] ?? NaN)) / 1000
          return { seconds, instances, bytes: instances * series.bytesEach, ...use.stop() }
        } finally {
          await there.stop()
          await side.stop()
        }
      },
    }
  }
  const peer = (lanes: number): Runner => ({
    name: `storescu +tls × ${lanes}, TCP_NODELAY=1`,
    run: async () => {
      const series = bench.fresh(instances)
      const there = await far()
      try {
        const { ended, usage } = await storescu({ host, port, aet: 'SINK' }, series.files, { noDelay: true, lanes, tls: { identity: bench.box, ca: bench.ca.cert } })
        const seconds = (ended - (there.associations()[0] ?? NaN)) / 1000
        return { seconds, instances, bytes: instances * series.bytesEach, ...usage }
      } finally {
        await there.stop()
      }
    },
  })
  const [auto, one] = [await ours('Sallyport, associations found by itself', 8), await ours('Sallyport, one association', 1)]
  const job = {
    title: `${ROUND_TRIP_MILLIS} ms round trip: ${instances} CT over TLS to storescp +tls --ignore`,
    measured: await interleave(rounds, [auto, one, peer(1), peer(4)], bench.settle),
  }
  return {
    jobs: [job],
    ratios: [
      ratio('40 ms round trip: automatic against one association', job, one.name, 'speed', { atLeast: 4 }, auto.name),
      ratio('40 ms round trip: automatic against one storescu', job, peer(1).name, 'speed', undefined, auto.name),
      ratio('40 ms round trip: automatic against four storescu', job, peer(4).name, 'speed', undefined, auto.name),
    ],
    notes: [line.sentence],
  }
}
