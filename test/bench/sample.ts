/**
 * One measurement, and what several of them say together.
 */
import type { Usage } from './usage.ts'

export interface Sample extends Usage {
  readonly seconds: number
  readonly instances: number
  /** Of data sets. */
  readonly bytes: number
}

/** Decimal megabytes, as networks and disks are sold. */
export const rateOf = (sample: Sample): number => sample.bytes / 1e6 / sample.seconds

export interface Spread {
  readonly min: number
  readonly median: number
  readonly max: number
}

export function spreadOf(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b)
  const [low, high] = [sorted[Math.floor((sorted.length - 1) / 2)], sorted[Math.ceil((sorted.length - 1) / 2)]]
  return { min: sorted[0] ?? NaN, median: ((low ?? NaN) + (high ?? NaN)) / 2, max: sorted.at(-1) ?? NaN }
}

/** Something that is measured several times, beside others. */
export interface Runner {
  readonly name: string
  /** Ours; the others are what it is compared with. */
  readonly ours?: boolean
  run(): Promise<Sample>
}

export interface Measured {
  readonly name: string
  readonly ours: boolean
  readonly samples: readonly Sample[]
}

/** A B C, C B A, A B C …: whatever drifts in the machine meets all of them. */
export async function interleave(rounds: number, runners: readonly Runner[], between: () => Promise<unknown>): Promise<Measured[]> {
  const samples = new Map(runners.map((runner) => [runner, [] as Sample[]]))
  for (let round = 0; round < rounds; round += 1) {
    for (const runner of round % 2 === 0 ? runners : runners.toReversed()) {
      await between()
      samples.get(runner)?.push(await runner.run())
    }
  }
  return runners.map((runner) => ({ name: runner.name, ours: runner.ours ?? false, samples: samples.get(runner) ?? [] }))
}
