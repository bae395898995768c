/**
 * A dispatch that sleeps while something is due: the questions it asks and the news it gets cross
 * each other on the way, and none of them may be lost.
 */
import t from 'tap'
import type { Lease, Outcome } from '../../firmware/domain/spool.ts'
import { Dispatch } from '../../firmware/forward/dispatch.ts'
import type { Carrier, ObjectSource, Outlet } from '../../firmware/forward/outlet.ts'
import { until } from '../peers/process.ts'

const lease = { id: 'one', destination: 'far', attempts: 0, facts: { id: 'one', sopClass: '1', transferSyntax: '2' } } as Lease
const source = { facts: lease.facts, close: () => Promise.resolve(), async *[Symbol.asyncIterator]() {} } as ObjectSource

type Answer = Awaited<ReturnType<Outlet['lease']>>
const NONE: Answer = { leases: [], waiting: 0, nextDue: 0 }
const ONE: Answer = { leases: [lease], waiting: 1, nextDue: 0 }

/** @param asked what the queue says, each time it is asked @param outcomes of the sends, in order */
function dispatchOf(asked: () => Promise<Answer>, outcomes: Outcome[]) {
  const settled: string[] = []
  const carrier: Carrier = {
    fits: () => 'yes', alive: true, lastSendMillis: 1, lastWaitMillis: 1,
    send: () => Promise.resolve(outcomes.shift() ?? { event: 'stored' }),
    close: () => Promise.resolve(),
  }
  const dispatch = new Dispatch({
    outlet: { lease: asked, settle: (_lease, { event }) => settled.push(event), waiting: () => Promise.resolve([]), hold: () => {} },
    transport: { roundTripMillis: 0, open: () => Promise.resolve(carrier) },
    open: () => Promise.resolve(source),
    most: 1, holdMillis: 60_000, random: () => 0.05, now: Date.now, reached: () => {}, failed: () => {},
  })
  t.teardown(() => dispatch.close())
  return { dispatch, settled }
}

t.test('an image that comes while the queue is being asked', async (t) => {
  const answers: ((answer: Answer) => void)[] = []
  const { dispatch, settled } = dispatchOf(() => new Promise((resolve) => answers.push(resolve)), [])
  dispatch.setUp(true)
  // It was not there yet when the queue was read, and its news overtake the answer.
  dispatch.wake()
  answers.shift()?.(NONE)
  await until('the queue to be asked again', () => answers.length > 0, 2_000)
  answers.shift()?.(ONE)
  await until('it to be sent', () => settled.length > 0, 2_000)
  t.same(settled, ['stored'])
  for (const answer of answers) answer(NONE)
})

t.test('an image that is refused, and the queue is asked before that is written', async (t) => {
  const answers = [ONE, NONE]
  const left = [lease]
  let due = Infinity
  const ask = (): Promise<Answer> => {
    const answer = answers.shift()
    if (answer) return Promise.resolve(answer)
    due = Math.min(due, Date.now() + 20)
    if (Date.now() < due) return Promise.resolve({ ...NONE, nextDue: due })
    const given = left.splice(0)
    return Promise.resolve({ ...NONE, leases: given })
  }
  const { dispatch, settled } = dispatchOf(ask, [{ event: 'refused', code: 'FOLDER_FAILED' }])
  dispatch.setUp(true)
  await until('it to be sent again', () => settled.length > 1, 3_000)
  t.same(settled.slice(0, 2), ['refused', 'stored'])
})
