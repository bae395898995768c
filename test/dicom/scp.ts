/**
 * An acceptor of the firmware behind a real socket, which keeps everything it was given.
 */
import net from 'node:net'
import type { Duplex } from 'node:stream'
import tls from 'node:tls'
import { Acceptor, type AcceptorEnd, type AssociateRequest, type Decision, type StoreAnswer, type StoreRequest, type StoreSink } from '../../firmware/dicom/acceptor.ts'
import { LIMITS, type Limits } from '../../firmware/domain/limits.ts'

export interface Taken extends StoreRequest {
  readonly parts: Buffer[]
  ends: number
  aborts: string[]
}

export interface ScpOptions {
  readonly limits?: Partial<Limits>
  /** Instead of taking every context in its first transfer syntax. */
  readonly decide?: (rq: AssociateRequest) => Promise<Decision>
  /** Instead of a sink that keeps the bytes and answers 0000H. */
  readonly store?: (rq: StoreRequest, kept: StoreSink) => StoreSink | StoreAnswer | Promise<StoreSink | StoreAnswer>
  /** False: sinks count but keep nothing. */
  readonly keep?: boolean
  readonly tls?: tls.TlsOptions
}

export class Scp {
  readonly requests: AssociateRequest[] = []
  readonly taken: Taken[] = []
  readonly ends: AcceptorEnd[] = []
  readonly acceptors: Acceptor[] = []
  bytes = 0
  port = 0
  #wake: () => void = () => {}
  readonly #sockets: Duplex[] = []
  readonly #server: net.Server

  constructor(options: ScpOptions = {}) {
    const limits = { ...LIMITS, ...options.limits }
    const accept = (socket: Duplex): void => {
      this.#sockets.push(socket)
      this.acceptors.push(new Acceptor(socket, this.#handlers(options), limits))
    }
    this.#server = options.tls ? tls.createServer(options.tls, accept) : net.createServer(accept)
  }

  #handlers(options: ScpOptions): ConstructorParameters<typeof Acceptor>[1] {
    return {
      request: async (rq) => {
        this.requests.push(rq)
        if (options.decide) return options.decide(rq)
        return { accept: rq.contexts.map(({ id, transferSyntaxes }) => ({ id, result: 0, transferSyntax: transferSyntaxes[0] ?? '' })) }
      },
      store: (rq) => {
        const taken: Taken = { ...rq, parts: [], ends: 0, aborts: [] }
        this.taken.push(taken)
        const sink: StoreSink = {
          write: (bytes) => {
            this.bytes += bytes.length
            if (options.keep !== false) taken.parts.push(Buffer.from(bytes))
            return true
          },
          drained: async () => {},
          end: async () => {
            taken.ends++
            return { status: 0 }
          },
          abort: (reason) => taken.aborts.push(reason),
        }
        return options.store ? options.store(rq, sink) : sink
      },
      closed: (end) => {
        this.ends.push(end)
        this.#wake()
      },
    }
  }

  async listen(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve))
    this.port = (this.#server.address() as net.AddressInfo).port
    return this
  }
  /** The n-th association to end, from 0; the test's own time-out bounds it. */
  async ended(n: number): Promise<AcceptorEnd> {
    for (;;) {
      const end = this.ends[n]
      if (end) return end
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }
  close(): void {
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
  }
}

/** Listens, and is closed with the test. */
export async function scp(t: { teardown(close: () => void): void }, options: ScpOptions = {}): Promise<Scp> {
  const one = await new Scp(options).listen()
  t.teardown(() => one.close())
  return one
}
