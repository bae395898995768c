/**
 * `status`, `queue`, `link test` and `spool` as the engineer meets them: data on stdout, messages
 * on stderr, exit statuses as documented, `--json` that parses, and a link test that names the step.
 */
import { spawn } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { writeSyntheticSeries } from '../../firmware/cli/synthetic.ts'
import { element, encodeElements } from '../../firmware/dicom/element.ts'
import { fileMeta } from '../../firmware/dicom/file-meta.ts'
import { newUid } from '../../firmware/dicom/uid.ts'
import { FIRMWARE } from '../faults/processes.ts'
import { dicomFiles, drained, keep, startPair, type Side } from '../pair.ts'
import { part10 } from '../peers/dataset.ts'
import { freePort, scratch, until } from '../peers/process.ts'

interface Said {
  readonly status: number
  readonly out: string
  readonly err: string
}

/** The two streams apart. `millis`: Ctrl-C after so long. */
function run(args: readonly string[], millis?: number): Promise<Said> {
  const child = spawn(process.execPath, [FIRMWARE, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  let [out, err] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text))
  const timer = millis === undefined ? undefined : setTimeout(() => child.kill('SIGINT'), millis)
  return new Promise((resolve) => child.once('close', (code) => {
    clearTimeout(timer)
    resolve({ status: code ?? -1, out, err })
  }))
}
const ask = (side: Side, ...args: string[]): Promise<Said> => run([...args, '--config', side.config])
const linesOf = (text: string): Record<string, unknown>[] => text.trimEnd().split('\n').filter(Boolean).map((line) => JSON.parse(line) as Record<string, unknown>)

/** Of a class the box takes by configuration and the hub does not know: it will be held. */
const PRIVATE_CLASS = '1.2.826.0.1.3680043.8.999.1'
function privateImage(folder: string): string {
  mkdirSync(folder, { recursive: true })
  const names = { sopClass: PRIVATE_CLASS, sopInstance: newUid(), transferSyntax: '1.2.840.10008.1.2.1' }
  const file = join(folder, 'private.dcm')
  writeFileSync(file, Buffer.concat([fileMeta(names), encodeElements([
    element(0x00080016, 'UI', names.sopClass), element(0x00080018, 'UI', names.sopInstance),
    element(0x0020000d, 'UI', newUid()), element(0x0020000e, 'UI', newUid()),
  ])]))
  return file
}

