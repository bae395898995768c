/**
 * What a run found, as text for a terminal of 110 columns.
 */
import type { Job, Ratio } from './bench.ts'
import type { Floor } from './floor.ts'
import type { Spent } from './profile.ts'
import { rateOf, spreadOf, type Measured, type Spread } from './sample.ts'

const number = (value: number, digits = value < 10 ? 2 : value < 100 ? 1 : 0): string => (Number.isFinite(value) ? value.toFixed(digits) : '–')

/** Numbers to the right; the first column is words. @param wordsLast and the last one too */
function columns(rows: readonly (readonly string[])[], wordsLast = false): string {
  const widths = (rows[0] ?? []).map((_, at) => Math.max(...rows.map((cells) => cells[at]?.length ?? 0)))
  const text = (at: number) => at === 0 || (wordsLast && at === widths.length - 1)
  return rows.map((cells) => cells.map((cell, at) => (text(at) ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0))).join('  ').trimEnd()).join('\n')
}

const three = ({ min, median, max }: Spread): string[] => [number(median), number(min), number(max)]

function row({ name, samples }: Measured): string[] {
  const seconds = spreadOf(samples.map((sample) => sample.seconds)).median
  const cpu = spreadOf(samples.map((sample) => sample.cpuSeconds))
  const peak = Math.max(...samples.map((sample) => sample.peakKiB)) / 1024
  const cpuPerGigabyte = spreadOf(samples.map((sample) => sample.cpuSeconds / (sample.bytes / 1e9))).median
  return [`  ${name}`, ...three(spreadOf(samples.map(rateOf))), number(seconds), number(cpu.median, 2), number(cpuPerGigabyte), number(peak, 0)]
}

const HEAD = ['', 'MB/s', 'min', 'max', 'seconds', 'CPU s', 'CPU s/GB', 'peak MiB']

export const jobText = ({ title, measured }: Job): string => `${title}\n${columns([HEAD, ...measured.map(row)])}\n`

export function ratioText(ratios: readonly Ratio[]): string {
  const rows = ratios.map(({ what, value, target }) => {
    if (target === undefined) return [`  ${what}`, `${number(value)} ×`, '', '']
    const [sign, bound] = 'atLeast' in target ? ['≥', target.atLeast] : ['≤', target.atMost]
    const met = sign === '≥' ? value >= bound : value <= bound
    return [`  ${what}`, `${number(value)} ×`, `${sign} ${bound} ×`, met ? 'met' : 'MISSED']
  })
  return `Ratios of medians\n${columns([['', 'found', 'wanted', ''], ...rows], true)}\n`
}

export const floorText = (floors: readonly Floor[]): string =>
  `What this machine can do\n${columns([['', 'median', 'min', 'max', ''], ...floors.map(({ name, unit, values }) => [`  ${name}`, ...three(values), unit])])}\n`

export interface Nearness {
  readonly what: string
  readonly rate: number
  readonly floor: string
  readonly share: number
}

export const nearnessText = (all: readonly Nearness[]): string =>
  `How near we come\n${columns(all.map(({ what, rate, floor, share }) => [`  ${what}`, `${number(rate)} MB/s`, `${number(share * 100, 0)} %`, `of ${floor}`]), true)}\n`

const percent = (share: number): string => `${number(share * 100, 1)} %`

export const spentText = ({ process, busySeconds, groups, functions }: Spent): string => {
  const body = [
    ...groups.filter(({ share }) => share >= 0.005).map(({ name, share }) => [`  ${name}`, percent(share), '']),
    ['', '', ''],
    ...functions.map(({ name, where, share }) => [`    ${name.slice(0, 40)}`, percent(share), where]),
  ]
  return `Where ${process} spends its ${number(busySeconds)} busy seconds\n${columns(body, true)}\n`
}
