/**
 * A peer that sends and expects exactly the bytes a test tells it to, right or wrong: built on
 * bare sockets, its PDUs put together by hand.
 */
import net from 'node:net'

export interface Pdu {
  readonly type: number
  readonly body: Buffer
}

export class Script {
  readonly socket: net.Socket
  #in = Buffer.alloc(0)
  #gone = false
  #wake: () => void = () => {}
  constructor(socket: net.Socket) {
    this.socket = socket
    socket.setNoDelay(true)
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => {
      this.#in = Buffer.concat([this.#in, chunk])
      this.#wake()
    })
    for (const event of ['end', 'close']) {
      socket.on(event, () => {
        this.#gone = true
        this.#wake()
      })
    }
  }
  static async to(port: number): Promise<Script> {
    const socket = net.connect(port, '127.0.0.1')
    await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject))
    return new Script(socket)
  }
  /** A server for one association; `play` runs with each caller. */
  static async serve(t: { teardown(close: () => void): void }, play: (peer: Script) => Promise<void>): Promise<number> {
    const sockets = new Set<net.Socket>()
    const server = net.createServer((socket) => {
      sockets.add(socket)
      play(new Script(socket)).catch(() => socket.destroy())
    })
    t.teardown(() => {
      server.close()
      for (const socket of sockets) socket.destroy()
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return (server.address() as net.AddressInfo).port
  }

  send(...parts: Buffer[]): void {
    this.socket.write(Buffer.concat(parts))
  }
  /** The next PDU; undefined when the connection is over. */
  async read(): Promise<Pdu | undefined> {
    for (;;) {
      const whole = this.#in.length >= 6 ? 6 + this.#in.readUInt32BE(2) : Infinity
      if (this.#in.length >= whole) {
        const pdu = { type: this.#in[0] ?? 0, body: Buffer.from(this.#in.subarray(6, whole)) }
        this.#in = this.#in.subarray(whole)
        return pdu
      }
      if (this.#gone) return undefined
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }
  /** Reads P-DATA-TF until one says it is the last of its message part. */
  async message(): Promise<Buffer | undefined> {
    const parts: Buffer[] = []
    for (;;) {
      const pdu = await this.read()
      if (pdu?.type !== 4) return undefined
      parts.push(pdu.body.subarray(6))
      if (((pdu.body[5] ?? 0) & 2) !== 0) return Buffer.concat(parts)
    }
  }
}

const u16 = (value: number): Buffer => Buffer.from([value >> 8, value & 0xff])
const item = (type: number, ...parts: Buffer[]): Buffer => {
  const value = Buffer.concat(parts)
  return Buffer.concat([Buffer.from([type, 0]), u16(value.length), value])
}
export const pdu = (type: number, ...parts: Buffer[]): Buffer => {
  const value = Buffer.concat(parts)
  const head = Buffer.alloc(6)
  head[0] = type
  head.writeUInt32BE(value.length, 2)
  return Buffer.concat([head, value])
}

export const CT = '1.2.840.10008.5.1.4.1.1.2'
export const VERIFICATION = '1.2.840.10008.1.1'
export const IMPLICIT = '1.2.840.10008.1.2'
export const EXPLICIT = '1.2.840.10008.1.2.1'

export interface Wish {
  readonly id: number
  readonly abstractSyntax: string
  readonly transferSyntaxes?: readonly string[]
}
/** A-ASSOCIATE-RQ. `extra` are user information items. */
export function associateRq(contexts: readonly Wish[], maximum = 16384, extra: Buffer = Buffer.alloc(0), version = 1, application = '1.2.840.10008.3.1.1.1'): Buffer {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(maximum)
  return pdu(
    1,
    u16(version),
    Buffer.alloc(2),
    Buffer.from('SALLYPORT'.padEnd(16) + 'SCRIPT'.padEnd(16)),
    Buffer.alloc(32),
    item(0x10, Buffer.from(application)),
    ...contexts.map(({ id, abstractSyntax, transferSyntaxes = [EXPLICIT] }) =>
      item(0x20, Buffer.from([id, 0, 0, 0]), item(0x30, Buffer.from(abstractSyntax)), ...transferSyntaxes.map((name) => item(0x40, Buffer.from(name)))),
    ),
    item(0x50, item(0x51, length), item(0x52, Buffer.from('1.2.3')), extra),
  )
}
/** A-ASSOCIATE-AC for contexts [id, result, transfer syntax]. */
export function associateAc(answers: readonly (readonly [number, number, string])[], maximum = 16384): Buffer {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(maximum)
  return pdu(
    2,
    u16(1),
    Buffer.alloc(66),
    item(0x10, Buffer.from('1.2.840.10008.3.1.1.1')),
    ...answers.map(([id, result, name]) => item(0x21, Buffer.from([id, 0, result, 0]), item(0x40, Buffer.from(name)))),
    item(0x50, item(0x51, length), item(0x52, Buffer.from('1.2.3'))),
  )
}
export const roleItem = (name: string, scu: number, scp: number): Buffer => item(0x54, u16(name.length), Buffer.from(name), Buffer.from([scu, scp]))
export const asyncItem = (invoked: number, performed: number): Buffer => item(0x53, u16(invoked), u16(performed))

/** One PDV in one P-DATA-TF. */
export function data(context: number, flags: number, value: Buffer): Buffer {
  const head = Buffer.alloc(6)
  head.writeUInt32BE(value.length + 2)
  head[4] = context
  head[5] = flags
  return pdu(4, head, value)
}
/** Elements of group 0000: numbers are US, text is padded with NUL. */
export function command(elements: Readonly<Record<number, number | string>>): Buffer {
  return Buffer.concat(
    Object.entries(elements).map(([element, value]) => {
      const text = typeof value === 'string' ? Buffer.from(value.length % 2 === 0 ? value : `${value}\0`) : Buffer.from([value & 0xff, value >> 8])
      const head = Buffer.alloc(8)
      head.writeUInt16LE(Number(element), 2)
      head.writeUInt32LE(text.length, 4)
      return Buffer.concat([head, text])
    }),
  )
}
export const storeRq = (messageId: number, sopInstance = '1.2.3.4', sopClass = CT, dataSetType = 0): Buffer =>
  command({ 0x0002: sopClass, 0x0100: 1, 0x0110: messageId, 0x0700: 0, 0x0800: dataSetType, 0x1000: sopInstance })
export const storeRsp = (messageId: number, status: number): Buffer => command({ 0x0100: 0x8001, 0x0120: messageId, 0x0800: 0x0101, 0x0900: status })
export const echoRq = (messageId: number): Buffer => command({ 0x0002: VERIFICATION, 0x0100: 0x30, 0x0110: messageId, 0x0800: 0x0101 })
export const RELEASE_RQ = pdu(5, Buffer.alloc(4))
export const RELEASE_RP = pdu(6, Buffer.alloc(4))
export const ABORT = pdu(7, Buffer.alloc(4))
