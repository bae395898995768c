/**
 * Issue part 3: whatever process is killed at whatever instant, no acknowledged image is lost,
 * none is altered, none is delivered twice as two.
 */
import { once } from 'node:events'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { drained, startPair } from '../pair.ts'
import { answersOn, until } from '../peers/process.ts'
import { Chance } from './chance.ts'
import { image, newRoot } from './images.ts'
import { Ledger } from './ledger.ts'
import { Modality } from './modality.ts'
import { FIRMWARE, inspect, startTree } from './processes.ts'
import { runKillCycles } from './kill-cycles.ts'
import { trace, whyNoTracing } from './syscalls.ts'

/** `npm run kill -- --cycles 10000` runs more of them. */
const CYCLES = 300

t.setTimeout(590_000)

t.test('a worker does not outlive its supervisor, whenever that dies', async (t) => {
  const { box, ports } = await startPair({ idle: true })
  const alive: string[] = []
  const killAfter = async (millis: number, when: string) => {
    const tree = await startTree({ command: [FIRMWARE, 'box', '--config', box.config], ready: /(?:)/, control: box.control })
    const workers = await until('both workers', () => (tree.workers().length === 2 ? tree.workers() : undefined))
    await sleep(millis)
    await tree.kill(tree.pid)
    await until('its workers to end', () => workers.every(({ pid }) => inspect(pid) === undefined), 5_000).catch(() => alive.push(when))
    for (const { pid } of workers) if (inspect(pid)) process.kill(pid, 'SIGKILL')
    t.notMatch(tree.output(), /^\s+at /m, `no trace of a crash: killed ${when}`)
  }
  for (let millis = 0; millis <= 480; millis += 60) await killAfter(millis, `${millis} ms after the workers began`)
  // An orphan that waits for its port would take it from its successor, for good.
  const port = createServer().listen(ports.box, '::')
  await once(port, 'listening')
  await killAfter(1_000, 'while the receive worker waits for its port')
  port.close()
  t.same(alive, [])
})

t.test('a worker that cannot be started is started when that is possible again', { skip: whyNoTracing() ?? false }, async (t) => {
  const pair = await startPair()
  t.teardown(() => pair.stop())
  const { tree } = pair.box
  const tracing = await trace([tree.pid], ['trace=clone,clone3,vfork,fork', 'inject=clone,clone3,vfork,fork:error=EAGAIN'])
  for (const { pid } of tree.workers()) await tree.kill(pid)
  await until('a start to fail', () => tracing.lines().some((line) => line.includes('(INJECTED)')))
  await sleep(300)
  await tracing.stop()
  await until('both workers to be back', async () => tree.workers(/worker/).length === 2 && (await answersOn(pair.ports.box)))
  t.pass('they are back')
})

t.test('a worker that dies while it is given something leaves nothing behind', async (t) => {
  const pair = await startPair()
  t.teardown(() => pair.stop())
  const chance = new Chance()
  t.comment(`seed ${chance.seed}`)
  const ledger = new Ledger()
  let number = 0
  const root = newRoot()
  const modality = new Modality({ port: pair.ports.box, callingAe: 'CT1', ledger, chance, next: () => image(root, (number += 1), 20_000) })
  for (const kind of ['forward', 'receive', 'forward', 'receive', 'forward']) {
    // A queue to be given from.
    if (kind === 'forward') await pair.hub.stop()
    modality.start()
    await until('some to wait', async () => (await pair.box.status()).spool.instances >= (kind === 'forward' ? 60 : 1))
    if (kind === 'forward') await pair.hub.start()
    const { tree } = pair.box
    const before = (await pair.box.destination('hub')).delivered
    await until('some to leave', async () => (await pair.box.destination('hub')).delivered > before)
    const [worker] = tree.workers(new RegExp(`\\b${kind}\\b`))
    // What it asks for while the supervisor is deaf is answered after its death.
    tree.freeze(tree.pid)
    await sleep(100)
    if (worker) process.kill(worker.pid, 'SIGKILL')
    tree.thaw(tree.pid)
    await modality.stop()
    await drained(pair.box, 10_000).then(() => t.pass(`${kind}: all has left the box`), async (error: unknown) => {
      t.fail(String(error), { destinations: (await pair.box.status()).destinations })
    })
  }
  await drained(pair.hub)
  t.same(ledger.compare(pair.delivered), { lost: [], altered: [], twice: [] })
  await until('no association to be counted', async () => (await pair.box.status()).listeners.find(({ name }) => name === 'lan')?.associations === 0)
})

t.test('kill -9 at random instants under load', async (t) => {
  const report = await runKillCycles({ cycles: CYCLES, every: 75, say: (line) => t.comment(line) })
  t.comment(report.summary)
  t.same(report.lost, [], 'nothing that was acknowledged is lost')
  t.same(report.altered, [], 'nothing is altered')
  t.same(report.twice, [], 'nothing is delivered twice as two')
  t.same(report.left, [], 'nothing is left: no process, no part of a file, no object, no alarm, no crash')
  t.equal([...report.kills.values()].reduce((sum, times) => sum + times, 0), CYCLES)
  t.ok(report.acknowledged > CYCLES, 'images went through meanwhile')
})
