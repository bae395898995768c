/**
 * TLS send on one association: the forward worker from its encrypted spool, which it decrypts,
 * verifies and settles, against storescu from plain files, to the same kind of sink. Both are
 * timed there: from the first image's beginning to the last one's.
 */
import { descendants, freePort, until } from '../peers/process.ts'
import type { Bench, Part } from './bench.ts'
import { ratio } from './ratio.ts'
import { interleave, type Runner, type Sample } from './sample.ts'
import { storescu } from './sender.ts'
import { sink, type Sink } from './sink.ts'
import { meter } from './usage.ts'

/** Time and bytes between the first beginning and the last: one image less than was sent. */
export function spanOf(far: Sink, bytesEach: number): Pick<Sample, 'seconds' | 'instances' | 'bytes'> {
  const began = far.began()
  const [first = NaN, last = NaN] = [began[0], began.at(-1)]
  return { seconds: (last - first) / 1000, instances: began.length, bytes: (began.length - 1) * bytesEach }
}

export async function send(bench: Bench): Promise<Part> {
  const { rounds, instances, slowInstances } = bench.load
  const port = await freePort()
  const { side, port: lan } = await bench.makeBox({ port, associations: 1 })
  const tree = await side.start()

  const ours: Runner = {
    name: 'Sallyport forward worker',
    ours: true,
    run: async () => {
      // Nobody listens on the sink's port: what comes in waits.
      const series = bench.fresh(instances)
      await storescu({ port: lan }, series.files, { noDelay: true })
      await bench.settle()
      const use = meter(() => [tree.pid, ...descendants(tree.pid)])
      const far = await sink({ identity: bench.sink, ca: bench.ca, port })
      try {
        await far.arrived(instances)
        const span = spanOf(far, series.bytesEach)
        await until('the queue to be empty', async () => (await side.status()).spool.instances === 0)
        return { ...span, ...use.stop() }
      } finally {
        await far.stop()
      }
    },
  }
  const peer = (noDelay: boolean, count: number): Runner => ({
    name: `storescu +tls, ${noDelay ? 'TCP_NODELAY=1' : 'stock'}`,
    run: async () => {
      const series = bench.fresh(count)
      const far = await sink({ identity: bench.sink, ca: bench.ca })
      try {
        const { usage } = await storescu({ port: far.port, aet: 'SINK' }, series.files, { noDelay, tls: { identity: bench.box, ca: bench.ca.cert } })
        await far.arrived(count)
        return { ...spanOf(far, series.bytesEach), ...usage }
      } finally {
        await far.stop()
      }
    },
  })
  const peers = [peer(true, instances), peer(false, slowInstances)] as const
  await ours.run()
  const job = {
    title: `TLS send on one association, ${instances} CT to storescp +tls --ignore (TCP_NODELAY=1)`,
    measured: await interleave(rounds, [ours, ...peers], bench.settle),
  }
  return {
    jobs: [job],
    ratios: [
      ratio('TLS send on one association: MB/s against storescu', job, peers[0].name, 'rate', { atLeast: 0.9 }),
      ratio('TLS send on one association: CPU against storescu', job, peers[0].name, 'cpu'),
    ],
    notes: [`Ours opens, decrypts and verifies each object and writes a receipt; storescu reads plain files. Stock storescu: ${slowInstances} CT.`],
  }
}
