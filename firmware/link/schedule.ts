/**
 * When to try again. Pure: time and chance are given.
 *
 * Two regimes, because two different things can be broken:
 *
 * **TCP is what fails** (cable, router, provider, hub switched off). Attempts cost the far side
 * nothing, since they do not arrive or are refused by its kernel. So they go on for ever, one
 * begun every 0.3–1.5 s, uniformly: each may wait 10 s, at most 6 at once, the first to succeed
 * wins. A return is noticed within 2 s even where the first SYN is lost.
 *
 * **Something above TCP fails** (TLS, association). Attempts now cost the far side a handshake of
 * 4–5 ms. Full jitter: after the n-th failure in a row a uniformly random wait in
 * [0, min(60 s, 1 s · 2^(n-1))] (M. Brooker, "Exponential Backoff And Jitter", AWS 2015: of the
 * variants it is the one with least work at the server until all are served).
 *
 * The herd: 5,000 boxes whose hub comes back. Their TCP attempts are spread over 1.5 s by their
 * own jitter, so about 3,300 connections a second arrive, where a core does 200–270 handshakes a
 * second. What a hub cannot take in time is turned away (`LIMITS.knocking`) and backs off: waves
 * of the width 1, 2, 4, … s, until they are as wide as the hub needs. Simulated in
 * test/link/schedule.test.ts: on one core, which needs 20 s at the very best, all are home after
 * 43–60 s and 4.7 attempts each; on four cores (5 s at best) after 11–16 s and 2.8 attempts. A
 * single box finds no queue and is sending within 2 s.
 */
import { LIMITS } from '../domain/limits.ts'

/** Uniform in [0, 1). */
export type Chance = () => number

/** Wait in ms before the next TCP attempt begins. */
export const knockWait = (chance: Chance): number =>
  LIMITS.knockMinMillis + chance() * (LIMITS.knockMaxMillis - LIMITS.knockMinMillis)

/** Wait in ms after the n-th failure above TCP in a row, n from 1: full jitter, capped. */
export function backoffWait(failures: number, chance: Chance): number {
  if (failures < 1) throw new Error(`schedule: backoff after ${failures} failures`)
  // 2^30 s is far above any cap; more would only lose precision.
  return chance() * Math.min(LIMITS.backoffCapMillis, LIMITS.backoffBaseMillis * 2 ** Math.min(failures - 1, 30))
}

/**
 * Wait in ms before a connected, idle link is proven again: 0.5–1.5 times `linkIdleMillis`, so
 * that 5,000 boxes ask a hub about 17 times a second altogether.
 */
export const idleWait = (chance: Chance): number => LIMITS.linkIdleMillis * (0.5 + chance())
