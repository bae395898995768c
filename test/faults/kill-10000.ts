/**
 * `npm run kill -- --cycles 10000 [--seed N]`: the cycles of kill.test.ts, for as long as one
 * likes; about 0.8 s each. Exit status 1 when anything was lost, altered, doubled or left.
 */
import { parseArgs } from 'node:util'
import { runKillCycles } from './kill-cycles.ts'

const { values } = parseArgs({ options: { cycles: { type: 'string', default: '10000' }, seed: { type: 'string' } } })
const cycles = Number(values.cycles)
if (!Number.isInteger(cycles) || cycles < 1) throw new Error('--cycles takes a whole number')
const began = Date.now()
const say = (line: string) => console.log(`${((Date.now() - began) / 60_000).toFixed(1)} min  ${line}`)
const report = await runKillCycles({ cycles, every: 100, say, forget: true, ...(values.seed !== undefined && { seed: Number(values.seed) }) })
console.log(report.summary)
const wrong = [...report.lost, ...report.altered, ...report.twice, ...report.left]
for (const one of wrong) console.log(one)
process.exitCode = wrong.length > 0 ? 1 : 0
