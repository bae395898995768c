/**
 * Puts the fragments of PDVs together to DIMSE messages (PS3.7 6.3, PS3.8 Annex E): a command
 * set, gathered within its bound, then the data set, passed on piece by piece.
 *
 * All fragments of one message come on one presentation context, and messages do not interleave
 * (PS3.8 E.1); an asynchronous window greater than one is never agreed here.
 */
import type { Limits } from '../domain/limits.ts'
import { decodeCommand, type Command } from './command.ts'
import { ABORT_REASON, Malformed } from './malformed.ts'
import { PDV_COMMAND, PDV_LAST } from './fragment.ts'

export interface MessageHandler {
  /** @throws Malformed when the context was not accepted */
  command(contextId: number, command: Command): void
  /** Valid until it returns. */
  data(bytes: Buffer): void
  /** The data set is whole; not called for a command without one. */
  dataEnd(): void
}

export class MessageReader {
  readonly #handler: MessageHandler
  readonly #bounds: Pick<Limits, 'commandBytes'>
  #contextId = 0
  #expects: 'start' | 'command' | 'data' = 'start'
  #parts: Buffer[] = []
  #partBytes = 0

  constructor(handler: MessageHandler, bounds: Pick<Limits, 'commandBytes'>) {
    this.#handler = handler
    this.#bounds = bounds
  }

  /** A message has begun and is not whole. */
  get midway(): boolean {
    return this.#expects !== 'start'
  }

  /** As `PduHandler.fragment`. @throws Malformed */
  fragment(contextId: number, flags: number, bytes: Buffer, whole: boolean): void {
    if (this.#expects === 'start') this.#contextId = contextId
    else if (contextId !== this.#contextId) {
      throw new Malformed('fragments of two messages are mixed', ABORT_REASON.unexpectedParameter)
    }
    const last = whole && (flags & PDV_LAST) !== 0
    if ((flags & PDV_COMMAND) !== 0) this.#command(bytes, last)
    else this.#data(bytes, last)
  }

  #command(bytes: Buffer, last: boolean): void {
    if (this.#expects === 'data') {
      throw new Malformed('a command begins inside a data set', ABORT_REASON.unexpectedParameter)
    }
    this.#expects = 'command'
    if (this.#partBytes + bytes.length > this.#bounds.commandBytes) {
      throw new Malformed(`a DIMSE command is longer than ${this.#bounds.commandBytes} bytes`)
    }
    this.#partBytes += bytes.length
    if (!last) {
      // Copied: a view of one byte would keep its whole chunk.
      if (bytes.length > 0) this.#parts.push(Buffer.from(bytes))
      return
    }
    const command = decodeCommand(this.#parts.length === 0 ? bytes : Buffer.concat([...this.#parts, bytes]))
    this.#parts = []
    this.#partBytes = 0
    this.#expects = command.dataSet ? 'data' : 'start'
    this.#handler.command(this.#contextId, command)
  }

  #data(bytes: Buffer, last: boolean): void {
    if (this.#expects !== 'data') {
      throw new Malformed('a data set comes without its command', ABORT_REASON.unexpectedParameter)
    }
    if (last) this.#expects = 'start'
    if (bytes.length > 0) this.#handler.data(bytes)
    if (last) this.#handler.dataEnd()
  }
}
