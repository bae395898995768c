/**
 * The far side of a benchmark that sends: `storescp +tls --ignore` with TCP_NODELAY, one process
 * for each association, which discards what it gets and notes when each image began to arrive.
 */
import type { Authority, Identity } from '../peers/certificates.ts'
import { answersOn, freePort, start, until, type Peer } from '../peers/process.ts'
import { DcmtkLog } from './dcmtk-log.ts'

export interface SinkOptions {
  readonly identity: Identity
  readonly ca: Authority
  readonly port?: number
  /** Where it listens, for reaching it and for running it there. */
  readonly host?: string
  /** In front of the command: `['ip', 'netns', 'exec', NAME]`. */
  readonly prefix?: readonly string[]
}

export interface Sink extends Peer {
  readonly port: number
  /** When each image began to arrive, milliseconds since 1970, in order. */
  began(): readonly number[]
  /** When each association was asked for. */
  associations(): readonly number[]
  /** Resolves when so many have begun to arrive. */
  arrived(instances: number, millis?: number): Promise<void>
}

/** The largest DCMTK takes: its default of 16 KiB would measure PDU headers. */
const PDU = 131_072
const [IMAGE, ASSOCIATION] = ['Received Store Request', 'Association Received']

export async function sink(options: SinkOptions): Promise<Sink> {
  const port = options.port ?? (await freePort())
  const host = options.host ?? '127.0.0.1'
  const log = new DcmtkLog(IMAGE, ASSOCIATION)
  const { identity, ca, prefix = [] } = options
  const command = [
    ...prefix, 'storescp', ...log.options, '-dhl', '+xa', '-pm', '-aet', 'SINK', '--ignore', '--fork', '--max-pdu', String(PDU),
    '+tls', identity.key, identity.cert, '+cf', ca.cert, '-rc', String(port),
  ]
  const [program = '', ...args] = command
  const peer = await start(program, args, { env: { TCP_NODELAY: '1' }, ready: () => answersOn(port, host) })
  return {
    ...peer,
    port,
    began: () => log.times(IMAGE),
    associations: () => log.times(ASSOCIATION),
    arrived: async (instances, millis = 120_000) => {
      await until(`${instances} images at the sink`, () => log.times(IMAGE).length >= instances, millis)
    },
  }
}
