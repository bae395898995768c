/**
 * Sends Part 10 files over as many associations as asked for: each negotiates just the classes
 * and syntaxes of the files it is about to send.
 */
import fs from 'node:fs'
import { associate, AssociationRejected } from '../dicom/requestor.ts'
import type { Association, StoreTimes } from '../dicom/requestor.ts'
import { meaningOf, statusHex } from '../dicom/status.ts'
import { Fault } from '../domain/errors.ts'
import { LIMITS } from '../domain/limits.ts'
import { connectDestination } from '../link/connect.ts'
import type { Target } from '../link/connect.ts'
import type { Found } from './send.ts'

export interface SenderOptions extends Target {
  readonly calledAe: string
  readonly callingAe: string
  readonly times: StoreTimes
  /** Told as bytes are read to be sent. */
  readonly bytes: (count: number) => void
}

export interface Sent {
  readonly file: string
  readonly sopInstance: string
  readonly ok: boolean
  /** DIMSE status, where there was an answer. */
  readonly status?: string
  readonly text: string
  readonly bytes: number
  readonly millis: number
}

const READ_BYTES = 256 * 1024

export class Sender {
  readonly #options: SenderOptions
  #gone: Fault | undefined

  constructor(options: SenderOptions) {
    this.#options = options
  }

  /** Sends all; each file is told once. A far side that cannot be reached fails what is left. */
  async send(found: readonly Found[], associations: number, tell: (sent: Sent) => void): Promise<void> {
    const queue = [...found]
    const lanes = Array.from({ length: Math.min(associations, found.length) }, () => this.#lane(queue, tell))
    await Promise.all(lanes)
  }

  async #lane(queue: Found[], tell: (sent: Sent) => void): Promise<void> {
    let association: Association | undefined
    let proposed = new Set<string>()
    for (let next = queue.shift(); next; next = queue.shift()) {
      const began = performance.now()
      const say = (ok: boolean, text: string, status?: number) =>
        tell({
          file: next.file,
          sopInstance: next.object.sopInstance,
          ok,
          ...(status === undefined ? {} : { status: statusHex(status) }),
          text,
          bytes: next.object.bytes,
          millis: Math.round(performance.now() - began),
        })
      try {
        if (!association?.open || !proposed.has(kindOf(next))) {
          await association?.release()
          const kinds = kindsOf([next, ...queue])
          proposed = new Set(kinds.keys())
          association = await this.#open([...kinds.values()])
        }
        const { sopClass, sopInstance, transferSyntax } = next.object
        const context = association.contexts.find((one) => one.abstractSyntax === sopClass && one.transferSyntax === transferSyntax)
        if (!context) {
          const answer = association.contexts.find((one, i) => one.abstractSyntax === sopClass && [...proposed][i] === kindOf(next))
          say(false, `the far side does not accept it: ${answer?.words ?? 'no presentation context'}`)
          continue
        }
        const { status, comment } = await association.store({ contextId: context.id, sopClass, sopInstance }, this.#read(next), this.#options.times)
        const meaning = meaningOf(status)
        say(meaning.category === 'stored', `${statusHex(status)} ${meaning.text}${comment ? ` (${comment})` : ''}`, status)
      } catch (error) {
        if (!(error instanceof Fault)) throw error
        say(false, error.message)
      }
    }
    await association?.release()
  }

  async #open(contexts: readonly { abstractSyntax: string; transferSyntaxes: string[] }[]): Promise<Association> {
    if (this.#gone) throw this.#gone
    const { calledAe, callingAe } = this.#options
    const connection = await connectDestination(this.#options)
    // One refusal of TCP, TLS or the association is the same for every file that is left.
    if (connection instanceof Fault) throw (this.#gone = connection)
    try {
      return await associate(connection.socket, { calledAe, callingAe, contexts }, LIMITS)
    } catch (error) {
      if (!(error instanceof Fault)) throw error
      throw (this.#gone = error instanceof AssociationRejected ? error : connection.explain(error))
    }
  }

  async *#read({ file, object }: Found): AsyncGenerator<Buffer> {
    const stream = fs.createReadStream(file, { start: object.offset, highWaterMark: READ_BYTES })
    for await (const bytes of stream as AsyncIterable<Buffer>) {
      this.#options.bytes(bytes.length)
      yield bytes
    }
  }
}

const kindOf = ({ object }: Found): string => `${object.sopClass} ${object.transferSyntax}`

/** The kinds of the files to come, in their order, as many as one association may propose. */
function kindsOf(found: readonly Found[]): Map<string, { abstractSyntax: string; transferSyntaxes: string[] }> {
  const kinds = new Map<string, { abstractSyntax: string; transferSyntaxes: string[] }>()
  for (const one of found) {
    if (kinds.size >= LIMITS.presentationContexts) break
    if (!kinds.has(kindOf(one))) kinds.set(kindOf(one), { abstractSyntax: one.object.sopClass, transferSyntaxes: [one.object.transferSyntax] })
  }
  return kinds
}
