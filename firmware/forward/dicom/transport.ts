/**
 * The DICOM transport, plain and TLS: opens associations that propose what waits.
 */
import type { Duplex } from 'node:stream'
import { associate } from '../../dicom/requestor.ts'
import { VERIFICATION } from '../../dicom/sop-classes.ts'
import { IMPLICIT_LITTLE_ENDIAN } from '../../dicom/transfer-syntaxes.ts'
import { Fault } from '../../domain/errors.ts'
import type { Limits } from '../../domain/limits.ts'
import type { Carrier, Transport, WaitingContext } from '../outlet.ts'
import { AssociationCarrier } from './association.ts'
import type { CarrierTimes } from './association.ts'
import { propose } from './proposal.ts'
import type { Kind } from './proposal.ts'

/** A connected socket, TLS done and judged; `explain` says what an end before the answer means. */
export interface OpenSocket {
  readonly socket: Duplex
  readonly address: string
  readonly roundTripMillis: number
  readonly explain: (error?: unknown) => Fault
}

export interface DicomTransportOptions {
  /** @throws Fault naming the step that failed */
  readonly connect: () => Promise<OpenSocket>
  readonly waiting: () => Promise<readonly WaitingContext[]>
  readonly calledAe: string
  readonly callingAe: string
  readonly times: CarrierTimes
  readonly limits: Limits
}

export class DicomTransport implements Transport {
  readonly #options: DicomTransportOptions
  roundTripMillis = 0

  constructor(options: DicomTransportOptions) {
    this.#options = options
  }

  async open(needed: readonly Kind[]): Promise<Carrier> {
    const { connect, waiting, calledAe, callingAe, times, limits } = this.#options
    const opened = await connect()
    this.roundTripMillis = opened.roundTripMillis
    // Asked for when the socket is there: what came meanwhile is proposed as well.
    const kinds = await waiting().catch((error: unknown) => {
      opened.socket.destroy()
      throw error
    })
    const byNeed = [...kinds].sort((a, b) => b.count - a.count)
    const contexts = propose([...needed, ...byNeed], limits.presentationContexts - 1)
    contexts.push({ abstractSyntax: VERIFICATION, transferSyntaxes: [IMPLICIT_LITTLE_ENDIAN] })
    try {
      const association = await associate(opened.socket, { calledAe, callingAe, contexts }, limits)
      return new AssociationCarrier(association, contexts, `${calledAe}@${opened.address}`, times)
    } catch (error) {
      throw opened.explain(error)
    }
  }
}
