/**
 * Our median against a peer's.
 */
import type { Job, Ratio } from './bench.ts'
import { rateOf, spreadOf, type Measured, type Sample } from './sample.ts'

const VALUES = {
  rate: rateOf,
  speed: (sample: Sample) => 1 / sample.seconds,
  cpu: (sample: Sample) => sample.cpuSeconds / sample.instances,
} as const
export type Quantity = keyof typeof VALUES

export const medianOf = (measured: Measured | undefined, quantity: Quantity): number =>
  measured === undefined ? NaN : spreadOf(measured.samples.map(VALUES[quantity])).median

export function ratio(what: string, job: Job, peer: string, quantity: Quantity, target?: Ratio['target'], subject?: string): Ratio {
  const ours = job.measured.find((one) => (subject === undefined ? one.ours : one.name === subject))
  const theirs = job.measured.find((one) => one.name === peer)
  return { what, value: medianOf(ours, quantity) / medianOf(theirs, quantity), ...(target && { target }) }
}
