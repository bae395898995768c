/**
 * Composition root of a `forward` worker: its destinations, each with its link watch, and the
 * channel to the supervisor. It holds the identity of the link; payload is opaque to it.
 */
import path from 'node:path'
import type { Settings } from '../config/file.ts'
import type { DestinationConfig, DicomDestinationConfig } from '../config/schema.ts'
import { Fault } from '../domain/errors.ts'
import { LINK_STATES } from '../domain/link.ts'
import type { LinkState } from '../domain/link.ts'
import type { Lease, Outcome } from '../domain/spool.ts'
import { probeAssociation } from '../forward/dicom/probe.ts'
import { DicomTransport } from '../forward/dicom/transport.ts'
import type { OpenSocket } from '../forward/dicom/transport.ts'
import { Dispatch } from '../forward/dispatch.ts'
import { FolderTransport } from '../forward/folder/transport.ts'
import type { Outlet } from '../forward/outlet.ts'
import { connectDestination } from '../link/connect.ts'
import type { Target } from '../link/connect.ts'
import { Names } from '../link/names.ts'
import { testLink } from '../link/probe.ts'
import type { ProbeStep } from '../link/probe.ts'
import { diagnose } from '../link/speech.ts'
import { LinkWatch } from '../link/watch.ts'
import { IdentityFolder } from '../pki/folder.ts'
import { makeLog } from '../platform/log.ts'
import { NetworkWatch } from '../platform/network.ts'
import { ObjectReader } from '../spool/object/reader.ts'
import { Channel } from '../supervisor/channel.ts'
import type { ForwardService, ForwardWorker } from '../supervisor/methods.ts'
import { untilTold } from './worker.ts'

type Supervisor = Channel<ForwardWorker, ForwardService>

/** Folder writers at once: enough to share the disk's syncs. */
const FOLDER_WRITERS = 4

/** One destination as this worker runs it. */
interface Way {
  readonly config: DestinationConfig
  readonly dispatch: Dispatch
  readonly watch: LinkWatch | undefined
  readonly test?: () => AsyncGenerator<ProbeStep>
}

export async function runForwarding(): Promise<void> {
  const names = new Names()
  const ways = new Map<string, Way>()
  const channel: Supervisor = new Channel(process, {
    queued: ({ destination }) => {
      const way = ways.get(destination)
      way?.watch?.imageWaiting()
      way?.dispatch.wake()
    },
    test: async ({ test, destination }) => {
      const way = ways.get(destination)
      await way?.dispatch.releaseIdle()
      if (way?.test) for await (const step of way.test()) channel.note('testStep', { test, step })
      way?.watch?.check()
      channel.note('testStep', { test, step: null })
    },
  })
  const settings = await channel.ask('settings', {})
  const log = makeLog(`${settings.name}/forward`)
  const network = new NetworkWatch(() => {
    for (const { watch } of ways.values()) watch?.networkChanged()
  })
  const identities = new Map<string, IdentityFolder>()
  const identityOf = async (name: string): Promise<IdentityFolder> => {
    const known = identities.get(name)
    if (known) return known
    const folder = await IdentityFolder.open(path.join(settings.credentials, name), {
      onChange: () => {
        for (const { watch } of ways.values()) watch?.identityChanged()
      },
      onFault: (fault) => log.warn('identity', { identity: name, code: fault.code, sentence: fault.message, remedy: fault.remedy }),
    })
    identities.set(name, folder)
    return folder
  }
  const number = Number(process.env['SALLYPORT_WORKER'] ?? 0)
  for (const [index, config] of settings.destinations.entries()) {
    if (index % settings.workers.forward !== number) continue
    if (config.kind === 'folder') ways.set(config.name, folderWay(config, channel))
    else {
      const identity = config.kind === 'dicom-tls' ? await identityOf(config.identity) : undefined
      ways.set(config.name, dicomWay(config, identity, { channel, names, network, settings }))
    }
  }
  channel.note('ready', { pid: process.pid })
  for (const { watch, dispatch } of ways.values()) {
    if (watch) watch.check()
    else dispatch.setUp(true)
  }
  await untilTold()
  network.close()
  for (const folder of identities.values()) folder.close()
  for (const { watch } of ways.values()) watch?.close()
  await Promise.all([...ways.values()].map(({ dispatch }) => dispatch.close()))
}

const outletOf = (channel: Supervisor, destination: string): Outlet => ({
  lease: (count) => channel.ask('lease', { destination, count }),
  settle: (lease: Lease, outcome: Outcome, delayMillis) => channel.note('settle', { id: lease.id, destination, outcome, delayMillis }),
  waiting: () => channel.ask('waiting', { destination }),
  hold: (context, detail) => channel.note('hold', { destination, ...context, detail }),
})

