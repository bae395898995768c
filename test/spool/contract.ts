/**
 * What every spool must do, whatever it keeps its queue in. A database or an object store behind
 * the same methods runs this suite unchanged.
 */
import { randomBytes } from 'node:crypto'
import type { Test } from 'tap'
import { Fault } from '../../firmware/domain/errors.ts'
import type { CommitOutcome, Lease, ObjectFacts } from '../../firmware/domain/spool.ts'
import type { SpoolOptions } from '../../firmware/spool/options.ts'
import type { Spool } from '../../firmware/spool/spool.ts'
import { CT, EXPLICIT, MR, newUid } from './place.ts'
import type { Image } from './place.ts'

/** The methods that are promised. */
export type SpoolPort = Pick<
  Spool,
  | 'slot' | 'giveBack' | 'commit' | 'lease' | 'settle' | 'loseLeases' | 'hold' | 'retry' | 'discard' | 'countsOf' | 'totals'
  | 'waitingContexts' | 'nextDue' | 'list' | 'show' | 'receipts' | 'studies' | 'onQueued' | 'alarms' | 'upkeep' | 'eraseTenant' | 'close'
>

/** An implementation to be tried: its own storage, a clock that can be turned. */
export interface Trial {
  ahead: number
  free: { total: number; free: number }
  open(options?: Partial<SpoolOptions>): Promise<SpoolPort>
  put(spool: SpoolPort, image?: Image): Promise<{ facts: ObjectFacts; outcome: CommitOutcome }>
  read(lease: Lease): Promise<Buffer>
  take(spool: SpoolPort, destination?: string, count?: number): Promise<string[]>
  remove(): void
}

const both = [
  { destination: 'hub', priority: 'normal' },
  { destination: 'archive', priority: 'normal' },
] as const

