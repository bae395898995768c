/**
 * Small messages between supervisor and worker over the child's IPC pipe: a request has an
 * answer, a notice has none. Payload never travels here.
 *
 * The pipe is the worker's lifeline: when the supervisor is gone, so is the worker.
 */
import { Fault } from '../domain/errors.ts'
import type { ErrorCode } from '../domain/errors.ts'
import type { Check } from '../domain/shape.ts'

/** What either side can be asked. Arguments and results are plain JSON. */
export type Methods = Record<string, (argument: never) => unknown>

type Argument<M extends Methods, K extends keyof M> = Parameters<M[K]>[0]
type Result<M extends Methods, K extends keyof M> = Awaited<ReturnType<M[K]>>

/** With `ask` it wants an answer, without it is told. */
interface Call {
  readonly ask?: number
  readonly method: string
  readonly argument: unknown
}

interface Answer {
  readonly answer: number
  readonly result?: unknown
  readonly fault?: { readonly code: ErrorCode; readonly fields: Record<string, string | number> }
}

/** Both `process` (in the worker) and a `ChildProcess` (in the supervisor) are one of these. */
export interface Pipe {
  send?(message: unknown, callback?: (error: Error | null) => void): boolean
  on(event: 'message', listener: (message: unknown) => void): unknown
  on(event: 'disconnect', listener: () => void): unknown
}

/** Life signs beside the messages: the supervisor pings, a worker that is not stuck answers. */
export const PING = 'ping'
export const PONG = 'pong'

/** The other side asks for what it does not hold, or in a way it would not if it were ours. */
export class Misconduct extends Error {}

/** What this side believes of the other. */
export interface Distrust<Ours extends Methods> {
  /** What the argument of each method must look like. */
  readonly claims: { readonly [K in keyof Ours]: Check }
  /** Calls that may be under way at once. */
  readonly most: number
  /** It is not what it should be: end it. Nothing more is heard of it. */
  readonly lied: (why: string) => void
  /** What it told could not be done now; it is not waiting for an answer. */
  readonly failed: (method: string, fault: Fault) => void
}

interface Waiting {
  readonly resolve: (value: never) => void
  readonly reject: (error: Error) => void
}

/** `Ours` are the methods this side serves, `Theirs` those of the other side. */
export class Channel<Ours extends Methods, Theirs extends Methods> {
  readonly #pipe: Pipe
  readonly #ours: Ours
  readonly #distrust: Distrust<Ours> | undefined
  readonly #waiting = new Map<number, Waiting>()
  #next = 1
  #open = true
  #serving = 0
  #lied = false

  /** @param distrust absent: the other side is the supervisor */
  constructor(pipe: Pipe, ours: Ours, distrust?: Distrust<Ours>) {
    this.#pipe = pipe
    this.#ours = ours
    this.#distrust = distrust
    pipe.on('message', (message) => {
      if (message === PING) pipe.send?.(PONG, () => {})
      else if (message !== PONG && !this.#lied) this.#take(message)
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
    if (this.#open) this.#send({ method, argument })
  }

  #send(message: Call | Answer): void {
    this.#pipe.send?.(message, (error) => {
      if (error) this.#lost()
    })
  }

  #take(message: unknown): void {
    if (typeof message !== 'object' || message === null) return this.#misled('a message that is none')
    if ('answer' in message) return this.#answered(message as Answer)
    const call = message as Call
    const method = call.method as keyof Ours & string
    if (!Object.hasOwn(this.#ours, method)) return this.#misled('a method there is not')
    if (this.#distrust && !this.#distrust.claims[method](call.argument)) return this.#misled(`${method}: what cannot be`)
    if (this.#distrust && this.#serving >= this.#distrust.most) return this.#misled('more calls than it can need')
    this.#serving += 1
    void this.#serve(method, call).finally(() => (this.#serving -= 1))
  }

  #answered({ answer, result, fault }: Answer): void {
    const waiting = this.#waiting.get(answer)
    this.#waiting.delete(answer)
    if (fault) waiting?.reject(new Fault(fault.code, fault.fields))
    else waiting?.resolve(result as never)
  }

  /** Only a Fault is an answer, and Misconduct the caller's own; anything else is a defect and must end this process. */
  async #serve(method: keyof Ours & string, { ask, argument }: Call): Promise<void> {
    try {
      const result = await this.#ours[method]?.(argument as never)
      if (ask !== undefined) this.#send({ answer: ask, result })
    } catch (error) {
      if (error instanceof Misconduct) this.#misled(`${method}: ${error.message}`)
      else if (!(error instanceof Fault)) throw error
      else if (ask !== undefined) this.#send({ answer: ask, fault: { code: error.code, fields: error.fields } })
      else this.#distrust?.failed(method, error)
    }
  }

  /** @throws Error when the other side is one we trust: a defect of ours */
  #misled(why: string): void {
    if (!this.#distrust) throw new Error(`channel: ${why}`)
    if (this.#lied) return
    this.#lied = true
    this.#distrust.lied(why)
  }

  #lost(): void {
    this.#open = false
    const waiting = [...this.#waiting.values()]
    this.#waiting.clear()
    for (const { reject } of waiting) reject(new Fault('SUPERVISOR_GONE'))
  }
}