const common = { open: (lease: Lease) => ObjectReader.open(lease, 'tags'), random: Math.random, now: Date.now }

/** A folder that failed (full, gone, read-only) is looked at again after this, doubled up to the last. */
const FOLDER_AGAIN_MILLIS = 1_000
const FOLDER_AGAIN_LAST_MILLIS = 30_000

function folderWay(config: Extract<DestinationConfig, { kind: 'folder' }>, channel: Supervisor): Way {
  let again = FOLDER_AGAIN_MILLIS
  let since = Date.now()
  const tell = (fault?: Fault): void => {
    const name = fault ? 'no-association' : 'connected'
    const state: LinkState = {
      state: name,
      word: LINK_STATES[name].word,
      sentence: fault?.message ?? 'The folder takes images.',
      remedy: fault?.remedy ?? '',
      since,
    }
    channel.note('link', { destination: config.name, state, associations: dispatch.associations })
  }
  const up = (): void => {
    since = Date.now()
    tell()
    dispatch.setUp(true)
  }
  const dispatch = new Dispatch({
    ...common,
    outlet: outletOf(channel, config.name),
    transport: new FolderTransport(config.path),
    most: FOLDER_WRITERS,
    holdMillis: 1_000,
    reached: () => {},
    failed: (fault) => {
      const now = Date.now()
      if (now - since > FOLDER_AGAIN_LAST_MILLIS) again = FOLDER_AGAIN_MILLIS
      since = now
      dispatch.setUp(false)
      tell(fault)
      setTimeout(up, again).unref()
      again = Math.min(again * 2, FOLDER_AGAIN_LAST_MILLIS)
    },
  })
  tell()
  return { config, dispatch, watch: undefined }
}

interface Surroundings {
  readonly channel: Supervisor
  readonly names: Names
  readonly network: NetworkWatch
  readonly settings: Settings
}

function dicomWay(config: DicomDestinationConfig, identity: IdentityFolder | undefined, around: Surroundings): Way {
  const { channel, names, network, settings } = around
  const { name, host, port, calledAe, callingAe, serverName } = config
  let address: string | undefined
  const target = (): Target | Fault => {
    if (!identity) return { host, port }
    if (!identity.current) return identity.fault ?? new Fault('OWN_PART_MISSING', { file: 'cert.pem' })
    return { host, port, tls: { identity: identity.current, serverName } }
  }
  const connect = async (): Promise<OpenSocket> => {
    const to = target()
    if (to instanceof Fault) throw to
    const connection = await connectDestination(to, { names })
    if (connection instanceof Fault) throw connection
    address = connection.address
    return { ...connection, roundTripMillis: connection.millis.tcp }
  }
  const outlet = outletOf(channel, name)
  const transport = new DicomTransport({
    connect,
    waiting: () => outlet.waiting(),
    calledAe,
    callingAe,
    times: { progressMillis: config.progressSeconds * 1000, answerMillis: config.answerSeconds * 1000 },
    limits: settings.limits,
  })
  const dispatch = new Dispatch({
    ...common,
    outlet,
    transport,
    most: config.associations,
    holdMillis: config.holdSeconds * 1000,
    reached: () => watch.noteSuccess(),
    failed: (fault) => watch.noteFailure(fault),
  })
  const watch = new LinkWatch({
    onState: (state) => {
      channel.note('link', { destination: name, state, associations: dispatch.associations })
      dispatch.setUp(state.state === 'connected')
    },
    dial: () => dispatch.probe().then(() => undefined, faultOf),
    knock: async (signal) => {
      const connection = await connectDestination({ host, port }, { names, signal })
      if (connection instanceof Fault) return connection
      connection.socket.destroy()
      return undefined
    },
    diagnose: (fault, signal) => {
      const to = target()
      return to instanceof Fault ? Promise.resolve(fault) : diagnose(fault, to, { names, signal })
    },
    network: () => network.fault(address),
  })
  async function* test(): AsyncGenerator<ProbeStep> {
    const to = target()
    if (to instanceof Fault) {
      yield { step: 'tls', ok: false, millis: 0, detail: to.message, code: to.code, remedy: to.remedy }
      return
    }
    const ends = { calledAe, callingAe, limits: settings.limits }
    yield* testLink({ target: to, network: (at) => network.fault(at), associate: (opened) => probeAssociation(opened, ends) }, { names })
  }
  return { config, dispatch, watch, test }
}

function faultOf(error: unknown): Fault {
  if (error instanceof Fault) return error
  throw error
}
