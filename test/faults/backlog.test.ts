/**
 * A long queue: nothing of it is lost in a crash, the box works on beside it, and it leaves in
 * order. 20,000 images here; `npm run backlog` does 100,000. Figures are told, not judged.
 */
import t from 'tap'
import { runBacklog } from './backlog.ts'

const INSTANCES = 20_000
const MOST_MIB = 160
/** Generous: the aim, 5 s for 100,000, is for a machine with nothing else to do. */
const READY_MILLIS = 20_000

t.test('twenty thousand wait for a hub that is away', async (t) => {
  const report = await runBacklog({ instances: INSTANCES, rounds: 4, say: (line) => t.comment(line) })
  t.equal(report.queued, INSTANCES, 'every acknowledged one is there after the kill')
  t.ok(report.readyMillis < READY_MILLIS, `ready in ${report.readyMillis} ms`)
  t.equal(report.listed, 1000, 'a full page, while images come in')
  t.ok(report.peakMib <= MOST_MIB, `${report.peakMib} MiB`)
  // Several associations carry it, so a study or two may overtake at the seam.
  const places = report.left.map((study) => report.arrived.indexOf(study)).filter((place) => place >= 0)
  t.ok(places.length >= 5, `${places.length} studies left`)
  for (const [n, place] of places.entries()) t.ok(Math.abs(place - n) <= SEAM, `study ${place} left as number ${n}`)
  t.comment(report.summary)
})

/** Senders at once: their first studies arrive in one instant. */
const SEAM = 8
