/**
 * Many images wait for a link that is down: order, counts and a restart at a length at which pages
 * and portions matter. Figures are told, not judged.
 */
import t from 'tap'
import { LIMITS } from '../../firmware/domain/limits.ts'
import type { ObjectFacts } from '../../firmware/domain/spool.ts'
import type { Spool } from '../../firmware/spool/spool.ts'
import { CT, EXPLICIT, HUB, MR, Place, headerOf, newUid, read } from './place.ts'

const BACKLOG = 8_000
const STUDIES = 100

const factsOf = async (spool: Spool, number: number): Promise<ObjectFacts> => ({
  ...headerOf(await spool.slot('clinic'), { sopClass: number % 4 === 0 ? MR : CT, sopInstance: newUid() }, Date.now()),
  study: `1.2.3.${number % STUDIES}`,
  series: `1.2.3.${number % STUDIES}.1`,
  bytes: 1000,
  digest: String(number).padStart(64, '0'),
})

/** Rows only: the index does not look into the files, and 100,000 of them are not what is tried here. */
async function commitMany(spool: Spool, first: number, count: number, atOnce: number): Promise<number> {
  const facts: ObjectFacts[] = []
  for (let number = first; number < first + count; number += 1) facts.push(await factsOf(spool, number))
  const begun = performance.now()
  let next = 0
  const one = async (): Promise<void> => {
    while (next < facts.length) await spool.commit(facts[next++] as ObjectFacts, HUB)
  }
  await Promise.all(Array.from({ length: atOnce }, one))
  return Math.round(count / ((performance.now() - begun) / 1000))
}

void t.test('a long queue', async (t) => {
  const place = new Place()
  t.teardown(() => place.remove())
  const limits = { ...LIMITS, slots: 1000 }
  let spool = await place.open({ limits })
  const real = [await place.put(spool, { study: '1.1' }), await place.put(spool, { study: '1.1' })]
  const rates = { empty: await commitMany(spool, 0, 1500, 8), full: 0 }
  await commitMany(spool, 1500, BACKLOG - 3000, 250)
  rates.full = await commitMany(spool, BACKLOG - 1500, 1500, 8)
  const before = { counts: spool.countsOf('hub'), contexts: spool.waitingContexts('hub') }
  t.equal(before.counts.queued, BACKLOG + 2)
  await spool.close()

  const memory = process.memoryUsage.rss()
  const begun = performance.now()
  spool = await place.open({ limits })
  const ready = performance.now() - begun
  t.same(spool.countsOf('hub'), before.counts)
  t.same(spool.waitingContexts('hub').sort((one, other) => one.count - other.count), before.contexts.sort((one, other) => one.count - other.count))
  t.same(spool.waitingContexts('hub').reduce((sum, one) => sum + one.count, 0), BACKLOG + 2)
  t.same(spool.alarms(), [])
  const first = await spool.lease('hub', 2)
  t.same(first.map((lease) => lease.id), real.map((one) => one.facts.id), 'the first study is first')
  for (const lease of first) t.equal((await read(lease)).length, lease.facts.bytes)
  const started = performance.now()
  let taken = 0
  let study = ''
  const seen = new Set<string>()
  while (taken < 1500) {
    const leases = await spool.lease('hub', 16)
    for (const { facts } of leases) {
      if (facts.study !== study && seen.has(facts.study)) t.fail('a study came in two parts')
      study = facts.study
      seen.add(study)
    }
    await Promise.all(leases.map((lease) => spool.settle(lease.id, 'hub', { event: 'stored' })))
    taken += leases.length
  }
  const settled = taken / ((performance.now() - started) / 1000)
  const listing = performance.now()
  t.equal((await spool.list({ state: 'queued', limit: 1000 })).rows.length, 1000)
  const listed = performance.now() - listing
  const held = await spool.hold('hub', { sopClass: MR, transferSyntax: EXPLICIT }, { code: 'CONTEXT_REFUSED' })
  t.equal(spool.countsOf('hub').held, held)
  const { queued, forwarding } = spool.countsOf('hub')
  t.equal(queued + forwarding + held, BACKLOG + 2 - taken)
  t.comment(`commits/s at 8: ${rates.empty} into an empty spool, ${rates.full} behind ${BACKLOG - 1500}; ready ${Math.round(ready)} ms; leased and settled ${Math.round(settled)}/s; first page ${Math.round(listed)} ms; held ${held} of a context; memory grew ${(process.memoryUsage.rss() - memory) >> 20} MiB`)
  await spool.close()
})
