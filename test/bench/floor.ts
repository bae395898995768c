/**
 * What this machine can do at most: the raw operations our work is made of, through Node and with
 * nothing around them, in the same run.
 */
import { createCipheriv, createHash, randomBytes } from 'node:crypto'
import { close, fdatasync, mkdtempSync, open, rmSync, write } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from 'node:tls'
import { promisify } from 'node:util'
import { openDatabase } from '../../firmware/spool/database.ts'
import { freePort, start } from '../peers/process.ts'
import type { Bench } from './bench.ts'
import { spreadOf, type Spread } from './sample.ts'

export interface Floor {
  readonly name: string
  readonly unit: 'MB/s' | 'ms' | '1/s'
  readonly values: Spread
}

const CHUNK = 64 * 1024
const IMAGE = 512 * 1024
const now = () => performance.now()

export const FLOORS = {
  tls: 'raw TLS between two Node processes, one connection',
  crypto: 'AES-256-GCM and SHA-256 of the same bytes, one core',
  sync: 'write and fdatasync of 512 KiB, one after the other',
  puts: 'LevelDB put with sync, one after the other',
  durable: 'write, fdatasync and LevelDB put of 512 KiB, one after the other',
  durableFour: 'the same, four at once',
} as const

/** Bytes a second through one TLS connection; the far end only reads. */
async function tls(bench: Bench, bytes: number): Promise<number> {
  const port = await freePort()
  const { key, cert } = bench.sink
  const peer = await start(process.execPath, [import.meta.dirname + '/floor-sink.ts', String(port), key, cert], { ready: /ready/ })
  try {
    return await new Promise<number>((resolve, reject) => {
      const chunk = randomBytes(CHUNK)
      const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false }, () => {
        const began = now()
        let left = bytes
        const pour = () => {
          while (left > 0) {
            left -= CHUNK
            if (!socket.write(chunk)) return
          }
          socket.off('drain', pour)
          socket.end()
        }
        socket.on('drain', pour)
        socket.on('end', () => resolve(bytes / 1e6 / ((now() - began) / 1000)))
        socket.resume()
        pour()
      })
      socket.on('error', reject)
    })
  } finally {
    await peer.stop(0)
  }
}

function crypto(bytes: number): number {
  const [key, nonce, chunk] = [randomBytes(32), randomBytes(12), randomBytes(CHUNK)]
  const hash = createHash('sha256')
  const began = now()
  for (let done = 0; done < bytes; done += CHUNK) {
    hash.update(chunk)
    const cipher = createCipheriv('aes-256-gcm', key, nonce)
    cipher.update(chunk)
    cipher.final()
    cipher.getAuthTag()
  }
  hash.digest()
  return bytes / 1e6 / ((now() - began) / 1000)
}

/** Milliseconds each; `lanes` at once; with or without the file, the put. */
async function durable(count: number, lanes: number, does: { file: boolean; put: boolean }): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-floor-'))
  const database = await openDatabase(join(folder, 'index'), true)
  const image = randomBytes(IMAGE)
  const row = randomBytes(300).toString('base64')
  try {
    // Prepared, as slots are: making a file is not on the way to an answer.
    const files = await Promise.all(Array.from({ length: count }, (_, at) => promisify(open)(join(folder, String(at)), 'w')))
    let next = 0
    const lane = async () => {
      for (let at = next++; at < count; at = next++) {
        const fd = files[at] as number
        if (does.file) {
          await promisify(write)(fd, image, 0, IMAGE, 0)
          await promisify(fdatasync)(fd)
        }
        if (does.put) await database.batch([{ type: 'put', key: `i/${at}`, value: row }], { sync: true })
      }
    }
    const began = now()
    await Promise.all(Array.from({ length: lanes }, lane))
    const millis = (now() - began) / count
    await Promise.all(files.map((fd) => promisify(close)(fd)))
    return millis
  } finally {
    await database.close()
    rmSync(folder, { recursive: true, force: true })
  }
}

export async function measureFloor(bench: Bench): Promise<Floor[]> {
  const quick = bench.load.rounds < 3
  const [rounds, images, bytes] = quick ? [1, 8, 16e6] : [bench.load.rounds, 200, 1e9]
  const found = new Map<keyof typeof FLOORS, number[]>(Object.keys(FLOORS).map((key) => [key as keyof typeof FLOORS, []]))
  const add = (key: keyof typeof FLOORS, value: number) => found.get(key)?.push(value)
  const rate = (millis: number) => IMAGE / 1e6 / (millis / 1000)
  for (let round = 0; round < rounds; round += 1) {
    await bench.settle()
    add('tls', await tls(bench, bytes))
    add('crypto', crypto(bytes / 4))
    add('sync', rate(await durable(images, 1, { file: true, put: false })))
    add('puts', 1000 / (await durable(images, 1, { file: false, put: true })))
    add('durable', rate(await durable(images, 1, { file: true, put: true })))
    add('durableFour', rate(await durable(images, 4, { file: true, put: true })))
  }
  return [...found].map(([key, values]) => ({ name: FLOORS[key], unit: key === 'puts' ? '1/s' : 'MB/s', values: spreadOf(values) }))
}
