/**
 * Cable and addresses of this machine, from the kernel (Linux): `/sys/class/net` for the carrier,
 * `/proc/net/route` and `ipv6_route` for which interface leads where. Elsewhere nothing is known,
 * and nothing is claimed.
 */
import { readdirSync, readFileSync, existsSync } from 'node:fs'
import { BlockList, isIPv6 } from 'node:net'
import { networkInterfaces } from 'node:os'
import { Fault } from '../domain/errors.ts'
import { LIMITS } from '../domain/limits.ts'

export interface Interface {
  readonly name: string
  /** A lit cable, or an associated radio; undefined where the kernel does not tell (loopback). */
  readonly carrier: boolean | undefined
  /** Made of hardware, not of software. */
  readonly physical: boolean
  /** Addresses beyond the interface itself: no loopback, no link-local. */
  readonly addresses: readonly string[]
}

export interface NetworkRoute {
  readonly interface: string
  /** `network/prefix length`. */
  readonly to: string
  readonly metric: number
}

export interface Network {
  readonly interfaces: readonly Interface[]
  readonly routes: readonly NetworkRoute[]
}

/** A few small reads from the kernel, well under a millisecond; never the disk. */
export function readNetwork(): Network {
  const addresses = networkInterfaces()
  const interfaces = listDirectory(SYS).map((name): Interface => ({
    name,
    carrier: name === LOOPBACK ? undefined : read(`${SYS}/${name}/carrier`).trim() === '1',
    physical: existsSync(`${SYS}/${name}/device`),
    addresses: (addresses[name] ?? []).filter(({ address, internal }) => !internal && !isLinkLocal(address)).map(({ address }) => address),
  }))
  return { interfaces, routes: [...routes4(read('/proc/net/route')), ...routes6(read('/proc/net/ipv6_route'))] }
}

/**
 * Why nothing can leave this machine for an address; undefined when it can, or when that cannot
 * be told. @param address of the destination; without it, the way to the internet is meant.
 */
export function judgeNetwork(network: Network, address?: string): Fault | undefined {
  const { interfaces, routes } = network
  if (interfaces.length === 0) return undefined
  const name = interfaceFor(routes, address)
  if (name === LOOPBACK) return undefined
  if (name === undefined) {
    const physical = interfaces.filter((each) => each.physical)
    if (physical.length > 0 && physical.every(({ carrier }) => carrier === false))
      return new Fault('CABLE_UNPLUGGED', { interface: physical.map((each) => each.name).join(', ') })
    // With some address but no route there, TCP says it better.
    return interfaces.every((each) => each.addresses.length === 0) ? new Fault('ADDRESS_MISSING') : undefined
  }
  const used = interfaces.find((each) => each.name === name)
  if (used === undefined) return undefined
  if (used.carrier === false) return new Fault('CABLE_UNPLUGGED', { interface: name })
  return interfaces.every((each) => each.addresses.length === 0) ? new Fault('ADDRESS_MISSING') : undefined
}

/** The longest prefix wins, then the smallest metric, as in the kernel. */
export function interfaceFor(routes: readonly NetworkRoute[], address?: string): string | undefined {
  const wanted = address === undefined ? ['0.0.0.0', '::'] : [address]
  if (wanted.some(isLoopback)) return LOOPBACK
  const matching = wanted.flatMap((one) => routes.filter((route) => contains(route.to, one)))
  return matching.sort((a, b) => prefixOf(b.to) - prefixOf(a.to) || a.metric - b.metric)[0]?.interface
}

/** Polls cable, addresses and routes; @param onChange is called after each change. */
export class NetworkWatch {
  readonly #timer: NodeJS.Timeout
  #network = readNetwork()
  #signature = JSON.stringify(this.#network)

  constructor(onChange: () => void, pollMillis: number = LIMITS.networkPollMillis) {
    this.#timer = setInterval(() => {
      const network = readNetwork()
      const signature = JSON.stringify(network)
      if (signature === this.#signature) return
      this.#network = network
      this.#signature = signature
      onChange()
    }, pollMillis)
    this.#timer.unref()
  }

  get network(): Network {
    return this.#network
  }

  /** `judgeNetwork` on what the last poll saw. */
  fault(address?: string): Fault | undefined {
    return judgeNetwork(this.#network, address)
  }

  close(): void {
    clearInterval(this.#timer)
  }
}

const SYS = '/sys/class/net'
const LOOPBACK = 'lo'
const RTF_UP = 0x0001
const RTF_REJECT = 0x0200

const isLoopback = (address: string): boolean => address === '::1' || address.startsWith('127.')
const isLinkLocal = (address: string): boolean => address.startsWith('169.254.') || /^fe[89ab]/i.test(address)
const prefixOf = (network: string): number => Number(network.slice(network.indexOf('/') + 1))

function contains(network: string, address: string): boolean {
  const [base = '', prefix] = network.split('/')
  if (isIPv6(base) !== isIPv6(address)) return false
  const family = isIPv6(base) ? 'ipv6' : 'ipv4'
  const block = new BlockList()
  block.addSubnet(base, Number(prefix), family)
  return block.check(address, family)
}

/** Interface, destination, gateway, flags, -, -, metric, mask: hexadecimal in host byte order. */
function routes4(text: string): NetworkRoute[] {
  return text.split('\n').slice(1).flatMap((line) => {
    const [name, to = '', , flags = '', , , metric, mask = ''] = line.split(/\s+/)
    if (name === undefined || to.length !== 8 || (Number.parseInt(flags, 16) & (RTF_UP | RTF_REJECT)) !== RTF_UP) return []
    const octets = Buffer.from(to, 'hex').reverse().join('.')
    const bits = Number.parseInt(mask, 16).toString(2).replaceAll('0', '').length
    return [{ interface: name, to: `${octets}/${bits}`, metric: Number(metric) }]
  })
}

/** Destination, prefix length, source, its length, next hop, metric, -, -, flags, interface. */
function routes6(text: string): NetworkRoute[] {
  return text.split('\n').flatMap((line) => {
    const [to = '', length = '', , , , metric = '', , , flags = '', name] = line.trim().split(/\s+/)
    if (name === undefined || to.length !== 32 || (Number.parseInt(flags, 16) & (RTF_UP | RTF_REJECT)) !== RTF_UP) return []
    const groups = to.match(/.{4}/g) ?? []
    return [{ interface: name, to: `${groups.join(':')}/${Number.parseInt(length, 16)}`, metric: Number.parseInt(metric, 16) }]
  })
}

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    // An interface that is switched off has no carrier to read (EINVAL); others come and go.
    return ''
  }
}

function listDirectory(path: string): string[] {
  try {
    return readdirSync(path)
  } catch {
    return []
  }
}
