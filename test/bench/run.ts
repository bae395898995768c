/**
 * `npm run bench [-- OPTIONS]`: how fast it is, beside real peers in the same run.
 */
import { execFileSync } from 'node:child_process'
import { cpus, release, totalmem } from 'node:os'
import { parseArgs } from 'node:util'
import { Bench, LOADS, type Part } from './bench.ts'
import { distance } from './distance.ts'
import { FLOORS, measureFloor, type Floor } from './floor.ts'
import { floorText, jobText, nearnessText, ratioText, spentText, type Nearness } from './print.ts'
import { profile } from './profile.ts'
import { medianOf } from './ratio.ts'
import { receive } from './receive.ts'
import { relay } from './relay.ts'
import { send } from './send.ts'

const HELP = `npm run bench [-- OPTIONS]

Measures Sallyport beside Orthanc and DCMTK, in turns, and prints medians, CPU time and memory.

  --only PART,…   of: receive, send, relay, distance, floor
  --quick         a few images once: proves that it runs, measures nothing
  --profile       where our processes spend their time, in place of the measurements
  --json          one JSON document on stdout
`

const PARTS = { receive, send, relay, distance } as const satisfies Record<string, (bench: Bench) => Promise<Part>>

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    quick: { type: 'boolean', default: false },
    profile: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
})

function firstLine(command: string, ...args: string[]): string {
  try {
    return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).split('\n')[0] ?? ''
  } catch {
    return `${command}: absent`
  }
}

const machine = () => ({
  processor: `${cpus().length} × ${cpus()[0]?.model.trim() ?? ''}`,
  memoryMiB: Math.round(totalmem() / 2 ** 20),
  kernel: release(),
  node: process.versions.node,
  openssl: process.versions.openssl,
  orthanc: firstLine('Orthanc', '--version'),
  dcmtk: firstLine('storescp', '--version'),
})

/** The floor each of our rates has under it. */
function nearness(floors: readonly Floor[], parts: ReadonlyMap<string, Part>): Nearness[] {
  const pairs = [
    ['receive', 0, 'durable receive, one association', FLOORS.durable],
    ['receive', 1, 'durable receive, four associations', FLOORS.durableFour],
    ['send', 0, 'TLS send, one association', FLOORS.tls],
    ['relay', 0, 'store and forward', FLOORS.durable],
  ] as const
  return pairs.flatMap(([part, job, what, floor]) => {
    const rate = medianOf(parts.get(part)?.jobs[job]?.measured.find(({ ours }) => ours), 'rate')
    const bound = floors.find(({ name }) => name === floor)?.values.median ?? NaN
    return Number.isFinite(rate) && Number.isFinite(bound) ? [{ what, rate, floor, share: rate / bound }] : []
  })
}

async function main(): Promise<number> {
  if (values.help) {
    process.stdout.write(HELP)
    return 0
  }
  const wanted = values.only?.split(',') ?? [...Object.keys(PARTS), 'floor']
  const unknown = wanted.find((name) => name !== 'floor' && !(name in PARTS))
  if (unknown !== undefined) {
    process.stderr.write(`bench: there is no part ${unknown}\n\n${HELP}`)
    return 2
  }
  const load = values.quick ? LOADS.quick : LOADS.full
  const say = (text: string) => {
    if (!values.json) process.stdout.write(`${text}\n`)
  }
  const about = machine()
  say(Object.entries(about).map(([name, value]) => `${name}: ${value}`).join('\n') + '\n')
  if (values.profile) {
    const spent = await profile(load)
    if (values.json) process.stdout.write(`${JSON.stringify({ machine: about, profile: spent })}\n`)
    for (const one of spent) say(spentText(one))
    return 0
  }
  const began = performance.now()
  const bench = new Bench(load)
  const parts = new Map<string, Part>()
  let floors: Floor[] = []
  for (const [name, part] of Object.entries(PARTS)) {
    if (!wanted.includes(name)) continue
    try {
      const found = await part(bench)
      parts.set(name, found)
      for (const job of found.jobs) say(jobText(job))
      for (const note of found.notes) say(`  ${note}\n`)
    } finally {
      await bench.end()
    }
  }
  if (wanted.includes('floor')) {
    floors = await measureFloor(bench)
    say(floorText(floors))
  }
  const near = nearness(floors, parts)
  const ratios = [...parts.values()].flatMap((part) => part.ratios)
  if (near.length > 0) say(nearnessText(near))
  if (ratios.length > 0) say(ratioText(ratios))
  say(`${load.rounds} rounds, in turns; ${((performance.now() - began) / 60_000).toFixed(1)} minutes`)
  if (values.json) process.stdout.write(`${JSON.stringify({ machine: about, rounds: load.rounds, parts: Object.fromEntries(parts), floors, nearness: near, ratios }, undefined, 1)}\n`)
  return 0
}

// Leaving by `exit` ends the peers and removes what was written, also when it is broken off.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    process.stderr.write(`bench: broken off by ${signal}\n`)
    process.exit(1)
  })
}
process.exit(await main())
