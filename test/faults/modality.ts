/**
 * A modality as they are: sends its images one after the other, and sends one again until it is
 * told Success; only then it forgets it.
 */
import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { associate, type Association } from '../../firmware/dicom/requestor.ts'
import { LIMITS } from '../../firmware/domain/limits.ts'
import type { Chance } from './chance.ts'
import { CONTEXTS, type Image } from './images.ts'
import type { Ledger } from './ledger.ts'

export interface ModalityOptions {
  readonly port: number
  readonly calledAe?: string
  readonly callingAe: string
  readonly ledger: Ledger
  /** The next image; undefined: no more for now. */
  readonly next: () => Image | undefined
  readonly chance: Chance
  /** Sends an acknowledged image again, now and then, as a person at a console does. */
  readonly again?: number
  /** Images of one association, at most. */
  readonly most?: number
  /** Between two images. */
  readonly restMillis?: number
}

const RETRY_MILLIS = 20
const TIMES = { progressMillis: 20_000, answerMillis: 20_000 }

/** Told by name, how often: `0000`, `a700`, `ASSOCIATION_LOST`, `ECONNREFUSED` … */
export type Answers = Map<string, number>

export class Modality {
  readonly answers: Answers = new Map()
  readonly #options: ModalityOptions
  #pending: Image | undefined
  #paused = false
  #stopping = false
  #running: Promise<void> | undefined

  constructor(options: ModalityOptions) {
    this.#options = options
  }

  start(): void {
    this.#stopping = false
    this.#running ??= this.#run().finally(() => (this.#running = undefined))
  }

  /** No new image; resolves when the one in hand is taken. */
  async stop(): Promise<void> {
    this.#stopping = true
    await this.#running
  }

  /** At once; what is in hand is not waited for. */
  async leave(): Promise<void> {
    this.#pending = undefined
    await this.stop()
  }

  pause(paused: boolean): void {
    this.#paused = paused
  }

  #count(answer: string): void {
    this.answers.set(answer, (this.answers.get(answer) ?? 0) + 1)
  }

  #next(): Image | undefined {
    if (this.#pending) return this.#pending
    if (this.#stopping || this.#paused) return undefined
    const image = this.#options.next()
    if (image) this.#options.ledger.send(image)
    return (this.#pending = image)
  }

  async #run(): Promise<void> {
    while (!this.#stopping || this.#pending) {
      if (!this.#next()) {
        await sleep(RETRY_MILLIS)
        continue
      }
      try {
        await this.#associate()
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException
        if (code === undefined) throw error
        this.#count(code)
        await sleep(RETRY_MILLIS)
      }
    }
  }

  async #associate(): Promise<void> {
    const { port, callingAe, calledAe = 'SALLYPORT', chance, most = 25 } = this.#options
    const socket = connect({ port, host: '127.0.0.1', noDelay: true })
    await once(socket, 'connect')
    const association = await associate(socket, { calledAe, callingAe, contexts: CONTEXTS }, LIMITS)
    try {
      for (let left = chance.between(1, most); left > 0 && association.open; left--) {
        const image = this.#next()
        if (!image) break
        if (!(await this.#store(association, image))) break
        if (this.#options.restMillis) await sleep(this.#options.restMillis)
      }
    } finally {
      await association.release()
    }
  }

  /** @returns whether to go on with this association */
  async #store(association: Association, image: Image): Promise<boolean> {
    const { sopClass, sopInstance } = image
    const context = association.contexts.find((one) => one.abstractSyntax === sopClass)
    if (context?.transferSyntax === undefined) throw new Error(`${sopClass} was not accepted`)
    const { status } = await association.store({ contextId: context.id, sopClass, sopInstance }, inPieces(image.make()), TIMES)
    this.#count(status.toString(16).padStart(4, '0'))
    if (status === 0) {
      this.#options.ledger.acknowledge(image)
      if (!this.#options.chance.hits(this.#options.again ?? 0)) this.#pending = undefined
      return true
    }
    await sleep(RETRY_MILLIS)
    return false
  }
}

const PIECE_BYTES = 64 * 1024
async function* inPieces(bytes: Buffer): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) yield bytes.subarray(at, at + PIECE_BYTES)
}

/** What several were answered, together: `0000 ×120, a700 ×3`. */
export function answersOf(modalities: readonly Modality[]): string {
  const all: Answers = new Map()
  for (const { answers } of modalities) for (const [answer, times] of answers) all.set(answer, (all.get(answer) ?? 0) + times)
  return [...all].sort((a, b) => b[1] - a[1]).map(([answer, times]) => `${answer} ×${times}`).join(', ')
}

