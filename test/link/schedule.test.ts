/** When to try again: the bounds, and what 5,000 boxes do to one hub. */
import fc from 'fast-check'
import t from 'tap'
import { LIMITS } from '../../firmware/domain/limits.ts'
import { backoffWait, idleWait, knockWait } from '../../firmware/link/schedule.ts'

const chance = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })

t.test('every wait stays within its bounds, whatever chance says', (t) => {
  fc.assert(fc.property(chance, fc.integer({ min: 1, max: 10_000 }), (c, failures) => {
    const knock = knockWait(() => c)
    const backoff = backoffWait(failures, () => c)
    const window = Math.min(LIMITS.backoffCapMillis, LIMITS.backoffBaseMillis * 2 ** (failures - 1))
    const idle = idleWait(() => c)
    return (
      knock >= LIMITS.knockMinMillis && knock <= LIMITS.knockMaxMillis &&
      backoff >= 0 && backoff <= window &&
      idle >= LIMITS.linkIdleMillis / 2 && idle <= LIMITS.linkIdleMillis * 1.5
    )
  }))
  t.ok(LIMITS.knockMaxMillis < 2000 && (LIMITS.knockMinMillis + LIMITS.knockMaxMillis) / 2 < 1000, 'a return is noticed within 2 s, mean below 1')
  t.throws(() => backoffWait(0, Math.random), /0 failures/)
  t.end()
})

/** Small, fast and the same on every machine (Vigna's splitmix, 32 bit). */
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

/**
 * The herd of schedule.ts: a hub that comes back at 0 and serves `perSecond` handshakes, keeps
 * `LIMITS.knocking` waiting and turns the oldest away for each that is too many.
 */
function herd(boxes: number, perSecond: number, random: () => number): { lastMillis: number; attempts: number; peak: number } {
  const tick = 10
  const due = new Map<number, number[]>()
  const at = (millis: number, box: number) => {
    const slot = Math.ceil(millis / tick)
    due.set(slot, [...(due.get(slot) ?? []), box])
  }
  const failures = new Array<number>(boxes).fill(0)
  for (let box = 0; box < boxes; box += 1) at(knockWait(random) * random(), box)
  let [waiting, served, attempts, peak, credit, slot] = [[] as number[], 0, 0, 0, 0, 0]
  for (; served < boxes; slot += 1) {
    if (slot * tick > 30 * 60_000) throw new Error('the herd never got home')
    const arriving = due.get(slot) ?? []
    due.delete(slot)
    attempts += arriving.length
    peak = Math.max(peak, arriving.length / (tick / 1000))
    waiting.push(...arriving)
    for (const box of waiting.splice(0, Math.max(0, waiting.length - LIMITS.knocking))) {
      failures[box] = (failures[box] ?? 0) + 1
      at(slot * tick + 1 + backoffWait(failures[box], random), box)
    }
    credit = Math.min(credit + (perSecond * tick) / 1000, perSecond)
    const done = Math.min(waiting.length, Math.floor(credit))
    waiting = waiting.slice(done)
    credit -= done
    served += done
  }
  return { lastMillis: slot * tick, attempts, peak }
}

t.test('5,000 boxes whose hub comes back are all home soon, without trampling it', (t) => {
  for (const [cores, perSecond] of [[1, 250], [4, 1000]] as const)
    for (const seed of [1, 2, 3]) {
      const { lastMillis, attempts, peak } = herd(5000, perSecond, seeded(seed))
      const ideal = (5000 / perSecond) * 1000
      t.comment(`${cores} core(s): all home after ${lastMillis / 1000} s (no better than ${ideal / 1000} s is possible), ${attempts} attempts, at most ${peak}/s`)
      t.ok(lastMillis < ideal * 6, 'within a small multiple of what the hub can do at best')
      t.ok(attempts < 5000 * 8, 'few attempts a box')
    }
  const alone = herd(1, 250, seeded(4))
  t.ok(alone.lastMillis <= 2000 && alone.attempts === 1, 'one box alone is back within 2 s')
  t.end()
})
