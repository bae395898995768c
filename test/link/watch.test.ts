/**
 * The watch over one destination, on a clock of ours: it is back within 2 s of the far side's
 * return, it never gives up, and it never tramples. And once on the real clock and real sockets.
 */
import fc from 'fast-check'
import t from 'tap'
import { Fault, type ErrorCode } from '../../firmware/domain/errors.ts'
import type { LinkState } from '../../firmware/domain/link.ts'
import { LIMITS } from '../../firmware/domain/limits.ts'
import { connectDestination } from '../../firmware/link/connect.ts'
import { LinkWatch, type Clock } from '../../firmware/link/watch.ts'
import { until } from '../peers/process.ts'
import { blackHole } from './port.ts'

/** Time that passes when told, in the order of what is due; promises settle in between. */
class TestClock implements Clock {
  #now = 1_000_000
  #due: { at: number; work: () => void }[] = []
  now(): number {
    return this.#now
  }
  after(millis: number, work: () => void): () => void {
    const entry = { at: this.#now + millis, work }
    this.#due.push(entry)
    return () => {
      this.#due = this.#due.filter((other) => other !== entry)
    }
  }
  get pending(): number {
    return this.#due.length
  }
  async pass(millis: number): Promise<void> {
    const end = this.#now + millis
    await settle()
    for (;;) {
      const next = this.#due.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0]
      if (next === undefined) break
      this.#due = this.#due.filter((other) => other !== next)
      this.#now = Math.max(this.#now, next.at)
      next.work()
      await settle()
    }
    this.#now = end
  }
}
const settle = async (): Promise<void> => {
  for (let i = 0; i < 12; i += 1) await Promise.resolve()
}

/** How the far side answers; exchanged as the test goes. */
type World = 'up' | 'refuses' | 'drops' | 'distrusts' | 'rejects' | 'unplugged'
const FAULTS = {
  refuses: new Fault('CONNECTION_REFUSED', { host: 'hub', port: 1 }),
  drops: new Fault('CONNECTION_TIMEOUT', { host: 'hub', port: 1, seconds: 10 }),
  distrusts: new Fault('FAR_CA_UNKNOWN', { subject: 'x', issuer: 'y' }),
  rejects: new Fault('ASSOCIATION_REFUSED', { detail: 'calling AE title not recognised' }),
  unplugged: new Fault('CABLE_UNPLUGGED', { interface: 'eth0' }),
} as const

function scene(seed = 7) {
  const clock = new TestClock()
  const random = seeded(seed)
  const states: LinkState[] = []
  const dials: number[] = []
  const knocks: number[] = []
  let pendingKnocks = 0
  let mostKnocks = 0
  const dialing = new Set<AbortSignal>()
  let world: World = 'up'
  const wait = (millis: number, signal: AbortSignal) =>
    new Promise<void>((resolve, reject) => {
      const callOff = clock.after(millis, resolve)
      signal.addEventListener('abort', () => {
        callOff()
        reject(new Error('aborted'))
      })
    })
  /** TCP: 20 ms where the far side is there; a SYN into a black hole is repeated after 1, 3 and 7 s. */
  const tcp = async (signal: AbortSignal): Promise<Fault | undefined> => {
    if (world === 'unplugged') return FAULTS.refuses
    for (const pause of [1000, 2000, 4000, 3000]) {
      if (world !== 'drops') break
      await wait(pause, signal)
    }
    if (world === 'drops') return FAULTS.drops
    await wait(20, signal)
    return world === 'refuses' ? FAULTS.refuses : undefined
  }
  const watch = new LinkWatch({
    clock,
    chance: random,
    onState: (state) => states.push(state),
    network: () => (world === 'unplugged' ? FAULTS.unplugged : undefined),
    knock: async (signal) => {
      knocks.push(clock.now())
      pendingKnocks += 1
      mostKnocks = Math.max(mostKnocks, pendingKnocks)
      try {
        return await tcp(signal)
      } finally {
        pendingKnocks -= 1
      }
    },
    dial: async (signal) => {
      dials.push(clock.now())
      dialing.add(signal)
      try {
        if ([...dialing].filter((each) => !each.aborted).length > 1) throw new Error('two dials at once')
        const fault = await tcp(signal)
        if (fault) return fault
        await wait(30, signal)
        return world === 'distrusts' || world === 'rejects' ? FAULTS[world] : undefined
      } finally {
        dialing.delete(signal)
      }
    },
  })
  return {
    clock, watch, states, dials, knocks,
    become: (next: World) => {
      world = next
    },
    mostKnocks: () => mostKnocks,
    pendingKnocks: () => pendingKnocks,
  }
}

function seeded(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x9e3779b9) >>> 0
    let z = state
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad)
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97)
    return ((z ^ (z >>> 15)) >>> 0) / 2 ** 32
  }
}

