/**
 * A TCP proxy on a free port that fails the way links fail, on command. What it passes on, it
 * passes on unchanged and in order.
 *
 * INVARIANTS: a fault set now applies to connections open now and later, until `reopen`.
 * Bytes are counted as they leave for the far side, so `after` cuts are exact to the byte.
 */
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'

/** Bytes one direction of one connection may hold back before its source is paused. */
const WINDOW = 8 * 1024 * 1024

/** How long a side that got a FIN may take to close before it is closed for it. */
const FIN_MILLIS = 2000

export type Direction = 'toServer' | 'toClient'
export type How = 'fin' | 'reset'

interface Chunk {
  readonly due: number
  /** Undefined: the source said FIN. */
  readonly data: Buffer | undefined
}

interface Trigger {
  readonly direction: Direction
  /** Bytes still to pass in that direction, all connections together. */
  left: number
  readonly fire: (on: Connection) => void
}

/** One direction of one connection. */
class Lane {
  readonly direction: Direction
  readonly #proxy: Proxy
  readonly #connection: Connection
  readonly #source: Socket
  readonly #sink: Socket
  #queue: Chunk[] = []
  #held = 0
  #timer: NodeJS.Timeout | undefined
  #blocked = false

  constructor(proxy: Proxy, connection: Connection, direction: Direction, source: Socket, sink: Socket) {
    this.#proxy = proxy
    this.#connection = connection
    this.direction = direction
    this.#source = source
    this.#sink = sink
    source.on('data', (data) => {
      if (connection.gone) return
      this.#held += data.length
      this.#queue.push({ due: proxy.dueFor(direction, data.length), data })
      this.pump()
    })
    source.on('end', () => {
      this.#queue.push({ due: proxy.dueFor(direction, 0), data: undefined })
      this.pump()
    })
    sink.on('drain', () => {
      this.#blocked = false
      this.pump()
    })
  }

  pump(): void {
    if (this.#connection.gone) return
    const silent = this.#proxy.isSilent
    if (silent || this.#held > WINDOW) this.#source.pause()
    else this.#source.resume()
    clearTimeout(this.#timer)
    if (silent) return
    for (let head = this.#queue[0]; head !== undefined && !this.#blocked; head = this.#queue[0]) {
      const wait = head.due - performance.now()
      if (wait > 0.5) {
        this.#timer = setTimeout(() => this.pump(), wait)
        return
      }
      this.#queue.shift()
      if (head.data === undefined) {
        this.#sink.end()
        continue
      }
      this.#held -= head.data.length
      this.#pass(head.data)
      if (this.#connection.gone) return
    }
    if (this.#held <= WINDOW) this.#source.resume()
  }

  /** Up to a trigger's last byte passes; then it fires. */
  #pass(data: Buffer): void {
    const trigger = this.#proxy.triggerOf(this.direction)
    const passing = trigger === undefined ? data : data.subarray(0, Math.max(0, trigger.left))
    if (passing.length > 0 && !this.#proxy.drops(this.direction)) {
      this.#proxy.count(this.direction, passing.length)
      this.#blocked = !this.#sink.write(passing)
    }
    if (trigger === undefined) return
    trigger.left -= passing.length
    if (trigger.left > 0) return
    this.#proxy.disarm(trigger)
    trigger.fire(this.#connection)
    const rest = data.subarray(passing.length)
    if (rest.length > 0 && !this.#connection.gone) this.#pass(rest)
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#queue = []
  }
}

class Connection {
  gone = false
  /** One side was lost while nothing could be told to the other. */
  #broken = false
  readonly #proxy: Proxy
  readonly #client: Socket
  readonly #server: Socket
  readonly #lanes: readonly Lane[]

  constructor(proxy: Proxy, client: Socket, target: { host: string; port: number }, ended: () => void) {
    this.#proxy = proxy
    this.#client = client.setNoDelay()
    this.#server = connect({ ...target, allowHalfOpen: true }).setNoDelay()
    this.#lanes = [
      new Lane(proxy, this, 'toServer', this.#client, this.#server),
      new Lane(proxy, this, 'toClient', this.#server, this.#client),
    ]
    let closed = 0
    for (const [socket, other] of [
      [this.#client, this.#server],
      [this.#server, this.#client],
    ] as const) {
      // A reset, or a refused connection, on one side is one on the other: but not in a black hole.
      socket.on('error', () => {
        if (proxy.isSilent) this.#broken = true
        else other.resetAndDestroy()
      })
      socket.on('close', () => {
        closed += 1
        if (closed < 2) return
        this.gone = true
        for (const lane of this.#lanes) lane.stop()
        ended()
      })
    }
    this.pump()
  }

  pump(): void {
    if (this.#broken && !this.#proxy.isSilent) this.cut('reset')
    for (const lane of this.#lanes) lane.pump()
  }

  cut(how: How): void {
    this.gone = true
    for (const lane of this.#lanes) lane.stop()
    for (const socket of [this.#client, this.#server]) {
      if (how === 'reset') socket.resetAndDestroy()
      else {
        // Read on, into nothing: closing with bytes unread would turn the FIN into an RST.
        socket.end()
        socket.resume()
        setTimeout(() => socket.destroy(), FIN_MILLIS).unref()
      }
    }
  }
}

export class Proxy {
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
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject).listen(this.port, '127.0.0.1', resolve)
    })
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

  // for the lanes

  get isSilent(): boolean {
    return this.#silent
  }

  drops(direction: Direction): boolean {
    return direction === 'toClient' && this.#dropping !== undefined
  }

  /** When bytes that arrive now may leave, `performance.now()` clock. */
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
