/**
 * A TCP proxy on a free port that fails the way links fail, on command. What it passes on, it
 * passes on unchanged and in order.
 *
 * INVARIANTS: a fault set now applies to connections open now and later, until `reopen`.
 * Bytes are counted as they leave for the far side, so `after` cuts are exact to the byte.
 */
import { once } from 'node:events'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { Connection, type Direction, type How, type Link, type Trigger } from './connection.ts'

export class Proxy implements Link {
  readonly port: number
  /** Connections ever accepted, and bytes passed on. */
  accepted = 0
  readonly bytes: Record<Direction, number> = { toServer: 0, toClient: 0 }

  readonly #server: Server
  readonly #target: { host: string; port: number }
  readonly #connections = new Set<Connection>()
  readonly #waiting = new Set<Socket>()
  #delayMillis = 0
  #bytesPerSecond = Infinity
  readonly #free: Record<Direction, number> = { toServer: 0, toClient: 0 }
  #silent = false
  #dropping: How | 'silent' | undefined
  #triggers: Trigger[] = []

  private constructor(server: Server, target: { host: string; port: number }) {
    this.#server = server
    this.#target = target
    this.port = (server.address() as AddressInfo).port
    server.on('connection', (client) => this.#accept(client))
  }

  static async open(target: { port: number; host?: string }): Promise<Proxy> {
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true })
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject).listen(0, '127.0.0.1', resolve)
    })
    return new Proxy(server, { host: '127.0.0.1', ...target })
  }

  /** Connections open now. */
  get open(): number {
    return this.#connections.size
  }

  #accept(client: Socket): void {
    this.accepted += 1
    if (this.#silent) {
      this.#waiting.add(client)
      client.on('error', () => {}).on('close', () => this.#waiting.delete(client))
      return
    }
    const connection: Connection = new Connection(this, client, this.#target, () => this.#connections.delete(connection))
    this.#connections.add(connection)
  }

  #each(act: (connection: Connection) => void): void {
    for (const connection of this.#connections) act(connection)
  }

  // faults

  /** Round trip in milliseconds added, half in each direction. Bytes already under way keep theirs. */
  delay(roundTripMillis: number): void {
    this.#delayMillis = roundTripMillis / 2
  }

  /** Bytes per second in each direction, all connections together. */
  limit(bytesPerSecond: number): void {
    this.#bytesPerSecond = bytesPerSecond
  }

  /** Ends what is open, with FIN or RST. New connections are served. */
  cut(how: How = 'fin'): void {
    this.#each((connection) => connection.cut(how))
  }

  /** Everything stays connected and nothing moves; new connections are accepted and never served. */
  blackHole(): void {
    this.#silent = true
    this.#each((connection) => connection.pump())
  }

  /**
   * Passes `bytes` more in one direction, to the byte, then cuts the connection that carried the
   * last of them. Resolves when that has happened.
   */
  cutAfter(direction: Direction, bytes: number, how: How = 'reset'): Promise<void> {
    return this.#arm(direction, bytes, (connection) => connection.cut(how))
  }

  /**
   * Passes `bytes` more to the server (0: from now), and from then on nothing back: the server
   * has done its work and its answer is lost. `then` says what the client sees once the server
   * answers. Resolves when the first answer has been swallowed.
   */
  swallow(bytes = 0, then: How | 'silent' = 'reset'): Promise<void> {
    return new Promise((resolve) => {
      const drop = () => {
        this.#dropping = then
        void this.#arm('toClient', 1, (connection) => {
          if (then !== 'silent') connection.cut(then)
          resolve()
        })
      }
      if (bytes === 0) drop()
      else void this.#arm('toServer', bytes, drop)
    })
  }

  /** Refuses new connections; what is open stays. */
  async refuse(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve())
      // `close` waits for connections, of which those still open are ours to keep: enough that it listens no more.
      setImmediate(resolve)
    })
  }

  /**
   * No fault any more, on the same port. What stood in a black hole goes on where it stopped;
   * what lost bytes for good is reset, for its stream is broken.
   */
  async reopen(): Promise<void> {
    this.#triggers = []
    this.#delayMillis = 0
    this.#bytesPerSecond = Infinity
    this.#free.toServer = this.#free.toClient = 0
    if (this.#dropping !== undefined) this.cut('reset')
    this.#dropping = undefined
    this.#silent = false
    this.#each((connection) => connection.pump())
    for (const client of this.#waiting) {
      this.#waiting.delete(client)
      this.#accept(client)
      this.accepted -= 1
    }
    if (this.#server.listening) return
    this.#server.listen(this.port, '127.0.0.1')
    await once(this.#server, 'listening')
  }

  async close(): Promise<void> {
    this.cut('reset')
    for (const client of this.#waiting) client.destroy()
    if (this.#server.listening) await new Promise((resolve) => this.#server.close(resolve))
  }

  #arm(direction: Direction, bytes: number, act: (connection: Connection) => void): Promise<void> {
    return new Promise((resolve) => {
      const fire = (connection: Connection) => {
        act(connection)
        resolve()
      }
      this.#triggers.push({ direction, left: bytes, fire })
    })
  }

  // for the connections

  get isSilent(): boolean {
    return this.#silent
  }

  drops(direction: Direction): boolean {
    return direction === 'toClient' && this.#dropping !== undefined
  }

  dueFor(direction: Direction, bytes: number): number {
    const now = performance.now()
    const start = Math.max(now, this.#free[direction])
    this.#free[direction] = start + (bytes / this.#bytesPerSecond) * 1000
    return this.#free[direction] + this.#delayMillis
  }

  triggerOf(direction: Direction): Trigger | undefined {
    return this.#triggers.find((trigger) => trigger.direction === direction)
  }

  disarm(trigger: Trigger): void {
    this.#triggers = this.#triggers.filter((other) => other !== trigger)
  }

  count(direction: Direction, bytes: number): void {
    this.bytes[direction] += bytes
  }
}