t.test('whatever kept TCP away and for how long: back within 2 s', async (t) => {
  const away = fc.constantFrom<World>('refuses', 'drops', 'unplugged')
  await fc.assert(
    fc.asyncProperty(away, fc.integer({ min: 0, max: 200_000 }), fc.integer(), async (what, millis, seed) => {
      const { clock, watch, become, mostKnocks, pendingKnocks } = scene(seed)
      watch.check()
      await clock.pass(200)
      if (watch.state.state !== 'connected') throw new Error('never was connected')
      become(what)
      if (what === 'unplugged') watch.networkChanged()
      else watch.noteFailure(FAULTS[what === 'drops' ? 'drops' : 'refuses'])
      await clock.pass(millis)
      become('up')
      await clock.pass(2000)
      watch.close()
      await settle()
      return watch.state.state === 'connected' && mostKnocks() <= LIMITS.knocksPending && pendingKnocks() === 0
    }),
    { numRuns: 150 },
  )
  t.pass('held')
})

t.test('above TCP it backs off with full jitter to a minute, and a change cuts that short', async (t) => {
  const { clock, watch, dials, knocks, become, states } = scene()
  become('distrusts')
  watch.check()
  await clock.pass(30 * 60_000)
  t.match(watch.state, { state: 'no-tls', code: 'FAR_CA_UNKNOWN' })
  t.same(knocks, [], 'TCP is not what fails')
  const gaps = dials.slice(1).map((at, i) => at - (dials[i] ?? 0))
  t.ok(gaps.every((gap, i) => gap <= Math.min(LIMITS.backoffCapMillis, 1000 * 2 ** i) + 100), 'each wait within its window')
  t.ok(dials.length > 25 && dials.length < 100, `${dials.length} attempts in half an hour`)
  t.equal(states.filter(({ state }) => state === 'no-tls').length, 1, 'told once')
  const count = dials.length
  become('up')
  watch.identityChanged()
  await clock.pass(100)
  t.equal(dials.length, count + 1, 'a new certificate is tried at once')
  t.equal(watch.state.state, 'connected')
  become('rejects')
  watch.noteFailure(FAULTS.rejects)
  await clock.pass(10 * 60_000)
  t.match(watch.state, { state: 'no-association' })
  for (const change of ['networkChanged', 'imageWaiting', 'check'] as const) {
    const before = dials.length
    watch[change]()
    await clock.pass(0)
    t.equal(dials.length, before + 1, `${change}: at once`)
    await clock.pass(120_000)
  }
  watch.close()
})

t.test('images that come all the time do not turn the backoff into a hammer', async (t) => {
  const { clock, watch, dials, become } = scene()
  become('rejects')
  watch.check()
  for (let i = 0; i < 6000; i += 1) {
    watch.imageWaiting()
    await clock.pass(100)
  }
  t.ok(dials.length < 60, `${dials.length} attempts in ten minutes under ten images a second`)
  watch.close()
})