t.test('status, queue, spool', async (t) => {
  const pair = await startPair({ box: { accept: { sopClasses: [PRIVATE_CLASS] } } })
  t.teardown(() => pair.stop())
  const { box, hub, ports } = pair
  const folder = scratch('control')

  await until('the link to be up', async () => (await box.destination('hub')).link.state === 'connected')
  const calm = await ask(box, 'status')
  t.match(calm, { status: 0, err: '' })
  t.match(calm.out, /All is well: nothing waits\./)
  const nothing = await ask(box, 'queue', 'list')
  t.match(nothing, { status: 0, out: 'Nothing waits.\n', err: '' })

  // Held: the far side does not take it.
  t.equal((await run(['send', privateImage(folder), '--to', `127.0.0.1:${ports.box}`])).status, 0)
  await until('it to be held', async () => (await box.destination('hub')).held === 1)
  const held = await ask(box, 'status')
  t.match(held.out, /1 image held: a person must look at it \(sallyport queue list --state held\)\./)
  const [status] = linesOf((await ask(box, 'status', '--json')).out)
  t.equal(status?.['role'], 'box')
  const list = await ask(box, 'queue', 'list', '--state', 'held', '--json')
  const [row] = linesOf(list.out)
  const id = String(row?.['id'])
  t.match(id, /^[0-9a-z]{26}$/)
  t.match((await ask(box, 'queue', 'list', '--state', 'held')).out, new RegExp(`${id}.*held.*does not|${id}.*held`))
  t.equal((JSON.parse((await ask(box, 'queue', 'show', id)).out) as { id: string }).id, id)
  t.match(await ask(box, 'queue', 'show', 'nobody'), { status: 1, out: '' })
  t.match(await ask(box, 'queue', 'list', '--state', 'bogus'), { status: 2, out: '', err: /an image is queued, forwarding, held/ })
  t.match(await ask(box, 'queue', 'list', '--limit', '0'), { status: 2, out: '' })
  const retried = await ask(box, 'queue', 'retry', id)
  t.match(retried, { status: 0, err: '' })
  await until('it to be held again', async () => (await box.destination('hub')).held === 1)
  t.equal((await ask(box, 'queue', 'discard', id)).status, 2, 'a reason is needed')
  t.match(await ask(box, 'queue', 'discard', id, '--reason', 'a test image'), { status: 0, err: '' })
  t.match(await ask(box, 'queue', 'discard', id, '--reason', 'again'), { status: 1 })
  await drained(box)

  // Waiting: the hub is away.
  await hub.stop()
  const files = await writeSyntheticSeries(join(folder, 'series'), 3, 32)
  t.equal((await run(['send', ...files, '--to', `127.0.0.1:${ports.box}`])).status, 0)
  await until('the link to be known as down', async () => (await box.destination('hub')).link.state === 'no-tcp')
  t.match((await ask(box, 'status')).out, /3 images waiting for hub: 127\.0\.0\.1 is there, but nothing takes connections/)
  t.equal(linesOf((await ask(box, 'queue', 'list', '--json')).out).length, 3)
  const watched = await run(['status', '--watch', '--json', '--config', box.config], 3_500)
  t.ok(linesOf(watched.out).length >= 2, `${linesOf(watched.out).length} looks`)
  t.match(await ask(hub, 'status'), { status: 3, out: '', err: /nothing answers/ })

  t.match(await ask(box, 'spool', 'verify'), { status: 0, out: '', err: /3 verified/ })
  const exported = join(folder, 'exported')
  t.equal((await ask(box, 'spool', 'export', exported)).status, 0)
  const bytesOf = (list_: readonly string[]) => list_.map((file) => part10(readFileSync(file)).dataSet.toString('hex')).sort()
  t.same(bytesOf(dicomFiles(exported)), bytesOf(files), 'bit for bit')
  t.match((await ask(box, 'spool', 'rebuild')).out, /index made anew, 3 images/)
  t.equal((await box.status()).spool.instances, 3)
  await box.stop()
  t.match(await ask(box, 'spool', 'verify'), { status: 0, err: /3 verified/ }, 'without the firmware running, too')
  await Promise.all([box.start(), hub.start()])
  await drained(box)
  await until('all to arrive', () => pair.files().length === 3)
  t.same(bytesOf(pair.files()), bytesOf(files))
})

t.test('link test names the step that fails', async (t) => {
  const silent = await freePort()
  const pair = await startPair()
  t.teardown(() => pair.stop())
  const { box, ports, certificates: set } = pair
  keep(join(box.folder, 'credentials', 'stranger'), set.foreign, set.wrongCa)
  const to = (name: string, settings: object) => ({ name, kind: 'dicom-tls', host: '127.0.0.1', port: ports.hubTls, calledAe: 'HUB', ...settings })
  const cases = [
    { name: 'right', settings: {}, step: undefined },
    { name: 'stopped', settings: { port: silent }, step: 'tcp' },
    { name: 'plain-port', settings: { port: ports.hub }, step: 'tls' },
    { name: 'tls-port', settings: { kind: 'dicom', port: ports.hubTls }, step: 'association' },
    { name: 'no-name', settings: { host: 'no-such-host.invalid' }, step: 'name' },
    { name: 'wrong-ca', settings: { identity: 'stranger' }, step: 'tls' },
  ] as const
  await box.stop()
  box.configure({
    destinations: [...cases.map(({ name, settings }) => to(name, settings)), { name: 'returned', kind: 'folder', path: 'returned' }],
    routes: [{ listener: 'lan', to: ['right'] }, { listener: 'from-hub', to: ['returned'] }],
  })
  await box.start()
  for (const { name, step } of cases) {
    const { status, out, err } = await ask(box, 'link', 'test', name, '--json')
    const steps = linesOf(out)
    const failed = steps.filter((one) => one['ok'] === false)
    t.equal(err, '')
    t.equal(status, step === undefined ? 0 : 1, `${name}: ${out}`)
    t.same(failed.map((one) => one['step']), step === undefined ? [] : [step], name)
    if (step !== undefined) t.ok(String(failed[0]?.['remedy']).length > 10, `${name}: ${String(failed[0]?.['detail'])} ${String(failed[0]?.['remedy'])}`)
  }
  const words = await ask(box, 'link', 'test', 'stopped')
  t.match(words.out, /FAILED {2}tcp/)
  t.match(await ask(box, 'link', 'test', 'nobody'), { status: 2, out: '' })
})
