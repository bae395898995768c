/**
 * Small messages between supervisor and worker over the child's IPC pipe: a request has an
 * answer, a notice has none. Payload never travels here.
 *
 * The pipe is the worker's lifeline: when the supervisor is gone, so is the worker.
 */
import { Fault } from '../domain/errors.ts'
import type { ErrorCode } from '../domain/errors.ts'

/** What either side can be asked. Arguments and results are plain JSON. */
export type Methods = Record<string, (argument: never) => unknown>

type Argument<M extends Methods, K extends keyof M> = Parameters<M[K]>[0]
type Result<M extends Methods, K extends keyof M> = Awaited<ReturnType<M[K]>>

type Message =
  | { readonly ask: number; readonly method: string; readonly argument: unknown }
  | { readonly note: string; readonly argument: unknown }
  | { readonly answer: number; readonly result: unknown }
  | { readonly answer: number; readonly fault: { code: ErrorCode; fields: Record<string, string | number> } }

/** Both `process` (in the worker) and a `ChildProcess` (in the supervisor) are one of these. */
export interface Pipe {
  send?(message: unknown, callback?: (error: Error | null) => void): boolean
  on(event: 'message', listener: (message: unknown) => void): unknown
  on(event: 'disconnect', listener: () => void): unknown
}

/** Life signs beside the messages: the supervisor pings, a worker that is not stuck answers. */
export const PING = 'ping'
export const PONG = 'pong'

interface Waiting {
  readonly resolve: (value: never) => void
  readonly reject: (error: Error) => void
}

/** `Ours` are the methods this side serves, `Theirs` those of the other side. */
export class Channel<Ours extends Methods, Theirs extends Methods> {
  readonly #pipe: Pipe
  readonly #ours: Ours
  readonly #waiting = new Map<number, Waiting>()
  #next = 1
  #open = true

  constructor(pipe: Pipe, ours: Ours) {
    this.#pipe = pipe
    this.#ours = ours
    pipe.on('message', (message) => {
      if (message === PING) pipe.send?.(PONG, () => {})
      else if (message !== PONG) this.#take(message as Message)
    })
    pipe.on('disconnect', () => this.#lost())
  }

  /** @throws Fault as thrown by the other side, or SUPERVISOR_GONE when the pipe is closed. */
  ask<K extends keyof Theirs & string>(method: K, argument: Argument<Theirs, K>): Promise<Result<Theirs, K>> {
    if (!this.#open) return Promise.reject(new Fault('SUPERVISOR_GONE'))
    const ask = this.#next++
    return new Promise((resolve, reject) => {
      this.#waiting.set(ask, { resolve, reject })
      this.#send({ ask, method, argument })
    })
  }

  /** Told, not asked; lost with the pipe. */
  note<K extends keyof Theirs & string>(method: K, argument: Argument<Theirs, K>): void {
    if (this.#open) this.#send({ note: method, argument })
  }

  #send(message: Message): void {
    this.#pipe.send?.(message, (error) => {
      if (error) this.#lost()
    })
  }

  #take(message: Message): void {
    if ('answer' in message) {
      const waiting = this.#waiting.get(message.answer)
      if (!waiting) return
      this.#waiting.delete(message.answer)
      if ('fault' in message) waiting.reject(new Fault(message.fault.code, message.fault.fields))
      else waiting.resolve(message.result as never)
      return
    }
    const method = 'ask' in message ? message.method : message.note
    const serve = this.#ours[method] as ((argument: unknown) => unknown) | undefined
    if (serve === undefined) throw new Error(`channel: no method ${method}`)
    if ('note' in message) {
      void serve(message.argument)
      return
    }
    const { ask } = message
    // Only a Fault is an answer; anything else is a defect and must end this process.
    Promise.resolve(serve(message.argument)).then(
      (result) => this.#send({ answer: ask, result }),
      (error: unknown) => {
        if (!(error instanceof Fault)) throw error
        this.#send({ answer: ask, fault: { code: error.code, fields: error.fields } })
      },
    )
  }

  #lost(): void {
    this.#open = false
    const waiting = [...this.#waiting.values()]
    this.#waiting.clear()
    for (const { reject } of waiting) reject(new Fault('SUPERVISOR_GONE'))
  }
}
