/**
 * The corpus' fates as a table for the README: everything that did not arrive byte for byte
 * everywhere, with the reason as it was said.
 */
import { ENDS, type Arrival, type Fate } from './fidelity.ts'

interface Row {
  readonly where: string
  readonly what: string
  readonly why: string
  readonly files: string[]
}

const WHAT = {
  held: 'held by the hub',
  waiting: 'tried again and again by the hub',
  rewritten: 'arrives, but not byte for byte',
  lost: 'LOST',
} as const

/** Names without what they have in common: repository and folders. */
const short = (name: string): string => name.replace(/^pydicom-src_pydicom_data_|^dicomParser-/, '').replace(/^(test|charset)_files_/, '')

const same: Record<string, string> = {
  storescp: 'refused by storescp +B just the same without us',
  orthanc: 'refused by Orthanc just the same without us',
}

function whyOf(end: string, arrival: Exclude<Arrival, { kind: 'identical' }>): string {
  if (arrival.kind === 'lost') return ''
  if (arrival.kind === 'rewritten') return `${end === 'orthanc' ? 'Orthanc' : 'storescp +B'} writes the same when it is sent the file directly`
  return `${arrival.why.replace(/\.$/, '')}${arrival.alone ? ` (${same[end] ?? ''})` : ''}`
}

export function rowsOf(fates: readonly Fate[]): Row[] {
  const rows = new Map<string, Row>()
  const add = (where: string, what: string, why: string, file: string) => {
    const key = `${where}|${what}|${why}`
    const row = rows.get(key) ?? { where, what, why, files: [] }
    rows.set(key, row)
    row.files.push(short(file))
  }
  for (const { name, passedOver, refused, arrivals } of fates) {
    if (passedOver !== undefined) add('sender', 'passed over', passedOver, name)
    else if (refused !== undefined) add('box', 'refused', refused, name)
    for (const end of ENDS) {
      const arrival = arrivals[end]
      if (arrival !== undefined && arrival.kind !== 'identical') add(end, WHAT[arrival.kind], whyOf(end, arrival), name)
    }
  }
  return [...rows.values()]
}

/** One line for each end: how many arrived, and how. */
export function countsOf(fates: readonly Fate[]): string[] {
  const sent = fates.filter(({ passedOver }) => passedOver === undefined)
  const counts = ENDS.map((end) => {
    const kinds = sent.flatMap(({ arrivals }) => (arrivals[end] === undefined ? [] : [arrivals[end].kind]))
    const of = (kind: Arrival['kind']) => kinds.filter((one) => one === kind).length
    const rest = (['rewritten', 'held', 'waiting', 'lost'] as const).flatMap((kind) => (of(kind) > 0 ? [`${of(kind)} ${kind}`] : []))
    return `${end}: ${of('identical')} byte-identical${rest.length > 0 ? `, ${rest.join(', ')}` : ''}`
  })
  return [`${fates.length} files, ${sent.length} sent, ${sent.filter(({ refused }) => refused !== undefined).length} refused by the box`, ...counts]
}

/** Markdown. */
export function tableOf(fates: readonly Fate[]): string[] {
  const cell = (text: string): string => text.replaceAll('|', '\\|')
  return [
    '| where | what | why | files |',
    '|---|---|---|---|',
    ...rowsOf(fates).map(({ where, what, why, files }) => `| ${where} | ${what} | ${cell(why)} | ${files.length}: ${files.map(cell).join(', ')} |`),
  ]
}
