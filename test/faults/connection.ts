/**
 * One connection through the proxy: two lanes, each a queue of what has come and not yet left.
 */
import { connect, type Socket } from 'node:net'

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

export interface Trigger {
  readonly direction: Direction
  /** Bytes still to pass in that direction, all connections together. */
  left: number
  readonly fire: (on: Connection) => void
}

/** What every connection asks of the link it is on, again for each chunk. */
export interface Link {
  /** Nothing moves. */
  readonly isSilent: boolean
  /** What goes this way is lost. */
  drops(direction: Direction): boolean
  /** When bytes that arrive now may leave, `performance.now()` clock. */
  dueFor(direction: Direction, bytes: number): number
  triggerOf(direction: Direction): Trigger | undefined
  disarm(trigger: Trigger): void
  count(direction: Direction, bytes: number): void
}

/** One direction of one connection. */
class Lane {
  readonly direction: Direction
  readonly #link: Link
  readonly #connection: Connection
  readonly #source: Socket
  readonly #sink: Socket
  #queue: Chunk[] = []
  #held = 0
  #timer: NodeJS.Timeout | undefined
  #blocked = false

  constructor(link: Link, connection: Connection, direction: Direction, source: Socket, sink: Socket) {
    this.#link = link
    this.#connection = connection
    this.direction = direction
    this.#source = source
    this.#sink = sink
    source.on('data', (data) => {
      if (connection.gone) return
      this.#held += data.length
      this.#queue.push({ due: link.dueFor(direction, data.length), data })
      this.pump()
    })
    source.on('end', () => {
      this.#queue.push({ due: link.dueFor(direction, 0), data: undefined })
      this.pump()
    })
    sink.on('drain', () => {
      this.#blocked = false
      this.pump()
    })
  }

  pump(): void {
    if (this.#connection.gone) return
    const silent = this.#link.isSilent
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
    const trigger = this.#link.triggerOf(this.direction)
    const passing = trigger === undefined ? data : data.subarray(0, Math.max(0, trigger.left))
    if (passing.length > 0 && !this.#link.drops(this.direction)) {
      this.#link.count(this.direction, passing.length)
      this.#blocked = !this.#sink.write(passing)
    }
    if (trigger === undefined) return
    trigger.left -= passing.length
    if (trigger.left > 0) return
    this.#link.disarm(trigger)
    trigger.fire(this.#connection)
    const rest = data.subarray(passing.length)
    if (rest.length > 0 && !this.#connection.gone) this.#pass(rest)
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#queue = []
  }
}

export class Connection {
  gone = false
  /** One side was lost while nothing could be told to the other. */
  #broken = false
  readonly #link: Link
  readonly #client: Socket
  readonly #server: Socket
  readonly #lanes: readonly Lane[]

  constructor(link: Link, client: Socket, target: { host: string; port: number }, ended: () => void) {
    this.#link = link
    this.#client = client.setNoDelay()
    this.#server = connect({ ...target, allowHalfOpen: true }).setNoDelay()
    this.#lanes = [
      new Lane(link, this, 'toServer', this.#client, this.#server),
      new Lane(link, this, 'toClient', this.#server, this.#client),
    ]
    let closed = 0
    for (const [socket, other] of [
      [this.#client, this.#server],
      [this.#server, this.#client],
    ] as const) {
      // A reset, or a refused connection, on one side is one on the other: but not in a black hole.
      socket.on('error', () => {
        if (link.isSilent) this.#broken = true
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
    if (this.#broken && !this.#link.isSilent) this.cut('reset')
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
