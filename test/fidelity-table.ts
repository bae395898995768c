/**
 * `npm run fidelity [-- FILE…]`: sends the corpus (or the files named) through a box and a hub
 * into a folder, a storescp and an Orthanc, and prints as Markdown what did not arrive byte for
 * byte and why.
 */
import { corpus } from './peers/corpus.ts'
import { fidelity } from './roles/fidelity.ts'
import { countsOf, tableOf } from './roles/refusals.ts'

const { mixed, series, present, sentence } = corpus()
const named = process.argv.slice(2)
if (named.length === 0 && !present) {
  console.error(sentence)
  process.exitCode = 1
} else {
  const fates = await fidelity(named.length > 0 ? named : [...mixed, ...series])
  console.log([...countsOf(fates).map((line) => `- ${line}`), '', ...tableOf(fates)].join('\n'))
}