t.test('eight associations that fail together count once', async (t) => {
  const { clock, watch, dials, become } = scene()
  watch.check()
  await clock.pass(200)
  become('distrusts')
  for (let i = 0; i < 8; i += 1) watch.noteFailure(FAULTS.distrusts)
  await clock.pass(1100)
  t.ok(dials.length >= 2, 'the first wait is at most one second')
  watch.close()
})

t.test('the cable: named at once, and the way back is not delayed by what hung on the old one', async (t) => {
  const { clock, watch, states, become } = scene()
  watch.check()
  await clock.pass(200)
  become('drops')
  watch.noteFailure(new Fault('ASSOCIATION_LOST', { detail: 'ECONNRESET' }))
  await clock.pass(100) // a dial hangs now, for 10 s
  become('unplugged')
  watch.networkChanged()
  t.match(watch.state, { state: 'no-carrier', code: 'CABLE_UNPLUGGED' })
  await clock.pass(3000)
  become('up')
  watch.networkChanged()
  await clock.pass(100)
  t.equal(watch.state.state, 'connected')
  t.same([...new Set(states.map(({ state }) => state))].sort(), ['connected', 'connecting', 'no-carrier', 'no-tcp'].filter((name) => states.some(({ state }) => state === name)).sort())
  watch.close()
})

t.test('attempts that hang on the old network make room at once for those on the new', async (t) => {
  const clock = new TestClock()
  let begun = 0
  let hanging = 0
  const watch = new LinkWatch({
    clock,
    onState: () => {},
    knock: (signal) =>
      new Promise((_, reject) => {
        begun += 1
        hanging += 1
        signal.addEventListener('abort', () => {
          hanging -= 1
          reject(new Error('aborted'))
        })
      }),
    dial: async () => FAULTS.drops,
  })
  watch.check()
  await clock.pass(30_000)
  t.same([begun, hanging], [LIMITS.knocksPending, LIMITS.knocksPending])
  watch.networkChanged()
  await clock.pass(0)
  t.same([begun, hanging], [LIMITS.knocksPending + 1, 1])
  watch.close()
})

t.test('a connected link is proven again when nothing travels on it, and only then', async (t) => {
  const { clock, watch, dials, become } = scene()
  watch.check()
  await clock.pass(200)
  for (let i = 0; i < 600; i += 1) {
    watch.noteSuccess()
    await clock.pass(1000)
  }
  t.equal(dials.length, 1, 'images prove it')
  await clock.pass(LIMITS.linkIdleMillis * 2)
  t.ok(dials.length >= 2, 'silence does not')
  become('refuses')
  await clock.pass(LIMITS.linkIdleMillis * 2)
  t.equal(watch.state.state, 'no-tcp', 'a far side that left in the silence is noticed')
  watch.close()
})

t.test('diagnosis: asked once for each appearance, and late words do not overwrite the present', async (t) => {
  const clock = new TestClock()
  const asked: ErrorCode[] = []
  let answer: (fault: Fault) => void = () => {}
  const watch = new LinkWatch({
    clock,
    chance: () => 0.5,
    onState: () => {},
    knock: async () => undefined,
    dial: async () => new Fault('TLS_CLOSED'),
    diagnose: (fault) => {
      asked.push(fault.code)
      return new Promise((resolve) => {
        answer = resolve
      })
    },
  })
  watch.check()
  await clock.pass(10)
  answer(new Fault('FAR_SPEAKS_PLAIN', { detail: 'it speaks plain DICOM there' }))
  await clock.pass(10)
  t.equal(watch.state.code, 'FAR_SPEAKS_PLAIN')
  await clock.pass(10 * 60_000)
  watch.noteSuccess()
  answer(new Fault('FAR_SPEAKS_PLAIN', { detail: 'late' }))
  await clock.pass(10)
  t.equal(watch.state.state, 'connected')
  t.ok(asked.length >= 1 && asked.length <= 3, `${asked.length} questions in ten minutes`)
  watch.close()
})

