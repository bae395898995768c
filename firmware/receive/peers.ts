/**
 * The addresses a listener lets in: single ones and networks, IPv4 and IPv6.
 */
import net from 'node:net'

/** An IPv4 address that came in through an IPv6 socket, as IPv4. */
export const plainAddress = (address: string): string => address.replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i, '')

export class Peers {
  readonly #anybody: boolean
  readonly #blocks = new net.BlockList()

  /**
   * @param list `*`, addresses, and networks as address/prefix length
   * @throws Error for anything else: the configuration has been checked
   */
  constructor(list: readonly string[]) {
    this.#anybody = list.includes('*')
    for (const entry of list) {
      if (entry === '*') continue
      const [address = '', prefix] = entry.split('/')
      const family = net.isIPv6(address) ? 'ipv6' : 'ipv4'
      if (prefix === undefined) this.#blocks.addAddress(address, family)
      else this.#blocks.addSubnet(address, Number(prefix), family)
    }
  }

  /** @param peer as `plainAddress` gives it; a scope (`fe80::1%eth0`) does not count. Nobody known is not let in. */
  admits(peer: string): boolean {
    return this.#anybody || (net.isIP(peer) !== 0 && this.#blocks.check(peer, net.isIPv6(peer) ? 'ipv6' : 'ipv4'))
  }
}
