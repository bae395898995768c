/**
 * Walks the way to a destination once, step by step, for a person who asks what is wrong: each
 * step with its time and what it found; the first that fails is explained and ends the walk.
 */
import { Fault } from '../domain/errors.ts'
import { stepOf, type LinkStep } from '../domain/link.ts'
import { secure, type Connection, type ConnectOptions, type Target } from './connect.ts'
import { Names } from './names.ts'
import { reach } from './reach.ts'
import { diagnose } from './speech.ts'

/** Plain JSON. */
export interface ProbeStep {
  readonly step: LinkStep
  readonly ok: boolean
  readonly millis: number
  /** What was found; for a failed step the sentence. */
  readonly detail: string
  readonly code?: string
  readonly remedy?: string
}

/** An association that came about; the wire is the caller's. */
export interface ProbedAssociation {
  /** Such as the AE title and implementation of the far side. */
  readonly detail: string
  /** C-ECHO. @returns what to say of it. @throws Fault */
  echo(): Promise<string>
  /** Releases it. Never fails. */
  close(): Promise<void>
}

export interface Probe {
  readonly target: Target
  /** What is wrong with cable or address for an address (undefined: not known yet). */
  readonly network?: ((address?: string) => Fault | undefined) | undefined
  /** @throws Fault; `connection.explain` says what an end before the answer means. */
  readonly associate: (connection: Pick<Connection, 'socket' | 'explain'>) => Promise<ProbedAssociation>
}

/** @throws the signal's reason when it is aborted. */
export async function* testLink(probe: Probe, options: ConnectOptions = {}): AsyncGenerator<ProbeStep, void, void> {
  const { target } = probe
  const { host, port } = target
  const names = options.names ?? new Names()
  let began = performance.now()
  const took = (): number => {
    const now = performance.now()
    const millis = now - began
    began = now
    return millis
  }
  const passed = (step: LinkStep, detail: string): ProbeStep => ({ step, ok: true, millis: took(), detail })
  const failed = async (fault: Fault, at: LinkStep): Promise<ProbeStep> => {
    const millis = took()
    const better = await diagnose(fault, target, { ...options, names })
    // An alert of TLS 1.3 comes while the association is opened, and still speaks of `tls`.
    const step = stepOf(better.code) ?? at
    return { step, ok: false, millis, detail: better.message, code: better.code, remedy: better.remedy }
  }

  const absent = probe.network?.(names.known(host)[0]?.address)
  if (absent?.code === 'CABLE_UNPLUGGED') return yield await failed(absent, 'carrier')
  yield passed('carrier', 'the cable is connected')
  if (absent !== undefined) return yield await failed(absent, 'address')
  yield passed('address', 'this machine has an address')

  const addresses = await names.resolve(host)
  if (addresses instanceof Fault) return yield await failed(addresses, 'name')
  yield passed('name', addresses.map(({ address }) => address).join(', '))

  const reached = await reach(addresses, { ...options, host, port })
  if (reached instanceof Fault) return yield await failed(reached, 'tcp')
  yield passed('tcp', `${reached.address} port ${port}`)

  const secured = await secure(reached.socket, target, options)
  if (secured instanceof Fault) return yield await failed(secured, 'tls')
  if (target.tls !== undefined) yield passed('tls', `${secured.protocol ?? ''}, ${secured.far?.subject ?? ''} until ${day(secured.far?.notAfter)}`)

  const association = await probe.associate(secured).catch(faultOf)
  if (association instanceof Fault) {
    secured.socket.destroy()
    return yield await failed(association, 'association')
  }
  yield passed('association', association.detail)

  try {
    const echo = await association.echo().catch(faultOf)
    if (echo instanceof Fault) yield await failed(stepOf(echo.code) === undefined ? new Fault('ECHO_FAILED', { detail: echo.message }) : echo, 'echo')
    else yield passed('echo', echo)
  } finally {
    await association.close()
  }
}

function faultOf(error: unknown): Fault {
  if (error instanceof Fault) return error
  throw error
}

const day = (millis: number | undefined): string => (millis === undefined ? '' : new Date(millis).toISOString().slice(0, 10))