t.test('a diagnosis under way when the watch closes is given up quietly', async (t) => {
  const clock = new TestClock()
  const watch = new LinkWatch({
    clock,
    onState: () => {},
    knock: async () => undefined,
    dial: async () => new Fault('TLS_CLOSED'),
    diagnose: (_, signal) => new Promise((_resolve, reject) => {
      signal.addEventListener('abort', () => reject(new Error('aborted')))
    }),
  })
  watch.check()
  await clock.pass(10)
  watch.close()
  await settle()
  t.equal(watch.state.code, 'TLS_CLOSED')
})

t.test('closed: nothing is set, nothing is told, nothing is tried', async (t) => {
  const { clock, watch, states, dials, become } = scene()
  become('drops')
  watch.check()
  await clock.pass(15_000)
  watch.close()
  await settle()
  const [told, tried] = [states.length, dials.length]
  watch.noteSuccess()
  watch.noteFailure(FAULTS.refuses)
  watch.imageWaiting()
  watch.networkChanged()
  watch.check()
  await clock.pass(600_000)
  t.equal(states.length, told)
  t.equal(dials.length, tried)
  t.equal(clock.pending, 0)
})

t.test('whatever happens in whatever order, it ends connected once the far side stays up', async (t) => {
  const event = fc.oneof(
    fc.constantFrom<World>('up', 'refuses', 'drops', 'distrusts', 'rejects', 'unplugged'),
    fc.constantFrom('success', 'lost', 'image', 'network', 'identity', 'check', 'fail'),
    fc.integer({ min: 1, max: 90_000 }),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(event, { maxLength: 25 }), fc.integer(), async (events, seed) => {
      const { clock, watch, become, mostKnocks } = scene(seed)
      watch.check()
      for (const each of events) {
        if (typeof each === 'number') await clock.pass(each)
        else if (each === 'success') watch.noteSuccess()
        else if (each === 'lost') watch.noteFailure(new Fault('ASSOCIATION_LOST', { detail: 'x' }))
        else if (each === 'image') watch.imageWaiting()
        else if (each === 'network') watch.networkChanged()
        else if (each === 'identity') watch.identityChanged()
        else if (each === 'check') watch.check()
        else if (each === 'fail') watch.noteFailure(FAULTS.distrusts)
        else become(each)
      }
      become('up')
      watch.networkChanged()
      await clock.pass(LIMITS.backoffCapMillis + 20_000)
      const { state } = watch.state
      watch.close()
      return state === 'connected' && mostKnocks() <= LIMITS.knocksPending
    }),
    { numRuns: 300 },
  )
  t.pass('held')
})

t.test('real sockets: a black hole that opens is noticed', async (t) => {
  const hole = await blackHole()
  t.teardown(() => hole.stop())
  const target = { host: '127.0.0.1', port: hole.port }
  const states: string[] = []
  const attempt = async (signal: AbortSignal): Promise<Fault | undefined> => {
    const connected = await connectDestination(target, { signal })
    if (connected instanceof Fault) return connected
    connected.socket.destroy()
    return undefined
  }
  const watch = new LinkWatch({ onState: ({ state }) => states.push(state), knock: attempt, dial: attempt })
  t.teardown(() => watch.close())
  watch.noteFailure(FAULTS.drops)
  t.equal(watch.state.state, 'no-tcp')
  await new Promise((resolve) => setTimeout(resolve, 4000))
  t.equal(watch.state.state, 'no-tcp')
  const opened = performance.now()
  hole.open()
  await until('connected', () => watch.state.state === 'connected')
  t.comment(`noticed ${Math.round(performance.now() - opened)} ms after the far side was back (of which its own waking takes up to 1 s)`)
  t.same(states.filter((state, i) => state !== states[i - 1]), ['no-tcp', 'connecting', 'connected'])
})
