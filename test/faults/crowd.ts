/**
 * Many connections of strangers at once, each doing the same wrong or useless thing until it is
 * shown out: what a port scanner, a broken device or somebody of ill will does to a listener.
 */
import { randomBytes } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import { associateRq, CT, data, echoRq, storeRq, VERIFICATION } from '../dicom/script.ts'

/** What one stranger does with its connection. */
export type Play = (socket: Socket) => void

export interface CrowdOptions {
  readonly port: number
  readonly count: number
  /** Their address; any of 127.0.0.0/8 is this machine's. */
  readonly from: string
  readonly play: Play
}

/** Connections begun at once: fewer than a listener's backlog, so that none waits for a second SYN. */
const ABREAST = 200

export class Crowd {
  /** Those that have not been shown out yet. */
  open = 0
  readonly #sockets = new Set<Socket>()

  static async gather({ port, count, from, play }: CrowdOptions): Promise<Crowd> {
    const crowd = new Crowd()
    for (let left = count; left > 0; left -= ABREAST) {
      await Promise.all(Array.from({ length: Math.min(left, ABREAST) }, () => crowd.#join(port, from, play)))
    }
    return crowd
  }

  #join(port: number, from: string, play: Play): Promise<void> {
    const socket = connect({ port, host: '127.0.0.1', localAddress: from, noDelay: true, allowHalfOpen: true })
    const shownOut = new AbortController()
    this.#sockets.add(socket)
    this.open += 1
    shownOut.signal.addEventListener('abort', () => (this.open -= 1))
    return new Promise((resolve) => {
      socket.on('error', () => {})
      socket.once('end', () => shownOut.abort())
      socket.once('close', () => {
        shownOut.abort()
        this.#sockets.delete(socket)
        resolve()
      })
      socket.once('connect', () => {
        play(socket)
        resolve()
      })
    })
  }

  disperse(): void {
    for (const socket of this.#sockets) socket.destroy()
  }
}

/** Writes the same piece for as long as the other end takes it. */
const pour = (socket: Socket, piece: Buffer): void => {
  const more = () => {
    while (!socket.destroyed && socket.write(piece));
  }
  socket.on('drain', more)
  more()
}
const drip = (socket: Socket, bytes: Buffer, everyMillis: number): void => {
  let at = 0
  const timer = setInterval(() => void socket.write(bytes.subarray(at, (at += 1))), everyMillis)
  socket.once('close', () => clearInterval(timer))
}
/** Does not go when it is asked to: it keeps its own half open. */
const reading = (socket: Socket): Socket => socket.on('data', () => {})
/** Asks for an association, and plays on when the answer comes. */
const associated = (play: Play): Play => (socket) => {
  socket.write(associateRq([{ id: 1, abstractSyntax: CT }, { id: 3, abstractSyntax: VERIFICATION }]))
  socket.once('data', () => play(socket))
}

const ENDLESS = 0xffffffff
const headOf = (type: number): Buffer => {
  const head = Buffer.alloc(6)
  head[0] = type
  head.writeUInt32BE(ENDLESS, 2)
  return head
}
const ZEROS = Buffer.alloc(64 * 1024)
const SECOND = 1000

export const PLAYS = {
  /** Connects, and says nothing. */
  silent: (socket) => void reading(socket),
  /** An A-ASSOCIATE-RQ that says it is 4 GiB long, and begins to be. */
  endlessRequest: (socket) => {
    reading(socket).write(headOf(1))
    pour(socket, ZEROS)
  },
  /** The same with a P-DATA-TF inside an association. */
  endlessData: associated((socket) => {
    reading(socket).write(headOf(4))
    pour(socket, ZEROS)
  }),
  garbage: (socket) => pour(reading(socket), randomBytes(64 * 1024)),
  /** A right request, a byte a second. */
  slowRequest: (socket) => drip(reading(socket), associateRq([{ id: 1, abstractSyntax: CT }]), SECOND),
  /** An image, a byte a second. */
  slowImage: associated((socket) => {
    reading(socket).write(Buffer.concat([data(1, 3, storeRq(1)), data(1, 0, Buffer.alloc(16_000)).subarray(0, 64)]))
    drip(socket, Buffer.alloc(16_000), SECOND)
  }),
  /** An association on which nothing follows. */
  idle: associated((socket) => void reading(socket)),
  /** Asks and asks, and never reads an answer. */
  deaf: associated((socket) => {
    socket.pause()
    pour(socket, Buffer.concat(Array.from({ length: 100 }, () => data(3, 3, echoRq(1)))))
  }),
  /** The first bytes of a TLS greeting, and no more. */
  halfGreeting: (socket) => void reading(socket).write(Buffer.from('160301020001', 'hex')),
} satisfies Record<string, Play>
