/**
 * `npm run backlog [-- --instances 100000 --rounds 5]`: backlog.test.ts with as many as one likes.
 * Exit status 1 when an acknowledged image was missing after the crash.
 */
import { parseArgs } from 'node:util'
import { runBacklog } from './backlog.ts'

const { values } = parseArgs({ options: { instances: { type: 'string', default: '100000' }, rounds: { type: 'string', default: '5' } } })
const [instances, rounds] = [Number(values.instances), Number(values.rounds)]
if (!Number.isInteger(instances) || instances < 1000) throw new Error('--instances takes a whole number from 1000')
if (!Number.isInteger(rounds) || rounds < 1) throw new Error('--rounds takes a whole number')
const report = await runBacklog({ instances, rounds, say: (line) => console.log(line) })
console.log(report.summary)
process.exitCode = report.queued === instances ? 0 : 1
