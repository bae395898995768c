/**
 * The benchmark itself: it runs to its end beside its peers and prints what it found. Nothing is
 * said of how fast anything was: this machine may be doing anything else at the same time.
 */
import { join } from 'node:path'
import t from 'tap'
import { finish } from '../peers/process.ts'

const RUN = join(import.meta.dirname, 'run.ts')
const MILLIS = 240_000
t.setTimeout(3 * MILLIS)

interface Result {
  readonly parts: Record<string, { jobs: { title: string; measured: { name: string; samples: { seconds: number; instances: number }[] }[] }[] }>
  readonly floors: { name: string; values: { median: number } }[]
  readonly ratios: { what: string; value: number }[]
}

t.test('a quick run measures every side of every part', { timeout: 2 * MILLIS }, async (t) => {
  const { status, output } = await finish(process.execPath, [RUN, '--quick', '--json'], { millis: MILLIS })
  t.equal(status, 0, status === 0 ? 'it ends well' : output.slice(-3000))
  const result = JSON.parse(output.slice(output.indexOf('{'))) as Result
  t.strictSame(Object.keys(result.parts), ['receive', 'send', 'relay', 'distance'])
  for (const { jobs } of Object.values(result.parts)) {
    for (const { title, measured } of jobs) {
      for (const { name, samples } of measured) {
        t.ok(samples.length > 0 && samples.every(({ seconds, instances }) => seconds > 0 && instances > 0), `${title}: ${name}`)
      }
    }
  }
  t.ok(result.floors.length > 0 && result.floors.every(({ values }) => values.median > 0), 'the floor')
  // CPU time is counted in ticks of 10 ms: so few images may need none.
  const ratios = result.ratios.filter(({ what }) => !what.includes('CPU'))
  t.ok(ratios.length > 0 && ratios.every(({ value }) => value > 0), 'every ratio has both of its sides')
})

t.test('one part alone prints a table', { timeout: 2 * MILLIS }, async (t) => {
  const { status, output } = await finish(process.execPath, [RUN, '--quick', '--only', 'send'], { millis: MILLIS })
  t.equal(status, 0, status === 0 ? 'it ends well' : output.slice(-3000))
  t.match(output, /Sallyport forward worker +\d/)
  t.match(output, /Ratios of medians/)
})

t.test('a part that does not exist is a wrong call', async (t) => {
  const { status, output } = await finish(process.execPath, [RUN, '--only', 'everything'])
  t.equal(status, 2)
  t.match(output, /there is no part everything/)
})
