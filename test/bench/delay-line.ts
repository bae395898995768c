/**
 * A long line between this machine and a far side: a network namespace behind two TUN devices
 * with a program between them that holds every packet back. TCP is the kernel's own, so its slow
 * start and its windows count. Needs root and /dev/net/tun; without, a TCP proxy that delays
 * bytes stands in, behind which every connection opens at once and no window is ever too small.
 */
import { spawnSync } from 'node:child_process'
import { Proxy } from '../faults/proxy.ts'
import { finish, freePort, start } from '../peers/process.ts'

export interface DelayLine {
  /** What it is and what it leaves out, in one sentence. */
  readonly sentence: string
  /** Where the far side is reached. */
  readonly host: string
  readonly port: number
  /** Where it listens, and what stands in front of its command. */
  readonly listens: { readonly host: string; readonly port: number; readonly prefix: readonly string[] }
  /** The far side listens, or does no longer. */
  up(): Promise<void>
  down(): Promise<void>
  close(): Promise<void>
}

const BITS_PER_SECOND = 1e9

export async function delayLine(roundTripMillis: number): Promise<DelayLine> {
  return (await tunnel(roundTripMillis)) ?? (await proxied(roundTripMillis))
}

const ip = async (...args: string[]): Promise<void> => {
  const { status, output } = await finish('ip', args)
  if (status !== 0) throw new Error(`ip ${args.join(' ')}: ${output}`)
}

async function tunnel(roundTripMillis: number): Promise<DelayLine | undefined> {
  if (process.getuid?.() !== 0) return undefined
  const id = process.pid % 16_384
  const [near, far, space] = [`slyn${id}`, `slyf${id}`, `sally${id}`]
  // RFC 2544: 198.18.0.0/15 is for benchmarks of this kind.
  const net = `198.18.${id >> 6}.${(id & 63) * 4}`
  const [here, there] = [net.replace(/\d+$/, (n) => String(Number(n) + 1)), net.replace(/\d+$/, (n) => String(Number(n) + 2))]
  const args = [import.meta.dirname + '/delay-line.py', near, far, String(roundTripMillis / 2), String(BITS_PER_SECOND)]
  const wire = await start('python3', args, { ready: /ready/ }).catch(() => undefined)
  if (wire === undefined) return undefined
  // A namespace outlives its maker: it goes with this process, however that ends.
  const remove = () => void spawnSync('ip', ['netns', 'delete', space])
  process.once('exit', remove)
  const close = async () => {
    await wire.stop()
    process.off('exit', remove)
    remove()
  }
  try {
    await ip('netns', 'add', space)
    await ip('link', 'set', far, 'netns', space)
    await ip('address', 'add', `${here}/30`, 'dev', near)
    await ip('link', 'set', near, 'up', 'txqueuelen', '10000')
    await ip('netns', 'exec', space, 'ip', 'address', 'add', `${there}/30`, 'dev', far)
    await ip('netns', 'exec', space, 'ip', 'link', 'set', far, 'up', 'txqueuelen', '10000')
    await ip('netns', 'exec', space, 'ip', 'link', 'set', 'lo', 'up')
  } catch {
    await close()
    return undefined
  }
  const port = await freePort()
  return {
    sentence: `The line: a network namespace behind TUN devices, ${roundTripMillis} ms round trip, 1 Gbit/s, real TCP; no loss, and segments of up to 64 KiB.`,
    host: there,
    port,
    listens: { host: there, port, prefix: ['ip', 'netns', 'exec', space] },
    // A namespace without a listener refuses by itself.
    up: () => Promise.resolve(),
    down: () => Promise.resolve(),
    close,
  }
}

async function proxied(roundTripMillis: number): Promise<DelayLine> {
  const target = await freePort()
  const proxy = await Proxy.open({ port: target })
  await proxy.refuse()
  return {
    sentence: `The line: a TCP proxy that holds bytes back, ${roundTripMillis} ms round trip; it does not model connecting, slow start, windows or loss.`,
    host: '127.0.0.1',
    port: proxy.port,
    listens: { host: '127.0.0.1', port: target, prefix: [] },
    up: async () => {
      await proxy.reopen()
      proxy.delay(roundTripMillis)
    },
    down: async () => {
      await proxy.refuse()
      proxy.cut('reset')
    },
    close: () => proxy.close(),
  }
}
