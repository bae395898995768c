/**
 * How many associations, and how long to wait: two pure functions and their laws.
 */
import fc from 'fast-check'
import t from 'tap'
import { ERRORS, type ErrorCode } from '../../firmware/domain/errors.ts'
import { LIMITS } from '../../firmware/domain/limits.ts'
import { backoffMillis } from '../../firmware/forward/backoff.ts'
import { Blame } from '../../firmware/forward/blame.ts'
import { associationsWanted, meanOf, type PaceInput } from '../../firmware/forward/pacing.ts'

const some = (input: Partial<PaceInput>): number =>
  associationsWanted({ waiting: 1000, most: 8, admitted: Infinity, roundTripMillis: 0, sendMillis: 0, waitMillis: 0, ...input })

t.test('associations: one on a short line, as many as fill a long one, never more than allowed or of use', async (t) => {
  t.equal(some({ waiting: 0 }), 0)
  t.equal(some({ waiting: 1, roundTripMillis: 500 }), 1, 'one image needs one')
  t.equal(some({ roundTripMillis: 0 }), 1)
  t.equal(some({ roundTripMillis: 10 }), 3, 'a guess before anything is measured')
  t.equal(some({ roundTripMillis: 10, sendMillis: 10, waitMillis: 30 }), 4, 'then what was measured')
  t.equal(some({ roundTripMillis: 500 }), 8)
  t.equal(some({ roundTripMillis: 500, admitted: 2 }), 2)
  const millis = fc.double({ min: 0, max: 1e5, noNaN: true })
  const input = fc.record({
    waiting: fc.integer({ min: 1, max: 100_000 }), most: fc.integer({ min: 1, max: 32 }), admitted: fc.oneof(fc.constant(Infinity), fc.integer({ min: 1, max: 32 })),
    roundTripMillis: millis, sendMillis: millis, waitMillis: millis,
  })
  fc.assert(fc.property(input, (one) => {
    const wanted = associationsWanted(one)
    return Number.isInteger(wanted) && wanted >= 1 && wanted <= Math.min(one.most, one.admitted) && wanted <= Math.max(1, Math.ceil(one.waiting / 2))
  }))
  fc.assert(fc.property(input, millis, (one, more) => associationsWanted({ ...one, roundTripMillis: one.roundTripMillis + more }) >= associationsWanted(one)), {})
  fc.assert(fc.property(fc.array(fc.double({ min: 1, max: 1e4, noNaN: true }), { minLength: 1 }), (samples) => {
    const mean = samples.reduce(meanOf, 0)
    return mean >= Math.min(...samples) - 1e-6 && mean <= Math.max(...samples) + 1e-6
  }))
})

t.test('backoff: full jitter under a doubling cap; what the link broke is due at once, but not for ever', async (t) => {
  t.equal(backoffMillis('REFUSED', 1, 0.5), 1_000)
  t.equal(backoffMillis('REFUSED', 3, 0.5), 4_000)
  t.equal(backoffMillis('REFUSED', 1_000_000, 1 - 2 ** -53), 300_000)
  for (const code of ['ASSOCIATION_LOST', 'ANSWER_MISSING', 'PROGRESS_STOPPED', 'WORKER_DIED'] as const) {
    t.same([1, 2].map((n) => backoffMillis(code, n, 0.99)), [0, 0], code)
    t.ok(backoffMillis(code, 3, 0.99) > 0, `${code}: then it steps back for the others`)
    t.ok(backoffMillis(code, 1000, 0.999) <= 30_000)
  }
  const codes = fc.constantFrom(...(Object.keys(ERRORS) as ErrorCode[]))
  const chance = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })
  fc.assert(fc.property(codes, fc.integer({ min: 1, max: 1e9 }), chance, (code, attempts, random) => {
    const wait = backoffMillis(code, attempts, random)
    return Number.isInteger(wait) && wait >= 0 && wait <= 300_000 && backoffMillis(code, attempts + 1, random) >= wait
  }))
})

t.test('blame: an image is to blame only for refusals beside which others passed', async (t) => {
  fc.assert(fc.property(fc.array(fc.record({ id: fc.constantFrom('a', 'b', 'c'), taken: fc.boolean() })), (history) => {
    const blame = new Blame()
    return history.every(({ id, taken }, at) => {
      if (taken) return (blame.taken(id), true)
      const times = blame.refused(id)
      // Never more than the refusals of its own since it was last taken, less the first.
      const own = history.slice(0, at + 1).filter((one) => one.id === id)
      const since = own.slice(own.findLastIndex((one) => one.taken) + 1).length
      return times <= Math.max(0, since - 1) && (history.slice(0, at).some((one) => one.taken) || times === 0)
    })
  }))
  const blame = new Blame()
  for (let n = 0; n < LIMITS.refusedKept + 10; n++) blame.refused(`${n}`)
  blame.taken('x')
  t.equal(blame.refused('0'), 0, 'the oldest were forgotten: memory is bounded')
  t.equal(blame.refused(`${LIMITS.refusedKept + 9}`), 1)
})
