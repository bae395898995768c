/**
 * A delivered image is bit-exact, or a status says why it is not there.
 */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { makeSide, startPair } from '../pair.ts'
import { corpus, readable } from '../peers/corpus.ts'
import { part10 } from '../peers/dataset.ts'
import { storescp } from '../peers/dcmtk.ts'
import { finish, freePort, scratch, until } from '../peers/process.ts'
import { ENDS, fidelity, send } from './fidelity.ts'
import { PRIVATE_CLASS, writeOddObjects } from './odd-objects.ts'
import { countsOf, tableOf } from './refusals.ts'

const digestOf = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')
const { present, sentence, mixed, series } = corpus()

t.test('what modalities get wrong is carried all the same', async (t) => {
  const accept = { accept: { sopClasses: [PRIVATE_CLASS] } }
  const pair = await startPair({ box: accept, hub: accept })
  t.teardown(() => pair.stop())
  const paths = writeOddObjects(scratch('odd'))
  const { sent, passedOver } = await send(pair.ports.box, [...paths.values()])
  t.strictSame([...passedOver], [], 'the sender passes over none')
  await until('all to be in the folder', () => pair.files().length >= paths.size, 30_000).catch(() => {})
  const arrived = pair.files().map((path) => part10(readFileSync(path)))
  for (const [what, path] of paths) {
    const { dataSet } = part10(readFileSync(path))
    const answer = sent.get(path)
    t.equal(answer?.ok, true, `${what}: ${answer?.text ?? 'no answer'}`)
    const same = arrived.filter((one) => one.sopInstance === answer?.sopInstance && one.dataSet.equals(dataSet))
    t.equal(same.length, 1, `${what}: arrives byte for byte`)
  }
})

/** What DCMTK makes of a file in Implicit VR with explicit lengths: equal for equal contents. */
async function normal(path: string): Promise<Buffer | undefined> {
  const target = join(scratch('normal'), 'a.dcm')
  const { status } = await finish('dcmconv', ['-q', '+F', '+ti', '+e', '-g', path, target])
  return status === 0 ? part10(readFileSync(target)).dataSet : undefined
}

const EXPLICIT_LITTLE = '1.2.840.10008.1.2.1'
const EXPLICIT_BIG = '1.2.840.10008.1.2.2'
const DEFLATED = '1.2.840.10008.1.2.1.99'
const IMPLICIT = '1.2.840.10008.1.2'
const RECODED = new Set([EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED])

t.test('a far side that takes only Implicit VR: re-encoded without loss where that can be done, held at once where not', async (t) => {
  if (!present) return t.pass(sentence)
  const scp = await storescp({ options: ['+xi', '+uf'], noDelay: true })
  const port = await freePort()
  const box = makeSide('box', {
    tenant: 'north',
    listeners: [{ name: 'lan', port }],
    destinations: [{ name: 'old', kind: 'dicom', host: '127.0.0.1', port: scp.port, calledAe: 'OLD' }],
    routes: [{ to: ['old'] }],
  })
  t.teardown(() => Promise.all([box.stop(), scp.stop()]))
  await box.start()
  const files = readable(mixed).filter(({ name }) => !/palettes|truncated/.test(name)) // no far side of ours takes these
  const { sent } = await send(port, files.map(({ path }) => path))
  await until('everything to be sent or held', async () => (await box.destination('old')).queued + (await box.destination('old')).forwarding === 0)
  const [receipts, held] = [await box.receipts(), await box.queue('state=held')]
  const arrived = scp.files().map((path) => ({ ...part10(readFileSync(path)), path }))
  let [recoded, kept, refused] = [0, 0, 0]
  for (const { path, name, transferSyntax, dataSet } of files) {
    const answer = sent.get(path)
    if (answer?.ok !== true) continue
    const bytes = digestOf(dataSet)
    const receipt = receipts.find(({ digest }) => digest === bytes)
    const there = arrived.filter(({ sopInstance }) => sopInstance === answer.sopInstance)
    if (transferSyntax === IMPLICIT) {
      kept += 1
      t.ok(receipt !== undefined && receipt.sentAs === undefined && there.some((one) => one.dataSet.equals(dataSet)), `${name}: as it is`)
    } else if (RECODED.has(transferSyntax)) {
      recoded += 1
      t.equal(receipt?.sentAs, IMPLICIT, `${name}: the receipt says how it was sent`)
      const wanted = await normal(path)
      const got = await Promise.all(there.map((one) => normal(one.path)))
      t.ok(wanted !== undefined && got.some((one) => one?.equals(wanted)), `${name}: nothing lost`)
    } else {
      refused += 1
      const delivery = held.find(({ digest }) => digest === bytes)?.deliveries[0]
      t.match(delivery, { state: 'held', code: 'CONTEXT_REFUSED', detail: /none of the transfer syntaxes/ }, `${name}: held, with the reason`)
      t.ok((delivery?.attempts ?? 9) <= 1, `${name}: at once`)
    }
  }
  t.ok(recoded > 20 && kept > 3 && refused > 20, `${recoded} re-encoded, ${kept} as they are, ${refused} held`)
})

t.test('the corpus through box and hub', async (t) => {
  if (!present) return t.pass(sentence)
  const fates = await fidelity([...mixed, ...series])
  for (const line of [...countsOf(fates), ...tableOf(fates)]) t.comment(line)
  for (const { path, name, passedOver, refused, arrivals, digests } of fates) {
    if (passedOver !== undefined) {
      // A C-STORE names class and instance: a file that names either nowhere cannot be sent. A DICOMDIR is no image.
      const { output } = await finish('dcmdump', ['-q', '-Un', ...['0002,0002', '0002,0003', '0008,0016', '0008,0018', '0004,1220'].flatMap((tag) => ['+P', tag]), path])
      const names = (...tags: string[]) => tags.some((tag) => output.includes(`(${tag}) UI [`))
      t.ok(output.includes('(0004,1220)') || !(names('0002,0002', '0008,0016') && names('0002,0003', '0008,0018')), `${name}: cannot be sent`)
      continue
    }
    if (refused !== undefined) {
      // The box owes a refusal only to what its data set does not show to be an image at all.
      const { output } = await finish('dcmdump', ['-q', '-Un', '+p', ...['0008,0016', '0008,0018', '0020,000d', '0020,000e'].flatMap((tag) => ['+P', tag]), path])
      // Those inside of a sequence are another image's; their lines begin with the sequence's tag.
      t.notMatch(output, /^\([0-9a-f,]+\) UI \[/m, `${name}: holds none of the four identifiers`)
      t.match(refused, /^C000H .*none of the identifiers/, `${name}: ${refused}`)
      continue
    }
    t.strictSame(digests, { box: true, hub: true }, `${name}: box and hub name its digest`)
    for (const end of ENDS) {
      const arrival = arrivals[end]
      const fine = arrival?.kind === 'identical' || (end !== 'folder' && (arrival?.kind === 'rewritten' || ((arrival?.kind === 'held' || arrival?.kind === 'waiting') && arrival.alone && arrival.why !== '')))
      t.ok(fine, `${name} → ${end}: ${arrival?.kind ?? 'nowhere'}`)
    }
  }
})
