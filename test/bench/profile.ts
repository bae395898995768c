/**
 * Where our processes spend their time: V8's own sampling profiles (`node --cpu-prof`) of the
 * supervisor and its workers, gathered while a load runs, as shares of the time they were busy.
 */
import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { descendants, freePort, scratch, until } from '../peers/process.ts'
import { inspect } from '../faults/processes.ts'
import { Bench, type Load } from './bench.ts'
import { sink } from './sink.ts'
import { storescu } from './sender.ts'

interface Profile {
  readonly nodes: readonly { id: number; callFrame: { functionName: string; url: string; lineNumber: number } }[]
  readonly samples: readonly number[]
  readonly timeDeltas: readonly number[]
}

export interface Spent {
  readonly process: string
  readonly busySeconds: number
  /** By share, largest first. */
  readonly groups: readonly { readonly name: string; readonly share: number }[]
  readonly functions: readonly { readonly name: string; readonly where: string; readonly share: number }[]
}

const TOP = 25
/** Images each process carries while it is watched. */
const ROUNDS = 4

const IDLE = new Set(['(idle)'])

/** Functions of Node written in C++ have no file; their names tell. */
const NATIVE: readonly [RegExp, string][] = [
  [/^\(garbage collector\)$/, 'garbage collection'],
  [/^\(program\)$/, 'native, not named (kernel, libuv, V8)'],
  [/^(writev?|writeBuffer|writeBuffers|writeUtf8String|writeLatin1String|readStart|readStop|shutdown|start)$/, 'sockets and pipes'],
  [/^(open|close|read|fdatasync|fstat|writeString|unlink)$/, 'files'],
  [/^(Hash|update|final|digest|getAuthTag|setAuthTag|setAAD|CipherBase|Hmac|crc32|randomFillSync|SecretKeyObject)/, 'crypto and hashes'],
  [/^(batch_|db_|iterator_)/, 'LevelDB'],
]
const NODE: readonly [RegExp, string][] = [
  [/internal\/crypto|node:crypto|internal\/tls|node:_?tls/, 'crypto and hashes (Node)'],
  [/node:fs|internal\/fs/, 'files (Node)'],
  [/node:net|stream|node:dgram|events/, 'sockets and streams (Node)'],
  [/child_process|internal\/process|task_queues|async_hooks|timers/, 'tasks, timers, IPC (Node)'],
  [/buffer/, 'buffers (Node)'],
]

function groupOf(name: string, url: string): string {
  const room = /\/firmware\/([a-z]+)\//.exec(url)
  if (room) return `ours: ${room[1]}`
  const library = /\/node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(url)
  if (library) return `library: ${library[1]}`
  if (url.startsWith('node:')) return NODE.find(([pattern]) => pattern.test(url))?.[1] ?? 'Node'
  return NATIVE.find(([pattern]) => pattern.test(name))?.[1] ?? 'native'
}

function read(file: string, process: string): Spent {
  const taken = JSON.parse(readFileSync(file, 'utf8')) as Profile
  const nodes = new Map(taken.nodes.map((node) => [node.id, node]))
  const groups = new Map<string, number>()
  const functions = new Map<string, { name: string; where: string; micros: number }>()
  let busy = 0
  for (const [at, id] of taken.samples.entries()) {
    const frame = nodes.get(id)?.callFrame
    const micros = taken.timeDeltas[at] ?? 0
    if (frame === undefined || IDLE.has(frame.functionName)) continue
    busy += micros
    const group = groupOf(frame.functionName, frame.url)
    groups.set(group, (groups.get(group) ?? 0) + micros)
    const where = frame.url === '' ? group : `${frame.url.replace(/^.*\/(firmware|node_modules)\//, '$1/')}:${frame.lineNumber + 1}`
    const key = `${frame.functionName} ${where}`
    const entry = functions.get(key) ?? { name: frame.functionName || '(anonymous)', where, micros: 0 }
    entry.micros += micros
    functions.set(key, entry)
  }
  const largest = <T extends { readonly share: number }>(all: T[]) => all.sort((a, b) => b.share - a.share)
  return {
    process,
    busySeconds: busy / 1e6,
    groups: largest([...groups].map(([name, micros]) => ({ name, share: micros / busy }))),
    functions: largest([...functions.values()].map(({ name, where, micros }) => ({ name, where, share: micros / busy }))).slice(0, TOP),
  }
}

/** `--cpu-prof` begins with the process: the load must outweigh the loading of its modules. */
export async function profile(load: Load): Promise<Spent[]> {
  const folder = scratch('profile')
  mkdirSync(folder, { recursive: true })
  const bench = new Bench(load, { NODE_OPTIONS: `--cpu-prof --cpu-prof-interval=500 --cpu-prof-dir=${folder}` })
  const names = new Map<number, string>()
  try {
    const port = await freePort()
    const { side, port: lan } = await bench.makeBox({ port })
    const { pid, exited } = await side.start()
    names.set(pid, 'supervisor')
    for (const worker of descendants(pid)) names.set(worker, /worker (\w+)/.exec(inspect(worker)?.command ?? '')?.[1] ?? 'worker')
    const far = await sink({ identity: bench.sink, ca: bench.ca, port })
    bench.later(() => far.stop())
    for (let round = 1; round <= ROUNDS; round += 1) {
      await storescu({ port: lan }, bench.fresh(load.instances).files, { noDelay: true })
      await far.arrived(round * load.instances)
      await until('the queue to be empty', async () => (await side.status()).spool.instances === 0)
    }
    // In order, so that every process writes its profile.
    process.kill(pid, 'SIGTERM')
    await exited
  } finally {
    await bench.end()
  }
  return readdirSync(folder).flatMap((name) => {
    const pid = Number(/^CPU\.\d+\.\d+\.(\d+)\./.exec(name)?.[1])
    const process = names.get(pid)
    return process === undefined ? [] : [read(join(folder, name), process)]
  })
}
