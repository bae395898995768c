/** The machine: what its processor can do, and what it is. */
import { readFileSync } from 'node:fs'
import type { Slot } from '../domain/spool.ts'

export interface Host {
  readonly manufacturer: string
  readonly model: string
  readonly processor: string
  readonly cores: number
  readonly memoryBytes: number
  readonly system: string
}

/** x86 says `flags`, arm64 says `Features`; both call it `aes`. */
const AES = /^(?:flags|Features)\s*:.*\baes\b/m

/**
 * The cipher for the spool: AES where the processor has it (1.6 GiB/s a core), ChaCha20 where it
 * has not (there AES is several times slower, and leaks time through the cache). Small ARM boards
 * without it exist (Raspberry Pi 4). Off Linux it is a developer's laptop, which has it.
 * @param text of `/proc/cpuinfo`; read if absent.
 */
export function chooseCipher(text: string | undefined = processorText()): Slot['cipher'] {
  return text === undefined || AES.test(text) ? 'aes-256-gcm' : 'chacha20-poly1305'
}

function processorText(): string | undefined {
  try {
    return readFileSync('/proc/cpuinfo', 'latin1')
  } catch {
    return undefined
  }
}

/**
 * For the status page and bug reports. Takes some 100 ms and starts processes of its own, so it
 * is asked once, by the supervisor, after everything runs.
 */
export async function describeHost(): Promise<Host> {
  // Heavy, and needed nowhere on the way of an image: loaded when asked for.
  const { system, cpu, mem, osInfo } = await import('systeminformation')
  const [machine, processor, memory, os] = await Promise.all([system(), cpu(), mem(), osInfo()])
  return {
    manufacturer: machine.manufacturer,
    model: machine.model,
    processor: `${processor.manufacturer} ${processor.brand}`.trim(),
    cores: processor.cores,
    memoryBytes: memory.total,
    system: `${os.distro} ${os.release}`.trim(),
  }
}
