/**
 * A TCP connection to one of several addresses, as RFC 8305 ("Happy Eyeballs") has it: the next
 * address gets its try beside the first after 250 ms, or at once when one has failed; the first
 * that connects wins. (Node's own `autoSelectFamily` gives up an address after its head start,
 * and so never connects over a line slower than that.)
 */
import { connect, type Socket } from 'node:net'
import { Fault } from '../domain/errors.ts'
import { LIMITS } from '../domain/limits.ts'
import type { Address } from './names.ts'

export interface Reached {
  readonly socket: Socket
  readonly address: string
}

export interface ReachOptions {
  /** As the person wrote it, for the sentences. */
  readonly host: string
  readonly port: number
  readonly signal?: AbortSignal | undefined
  readonly connectMillis?: number | undefined
}

/**
 * @returns a connected socket, paused, without Nagle's delay; or the fault.
 * @throws the signal's reason when it is aborted.
 */
export function reach(addresses: readonly Address[], options: ReachOptions): Promise<Reached | Fault> {
  const { host, port, signal, connectMillis = LIMITS.connectMillis } = options
  signal?.throwIfAborted()
  const { promise, resolve, reject } = Promise.withResolvers<Reached | Fault>()
  const pending = new Set<Socket>()
  const errors: NodeJS.ErrnoException[] = []
  const waiting = [...addresses]
  let headStart: NodeJS.Timeout | undefined

  const end = (winner?: Socket) => {
    clearTimeout(headStart)
    clearTimeout(limit)
    signal?.removeEventListener('abort', aborted)
    for (const socket of pending) if (socket !== winner) socket.destroy()
    pending.clear()
  }
  const aborted = () => {
    end()
    reject(signal?.reason instanceof Error ? signal.reason : new Error('aborted'))
  }
  const next = () => {
    clearTimeout(headStart)
    const candidate = waiting.shift()
    if (candidate === undefined) {
      if (pending.size > 0) return
      end()
      resolve(judgeReach(errors, { host, port, seconds: connectMillis / 1000 }))
      return
    }
    const socket = connect({ host: candidate.address, port, family: candidate.family, noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MILLIS })
    pending.add(socket)
    socket.once('connect', () => {
      end(socket)
      socket.removeAllListeners('error')
      resolve({ socket, address: candidate.address })
    })
    socket.once('error', (error: NodeJS.ErrnoException) => {
      // Destroyed by `end`: the race is over.
      if (!pending.delete(socket)) return
      errors.push(error)
      next()
    })
    if (waiting.length > 0) headStart = setTimeout(next, LIMITS.attemptDelayMillis)
  }
  const limit = setTimeout(() => {
    end()
    errors.push(Object.assign(new Error('timeout'), { code: 'ETIMEDOUT' }))
    resolve(judgeReach(errors, { host, port, seconds: connectMillis / 1000 }))
  }, connectMillis)
  signal?.addEventListener('abort', aborted, { once: true })
  next()
  return promise
}

/** NAT boxes forget a silent connection after minutes; a probe each minute keeps it, and finds a dead peer. */
const KEEP_ALIVE_MILLIS = 60_000

/** The more an error tells of the far side itself, the more it counts when addresses differ. */
const TELLING = ['ECONNREFUSED', 'ECONNRESET', 'ETIMEDOUT', 'EHOSTUNREACH', 'EACCES', 'EPERM', 'ENETUNREACH', 'EADDRNOTAVAIL']

/** The one fault that several addresses' errors make. */
export function judgeReach(
  errors: readonly NodeJS.ErrnoException[],
  { host, port, seconds }: { host: string; port: number; seconds: number },
): Fault {
  const codes = errors.map((error) => error.code ?? error.message)
  const rank = (code: string) => (TELLING.includes(code) ? TELLING.indexOf(code) : TELLING.length)
  const [code = 'no address'] = codes.sort((a, b) => rank(a) - rank(b))
  switch (code) {
    case 'ECONNREFUSED':
      return new Fault('CONNECTION_REFUSED', { host, port })
    case 'ECONNRESET':
      return new Fault('CONNECTION_RESET', { host, port })
    case 'ETIMEDOUT':
      return new Fault('CONNECTION_TIMEOUT', { host, port, seconds })
    case 'EHOSTUNREACH':
      return new Fault('HOST_UNREACHABLE', { host, detail: 'the network says the machine is not there' })
    case 'ENETUNREACH':
    case 'EADDRNOTAVAIL':
      return new Fault('HOST_UNREACHABLE', { host, detail: 'this machine has no route to that network' })
    case 'EACCES':
    case 'EPERM':
      return new Fault('CONNECTION_FORBIDDEN', { host, port, detail: code })
    default:
      return new Fault('CONNECTION_FAILED', { host, port, detail: code })
  }
}
