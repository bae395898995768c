/**
 * What really crosses the wire on loopback, seen by tcpdump. Needs CAP_NET_RAW: as a plain user
 * `capture` throws with tcpdump's own words.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { scratch, start } from './process.ts'

export interface Capture {
  readonly file: string
  /** Ends the capture; everything seen until now is in the file. */
  stop(): Promise<Recording>
}

export interface Recording {
  /** Bytes of the capture file, packet headers included. */
  readonly bytes: number
  /** True when a packet holds the text. Loopback packets are large, but a text across two is missed. */
  contains(text: string | Buffer): boolean
}

/** `filter` as tcpdump takes it: `tcp port 104`. */
export async function capture(filter: string): Promise<Capture> {
  const file = join(scratch('capture'), 'lo.pcap')
  // Unbuffered and immediate, so that a SIGTERM right after the last byte loses nothing; root stays root to write there.
  const args = ['-i', 'lo', '-n', '-s', '0', '-B', '16384', '-U', '--immediate-mode', '-Z', 'root', '-w', file, ...filter.split(' ')]
  const peer = await start('tcpdump', args, { ready: /listening on lo/ })
  return {
    file,
    stop: async () => {
      await new Promise((resolve) => setTimeout(resolve, 150)) // the kernel hands packets over in blocks
      await peer.stop()
      const seen = readFileSync(file)
      return { bytes: seen.length, contains: (text) => seen.includes(text) }
    },
  }
}
