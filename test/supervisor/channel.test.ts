/**
 * A worker that was taken over, at the supervisor's end of its pipe: nothing it says may end the
 * supervisor, and nothing but what it holds may be spoken of.
 */
import { EventEmitter } from 'node:events'
import t from 'tap'
import { Fault } from '../../firmware/domain/errors.ts'
import { Channel, Misconduct } from '../../firmware/supervisor/channel.ts'
import type { Methods, Pipe } from '../../firmware/supervisor/channel.ts'
import { FORWARD_CLAIMS, RECEIVE_CLAIMS } from '../../firmware/supervisor/claims.ts'

/** Two ends; what one sends the other hears a moment later, as JSON. */
class End extends EventEmitter implements Pipe {
  other: End | undefined
  send(message: unknown, callback?: (error: Error | null) => void): boolean {
    setImmediate(() => {
      this.other?.emit('message', JSON.parse(JSON.stringify(message)))
      callback?.(null)
    })
    return true
  }
}

function pair(): [End, End] {
  const [one, other] = [new End(), new End()]
  one.other = other
  other.other = one
  return [one, other]
}

interface Said {
  readonly lied: string[]
  readonly failed: string[]
}

function supervisor(pipe: Pipe, ours: Methods, claims: Record<string, (value: unknown) => boolean>, most = 100): Said {
  const said: Said = { lied: [], failed: [] }
  void new Channel<Methods, Methods>(pipe, ours, {
    claims,
    most,
    lied: (why) => said.lied.push(why),
    failed: (method, fault) => said.failed.push(`${method} ${fault.code}`),
  })
  return said
}

const moment = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 10))

const facts = {
  id: '0'.repeat(26), tenant: 'clinic', sopClass: '1.2', sopInstance: '1.2.3', transferSyntax: '1.2.840.10008.1.2',
  source: { listener: 'lan', callingAe: 'CT', calledAe: 'BOX', peer: '192.0.2.1' },
  receivedAt: 1, bytes: 10, digest: 'a'.repeat(64), study: '', series: 'not a UID/..',
}
const altered = (change: object): unknown => ({ facts: { ...facts, ...change } })

void t.test('facts of a commit', async (t) => {
  t.ok(RECEIVE_CLAIMS.commit({ facts }), 'what a device may really send')
  for (const change of [
    { id: '../../../etc/passwd' }, { id: 5 }, { tenant: '../other' }, { tenant: 'A' }, { sopInstance: '../1' }, { sopInstance: '..' },
    { sopInstance: '1'.repeat(65) }, { sopClass: null }, { transferSyntax: ['1.2'] }, { bytes: -1 }, { bytes: 1.5 }, { bytes: '10' },
    { receivedAt: null }, { digest: 'A'.repeat(64) }, { digest: '' }, { study: 'x'.repeat(1025) }, { series: undefined },
    { source: undefined }, { source: null }, { source: { ...facts.source, callingAe: 'x'.repeat(17) } }, { source: { ...facts.source, listener: '' } },
  ])
    t.notOk(RECEIVE_CLAIMS.commit(altered(change)), JSON.stringify(change))
  t.notOk(RECEIVE_CLAIMS.commit(undefined))
  t.notOk(RECEIVE_CLAIMS.commit({ facts: '' }))
})

void t.test('words of a forward worker', async (t) => {
  const settle = { id: facts.id, destination: 'hub', outcome: { event: 'stored', status: 0, hop: 'HUB 192.0.2.1:2762' }, delayMillis: 0 }
  t.ok(FORWARD_CLAIMS.settle(settle))
  t.notOk(FORWARD_CLAIMS.settle({ ...settle, outcome: { event: 'proven' } }), 'an event that is not its')
  t.notOk(FORWARD_CLAIMS.settle({ ...settle, outcome: { event: 'rejected', code: 'toString' } }), 'a code there is not')
  t.notOk(FORWARD_CLAIMS.settle({ ...settle, delayMillis: null }))
  t.notOk(FORWARD_CLAIMS.lease({ destination: 'hub', count: -1 }))
  t.notOk(FORWARD_CLAIMS.link({ destination: 'hub', state: { state: 'fine' }, associations: 1 }))
  t.ok(FORWARD_CLAIMS.testStep({ test: 1, step: null }))
  t.notOk(FORWARD_CLAIMS.testStep({ test: 1, step: { step: 'tcp' } }))
})

void t.test('whatever it says, the supervisor lives', async (t) => {
  const calls: unknown[] = []
  const ours = { slot: (argument: { tenant: string }) => void calls.push(argument) }
  for (const message of [
    0, 'x', true, [], {}, { ask: 1 }, { ask: 1, method: 'toString' }, { ask: 1, method: '__proto__', argument: {} }, { method: ['slot'] },
    { ask: 1, method: 'slot' }, { ask: 1, method: 'slot', argument: null }, { method: 'slot', argument: { tenant: '/' } }, { method: 'slot', argument: 1 },
  ]) {
    const [ends, worker] = pair()
    const said = supervisor(ends, ours, { slot: RECEIVE_CLAIMS.slot })
    worker.send(message)
    worker.send({ method: 'slot', argument: { tenant: 'clinic' } })
    await moment()
    t.equal(said.lied.length, 1, `${JSON.stringify(message)}: ${said.lied[0]}`)
    t.same(calls, [], 'and nothing it says afterwards is heard')
  }
  const [ends, worker] = pair()
  const said = supervisor(ends, ours, { slot: RECEIVE_CLAIMS.slot })
  worker.send({ answer: 7, fault: { code: 'nonsense' } })
  worker.send({ method: 'slot', argument: { tenant: 'clinic' } })
  await moment()
  t.same([said.lied, calls.length], [[], 1], 'an answer nobody asked for is nothing')
})

void t.test('a fault is an answer to who asked, and is told of who did not wait', async (t) => {
  const [ends, worker] = pair()
  const anything = (): boolean => true
  const said = supervisor(
    ends,
    { hold: () => Promise.reject(new Fault('DISK_FAILED', { detail: 'index' })), commit: () => Promise.reject(new Misconduct('a slot it does not hold')) },
    { hold: anything, commit: anything },
  )
  const channel = new Channel<Methods, { hold: (argument: object) => void; commit: (argument: object) => void }>(worker, {})
  await t.rejects(channel.ask('hold', {}), { code: 'DISK_FAILED' })
  channel.note('hold', {})
  await moment()
  t.same(said, { lied: [], failed: ['hold DISK_FAILED'] })
  channel.note('commit', {})
  await moment()
  t.same(said.lied, ['commit: a slot it does not hold'])
})

void t.test('calls that are never answered do not pile up', async (t) => {
  const [ends, worker] = pair()
  const said = supervisor(ends, { slot: () => new Promise(() => undefined) }, { slot: () => true }, 10)
  for (let count = 0; count < 11; count += 1) worker.send({ ask: count, method: 'slot', argument: {} })
  await moment()
  t.equal(said.lied.length, 1)
})

void t.test('a pipe that breaks ends every question', async (t) => {
  const [ends] = pair()
  const channel = new Channel<Methods, { slot: (argument: object) => void }>(ends, {})
  const asked = channel.ask('slot', {})
  ends.emit('disconnect')
  await t.rejects(asked, { code: 'SUPERVISOR_GONE' })
  await t.rejects(channel.ask('slot', {}), { code: 'SUPERVISOR_GONE' })
})