export function spoolContract(t: Test, begin: () => Trial): void {
  const trying = (name: string, what: (t: Test, trial: Trial, spool: SpoolPort) => Promise<void>): void =>
    void t.test(name, async (t) => {
      const trial = begin()
      const spool = await trial.open()
      try {
        await what(t, trial, spool)
      } finally {
        await spool.close()
        trial.remove()
      }
    })

  trying('an image comes out as it went in, and leaves a receipt', async (t, trial, spool) => {
    const bytes = randomBytes(300_001)
    const woken: string[] = []
    spool.onQueued((destination) => woken.push(destination))
    const { facts, outcome } = await trial.put(spool, { bytes, study: '1.2.9' })
    t.same(outcome, { kind: 'queued', version: 1 })
    t.same(woken, ['hub'])
    t.match(spool.countsOf('hub'), { queued: 1, forwarding: 0, held: 0, bytes: bytes.length })
    t.ok(Math.abs(spool.countsOf('hub').oldest - facts.receivedAt) < 60_001, 'oldest is right to the minute')
    t.match(await spool.studies(), [{ tenant: 'clinic', study: '1.2.9', instances: 1, bytes: bytes.length }])
    const [lease] = await spool.lease('hub', 5)
    t.same(lease?.facts, facts)
    t.same(await trial.read(lease as Lease), bytes)
    t.match(spool.countsOf('hub'), { queued: 0, forwarding: 1 })
    t.equal((await spool.show(facts.id))?.deliveries[0]?.state, 'forwarding')
    t.same((await spool.list({ state: 'forwarding' })).rows.map((row) => row.id), [facts.id])
    t.same(await spool.lease('hub', 5), [], 'what is leased is not leased twice')
    t.same(await spool.settle(facts.id, 'hub', { event: 'stored', status: 0, hop: 'HUB 192.0.2.1', sentAs: EXPLICIT }), facts)
    t.match(await spool.receipts(), [{ id: facts.id, destination: 'hub', end: 'delivered', digest: facts.digest, hop: 'HUB 192.0.2.1', status: 0, sentAs: EXPLICIT }])
    t.match(spool.totals(), { instances: 0, bytes: 0, delivered: 1, deliveredBytes: bytes.length })
    t.same((await spool.list()).rows, [])
    t.same(await spool.studies(), [])
    t.equal(await spool.settle(facts.id, 'hub', { event: 'stored' }), undefined, 'a second settlement has no lease')
    t.equal((await spool.receipts()).length, 1)
  })

  trying('order: priority, then study by its first arrival, then arrival', async (t, trial, spool) => {
    const names: Record<string, string> = {}
    const put = async (name: string, study: string, priority: 'high' | 'normal' | 'low' = 'normal'): Promise<void> => {
      const { facts } = await trial.put(spool, { study, targets: [{ destination: 'hub', priority }] })
      names[facts.sopInstance] = name
    }
    await put('a1', '1.1')
    await put('b1', '1.2')
    await put('low', '1.3', 'low')
    await put('a2', '1.1')
    await put('high', '1.4', 'high')
    await put('none1', '')
    await put('b2', '1.2')
    await put('none2', '')
    const first = await spool.lease('hub', 2)
    t.same(first.map((lease) => names[lease.facts.sopInstance]), ['high', 'a1'])
    // What comes later, but belongs before what waits, is next.
    await put('a3', '1.1')
    await put('high2', '1.5', 'high')
    const rest = await spool.lease('hub', 100)
    t.same(rest.map((lease) => names[lease.facts.sopInstance]), ['high2', 'a2', 'a3', 'b1', 'b2', 'none1', 'none2', 'low'])
  })

  trying('refused: waits its time behind nobody; rejected: held until a person decides', async (t, trial, spool) => {
    const { facts: slow } = await trial.put(spool)
    const { facts: bad } = await trial.put(spool)
    const { facts: good } = await trial.put(spool)
    const leases = await spool.lease('hub', 2)
    t.same(leases.map((lease) => lease.id), [slow.id, bad.id])
    const due = Date.now() + trial.ahead + 60_000
    await spool.settle(slow.id, 'hub', { event: 'refused', code: 'REFUSED', detail: 'A700' }, due)
    await spool.settle(bad.id, 'hub', { event: 'rejected', code: 'REJECTED', detail: 'x'.repeat(1000), status: 0xc001 })
    t.equal(await spool.nextDue('hub'), due)
    t.same(await trial.take(spool), [good.sopInstance], 'the good one is not kept waiting')
    t.match(spool.countsOf('hub'), { queued: 1, held: 1 })
    t.match((await spool.show(slow.id))?.deliveries, [{ state: 'queued', attempts: 1, code: 'REFUSED', notBefore: due }])
    const held = (await spool.list({ state: 'held', destination: 'hub' })).rows
    t.same(held.map((row) => row.id), [bad.id])
    t.equal(held[0]?.deliveries[0]?.detail?.length, 200)
    trial.ahead += 60_001
    const again = await spool.lease('hub', 5)
    t.match(again, [{ id: slow.id, attempts: 1 }])
    t.equal(await spool.nextDue('hub'), 0)
    t.equal(await spool.retry({ id: bad.id }), 1)
    t.match(await spool.lease('hub', 5), [{ id: bad.id, attempts: 1 }])
    await spool.settle(bad.id, 'hub', { event: 'rejected', code: 'REJECTED' })
    t.equal(await spool.discard(bad.id, undefined, 'duplicate examination'), 1)
    t.match((await spool.receipts({ limit: 1 })), [{ id: bad.id, end: 'discarded', reason: 'duplicate examination' }])
    t.equal(await spool.discard(slow.id, 'hub', 'is being sent'), 0, 'what is being sent cannot be discarded')
  })

  trying('a lost lease is queued again; a late answer to it changes nothing', async (t, trial, spool) => {
    const { facts } = await trial.put(spool)
    await spool.lease('hub', 1)
    const woken: string[] = []
    spool.onQueued((destination) => woken.push(destination))
    spool.loseLeases((lease) => lease.destination === 'hub')
    t.same(woken, ['hub'])
    t.equal(await spool.settle(facts.id, 'hub', { event: 'stored' }), undefined)
    t.match(await spool.lease('hub', 1), [{ id: facts.id, attempts: 0 }])
    await spool.settle(facts.id, 'hub', { event: 'lease-lost', code: 'WORKER_DIED' })
    t.match(await spool.lease('hub', 1), [{ id: facts.id, attempts: 1 }], 'an object that kills its worker is counted')
  })

  trying('several destinations: each ends for itself, the object with the last', async (t, trial, spool) => {
    const { facts } = await trial.put(spool, { targets: both })
    await spool.lease('hub', 1)
    await spool.settle(facts.id, 'hub', { event: 'stored' })
    t.match(spool.totals(), { instances: 1, delivered: 1 })
    const [lease] = await spool.lease('archive', 1)
    t.ok((await trial.read(lease as Lease)).length > 0)
    await spool.settle(facts.id, 'archive', { event: 'rejected', code: 'REJECTED' })
    t.equal(await spool.retry({ destination: 'hub' }), 0)
    t.equal(await spool.retry({ destination: 'archive' }), 1)
    t.same(await trial.take(spool, 'archive'), [facts.sopInstance])
    t.equal(spool.totals().instances, 0)
    t.same((await spool.receipts()).map((one) => one.destination).sort(), ['archive', 'hub'])
  })

  trying('duplicates: one copy; other bytes: another version; other tenants: nothing to do with it', async (t, trial, spool) => {
    const sopInstance = newUid()
    const bytes = Buffer.from('the same bytes')
    const first = await trial.put(spool, { sopInstance, bytes })
    t.same((await trial.put(spool, { sopInstance, bytes })).outcome, { kind: 'duplicate', of: first.facts.id })
    t.same((await trial.put(spool, { sopInstance, bytes: Buffer.from('others') })).outcome, { kind: 'queued', version: 2 })
    t.same((await trial.put(spool, { sopInstance, bytes, transferSyntax: '1.2.840.10008.1.2' })).outcome, { kind: 'queued', version: 3 })
    t.same((await trial.put(spool, { sopInstance, bytes, tenant: 'other' })).outcome, { kind: 'queued', version: 1 })
    const atOnce = await Promise.all(Array.from({ length: 8 }, () => trial.put(spool, { sopInstance: '1.2.3.4.5', bytes })))
    t.equal(atOnce.filter(({ outcome }) => outcome.kind === 'queued').length, 1, 'eight at the same moment are one')
    await trial.take(spool)
    t.equal(spool.totals().instances, 0)
    t.match((await trial.put(spool, { sopInstance, bytes })).outcome, { kind: 'duplicate' }, 'delivered lately')
    const wider = await trial.put(spool, { sopInstance, bytes, targets: both })
    t.same(wider.outcome, { kind: 'queued', version: 1 }, 'a destination it has not gone to gets it')
    t.equal(spool.countsOf('hub').queued, 0)
    await trial.take(spool, 'archive')
    trial.ahead += 3_600_001
    await spool.upkeep()
    t.match((await trial.put(spool, { sopInstance, bytes })).outcome, { kind: 'queued' }, 'the window is over')
  })

  trying('a clock that was years ahead keeps nothing waiting, and makes nothing a repetition, once it is right', async (t, trial, spool) => {
    trial.ahead = 5 * 365 * 86_400_000
    const image = { sopInstance: newUid(), bytes: Buffer.from('x') }
    await trial.put(spool, image)
    await trial.take(spool)
    const { facts } = await trial.put(spool)
    await spool.lease('hub', 1)
    await spool.settle(facts.id, 'hub', { event: 'refused', code: 'REFUSED' }, Date.now() + trial.ahead + 60_000)
    trial.ahead = 0
    t.ok((await spool.nextDue('hub')) <= Date.now(), 'due now')
    t.same(await trial.take(spool), [facts.sopInstance])
    t.equal(await spool.nextDue('hub'), 0)
    t.match((await trial.put(spool, image)).outcome, { kind: 'queued' }, 'the window was of another time')
  })

  trying('a device that gives all its images one UID costs no more than others', async (t, trial, spool) => {
    const sopInstance = newUid()
    const versions = new Set<unknown>()
    for (let count = 0; count < 3; count += 1)
      await Promise.all(
        Array.from({ length: 50 }, async (_, at) => {
          const { outcome } = await trial.put(spool, { sopInstance, bytes: Buffer.from(`${count} ${at}`) })
          versions.add(outcome.kind === 'queued' && outcome.version)
        }),
      )
    t.equal(versions.size, 150, 'each is a version of its own')
    t.match((await trial.put(spool, { sopInstance, bytes: Buffer.from('2 49') })).outcome, { kind: 'duplicate' })
    t.equal((await trial.take(spool)).length, 150)
    t.equal(spool.totals().instances, 0)
    t.match((await trial.put(spool, { sopInstance, bytes: Buffer.from('2 49') })).outcome, { kind: 'duplicate' })
    t.same(spool.alarms(), [], 'and the index agrees with itself')
  })

  trying('what a person discarded may be sent again', async (t, trial, spool) => {
    const image = { sopInstance: newUid(), bytes: Buffer.from('x') }
    const { facts } = await trial.put(spool, image)
    await spool.discard(facts.id, undefined, 'test')
    t.equal((await trial.put(spool, image)).outcome.kind, 'queued')
  })

  trying('damaged: held and visible, never delivered, and replaced by a repetition', async (t, trial, spool) => {
    const image = { sopInstance: newUid(), bytes: Buffer.from('x') }
    const { facts } = await trial.put(spool, image)
    await spool.lease('hub', 1)
    await spool.settle(facts.id, 'hub', { event: 'rejected', code: 'OBJECT_DAMAGED', detail: 'digest' })
    t.match(spool.alarms(), [{ code: 'OBJECT_DAMAGED', count: 1 }])
    t.same((await trial.put(spool, image)).outcome, { kind: 'queued', version: 1 }, 'the sender sends it again: not a duplicate')
    t.same(await trial.take(spool), [facts.sopInstance])
    t.same(spool.alarms(), [], 'and the alarm ends with it')
    t.equal(spool.totals().instances, 0)
    t.match(await spool.receipts(), [{ end: 'delivered' }, { id: facts.id, end: 'discarded' }])
  })

  trying('a refused presentation context holds what waits in it, and nothing else', async (t, trial, spool) => {
    for (let count = 0; count < 5; count += 1) await trial.put(spool, { sopClass: CT })
    for (let count = 0; count < 3; count += 1) await trial.put(spool, { sopClass: MR })
    await trial.put(spool, { sopClass: MR, targets: both.slice(1) })
    const [delayed] = await spool.lease('hub', 1)
    await spool.settle((delayed as Lease).id, 'hub', { event: 'refused' }, Date.now() + trial.ahead + 60_000)
    const contexts = spool.waitingContexts('hub').sort((one, other) => one.count - other.count)
    t.same(contexts, [
      { sopClass: MR, transferSyntax: EXPLICIT, count: 3 },
      { sopClass: CT, transferSyntax: EXPLICIT, count: 5 },
    ])
    const leased = await spool.lease('hub', 1)
    t.equal(await spool.hold('hub', { sopClass: CT, transferSyntax: EXPLICIT }, { code: 'CONTEXT_REFUSED', detail: 'CT' }), 4)
    t.match(spool.countsOf('hub'), { queued: 3, forwarding: 1, held: 4 })
    t.equal(spool.countsOf('archive').queued, 1)
    await spool.settle((leased[0] as Lease).id, 'hub', { event: 'stored' })
    t.equal((await trial.take(spool)).length, 3)
    t.equal(await spool.retry({ destination: 'hub' }), 4)
    t.equal((await trial.take(spool)).length, 4)
  })

  trying('slots: each given once, and never again', async (t, trial, spool) => {
    const slots = await Promise.all(Array.from({ length: 100 }, () => spool.slot('clinic')))
    t.equal(new Set(slots.map((slot) => slot.id)).size, 100)
    t.equal(new Set(slots.map((slot) => slot.key)).size, 100)
    for (const slot of slots) spool.giveBack(slot.id)
    for (const slot of slots) spool.giveBack(slot.id)
    const again = await Promise.all(Array.from({ length: 100 }, () => spool.slot('clinic')))
    t.equal(new Set([...slots, ...again].map((slot) => slot.id)).size, 200, 'what was given back is not given out')
    const [slot] = again
    const facts = (await trial.put(spool)).facts
    t.match(await spool.commit({ ...facts, id: '0'.repeat(26) }, [both[0]]), { kind: 'refused' }, 'nobody commits what was not given')
    t.same(await spool.commit(facts, [both[0]]), { kind: 'queued', version: 1 }, 'a repeated commit is the same commit')
    t.match(await spool.commit({ ...facts, id: slot?.id as string }, []), { kind: 'refused', code: 'ROUTE_MISSING' })
    t.equal(spool.totals().instances, 1)
  })

  trying('full: refuses above the high mark, until below the low one', async (t, trial, spool) => {
    await spool.slot('clinic')
    const refused = async (): Promise<string> => spool.slot('clinic').then(() => 'taken', (error: unknown) => (error instanceof Fault ? error.code : String(error)))
    trial.free = { total: 100, free: 5 }
    trial.ahead += 2_000
    await refused()
    await new Promise((resolve) => setTimeout(resolve, 10))
    t.equal(await refused(), 'SPOOL_FULL')
    t.match(spool.alarms(), [{ code: 'SPOOL_FULL' }])
    trial.free = { total: 100, free: 15 }
    t.equal(await refused(), 'SPOOL_FULL', 'between the marks it stays full')
    trial.free = { total: 100, free: 30 }
    t.equal(await refused(), 'taken')
    t.same(spool.alarms(), [])
  })

  trying('an erased tenant is gone, the other one is not', async (t, trial, spool) => {
    await trial.put(spool, { tenant: 'gone' })
    await trial.put(spool, { tenant: 'gone' })
    await trial.take(spool, 'hub', 1)
    const stays = await trial.put(spool, { tenant: 'stays' })
    const slot = await spool.slot('gone')
    t.equal(await spool.eraseTenant('gone'), 1)
    t.match(await spool.commit({ ...stays.facts, id: slot.id, tenant: 'gone' }, [both[0]]), { kind: 'refused' }, 'what was being written goes with it')
    t.same((await spool.list()).rows.map((row) => row.id), [stays.facts.id])
    t.same(await spool.receipts({ tenant: 'gone' }), [])
    t.same(await trial.take(spool), [stays.facts.sopInstance])
    t.match((await trial.put(spool, { tenant: 'gone' })).outcome, { kind: 'queued' }, 'the name may begin anew')
  })

  t.test('everything that was promised is there after a restart', async (t) => {
    const trial = begin()
    let spool = await trial.open()
    const queued = await trial.put(spool)
    const delayed = await trial.put(spool)
    const held = await trial.put(spool)
    const done = await trial.put(spool)
    const leases = await spool.lease('hub', 4)
    t.equal(leases.length, 4)
    const due = Date.now() + trial.ahead + 60_000
    await spool.settle(delayed.facts.id, 'hub', { event: 'refused', code: 'REFUSED' }, due)
    await spool.settle(held.facts.id, 'hub', { event: 'rejected', code: 'REJECTED' })
    await spool.settle(done.facts.id, 'hub', { event: 'stored' })
    const before = { totals: spool.totals(), receipts: await spool.receipts(), contexts: spool.waitingContexts('hub') }
    await spool.close()
    spool = await trial.open()
    t.match(spool.countsOf('hub'), { queued: 2, forwarding: 0, held: 1 })
    t.match(spool.totals(), { instances: before.totals.instances, bytes: before.totals.bytes, delivered: 1, deliveredSinceStart: 0 })
    t.same(await spool.receipts(), before.receipts)
    t.same(spool.waitingContexts('hub'), before.contexts)
    t.equal(await spool.nextDue('hub'), due)
    t.same(await trial.take(spool), [queued.facts.sopInstance], 'the lease is lost with the process, the image is not')
    t.match((await trial.put(spool, { sopInstance: done.facts.sopInstance, bytes: Buffer.from(done.facts.sopInstance) })).outcome, { kind: 'duplicate' })
    trial.ahead += 86_400_001
    await spool.upkeep()
    t.same(await spool.receipts(), [], 'receipts are forgotten by age')
    await spool.close()
    trial.remove()
  })
}
