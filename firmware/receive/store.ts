/**
 * One C-STORE on its way in: bytes go to the object file and past the header scanner at the same
 * time; the answer is 0000H only when the supervisor says it is durable (PS3.4 B.2.3).
 */
import type { StoreAnswer, StoreRequest, StoreSink } from '../dicom/acceptor.ts'
import { HeaderScanner } from '../dicom/scanner.ts'
import { Fault } from '../domain/errors.ts'
import type { Limits } from '../domain/limits.ts'
import type { Log } from '../domain/log.ts'
import type { ObjectHeader, Slot, Source } from '../domain/spool.ts'
import type { Intake, ObjectSink, OpenObject } from './intake.ts'
import type { Slots } from './slots.ts'

export interface StoreRoom {
  readonly intake: Intake
  readonly slots: Slots
  readonly open: OpenObject
  readonly limits: Limits
  readonly log: Log
  readonly now: () => number
}

const SUCCESS = 0x0000
const OUT_OF_RESOURCES = 0xa700
const DOES_NOT_MATCH_CLASS = 0xa900
const CANNOT_UNDERSTAND = 0xc000

export class Store implements StoreSink {
  readonly #room: StoreRoom
  readonly #request: StoreRequest
  readonly #tenant: string
  readonly #source: Source
  readonly #scanner: HeaderScanner
  readonly #receivedAt: number
  /** Resolves when the slot is there and open, or the store is refused. Never rejects. */
  readonly #opening: Promise<void>
  #slot: Slot | undefined
  #object: ObjectSink | undefined
  /** What came before the slot did: at most one chunk of the socket, since it is paused meanwhile. */
  #early: Buffer[] = []
  #refused: StoreAnswer | undefined
  #checked = false
  #aborted = false

  constructor(room: StoreRoom, request: StoreRequest, tenant: string, source: Source) {
    this.#room = room
    this.#request = request
    this.#tenant = tenant
    this.#source = source
    this.#receivedAt = room.now()
    this.#scanner = new HeaderScanner(request.transferSyntax, room.limits)
    this.#opening = this.#obtain()
  }

  #obtain(): Promise<void> {
    try {
      const slot = this.#room.slots.take(this.#tenant)
      if (!(slot instanceof Promise)) {
        this.#begin(slot)
        return Promise.resolve()
      }
      return slot.then(
        (ready) => this.#begin(ready),
        (error: unknown) => this.#fail(error),
      )
    } catch (error) {
      this.#fail(error)
      return Promise.resolve()
    }
  }

  #begin(slot: Slot): void {
    if (this.#aborted || this.#refused) {
      this.#room.intake.giveBack(slot.id)
      return
    }
    this.#slot = slot
    this.#object = this.#room.open(slot, this.#header(slot))
    for (const bytes of this.#early.splice(0)) this.#object.write(bytes)
  }

  #header(slot: Slot): ObjectHeader {
    return {
      id: slot.id,
      tenant: this.#tenant,
      sopClass: this.#request.sopClass,
      sopInstance: this.#request.sopInstance,
      transferSyntax: this.#request.transferSyntax,
      source: this.#source,
      receivedAt: this.#receivedAt,
    }
  }

  write(bytes: Buffer): boolean {
    if (this.#refused) return true
    if (!this.#checked) {
      this.#scanner.push(bytes)
      this.#check(false)
      if (this.#refused) return true
    }
    if (!this.#object) {
      this.#early.push(Buffer.from(bytes))
      return false
    }
    return this.#object.write(bytes)
  }

  async drained(): Promise<void> {
    await this.#opening
    if (this.#refused) return
    try {
      await this.#object?.drained()
    } catch (error) {
      this.#fail(error)
    }
  }

  async end(): Promise<StoreAnswer> {
    await this.#opening
    if (!this.#checked && !this.#refused) {
      this.#scanner.end()
      this.#check(true)
    }
    const { outcome: header } = this.#scanner
    const slot = this.#slot
    const object = this.#object
    if (this.#refused) return this.#refused
    if (!slot || !object || header?.kind !== 'found') return this.#refuse(CANNOT_UNDERSTAND, 'no data set')
    // From here on an abort no longer takes the file away: a complete object is kept even when
    // its sender does not wait for the answer; when it sends again, it is a duplicate.
    this.#slot = undefined
    this.#object = undefined
    const found = { study: header.study, series: header.series }
    try {
      const written = await object.finish(found)
      const outcome = await this.#room.intake.commit({ ...this.#header(slot), ...written, ...found })
      return outcome.kind === 'refused' ? this.#refuse(OUT_OF_RESOURCES, outcome.code) : { status: SUCCESS }
    } catch (error) {
      if (!(error instanceof Fault)) throw error
      void object.abandon().then(() => this.#room.intake.giveBack(slot.id))
      return this.#refuse(OUT_OF_RESOURCES, error.code)
    }
  }

  abort(): void {
    this.#aborted = true
    this.#drop()
  }

  /** Class and instance of the data set against those of the command, as soon as both are known. */
  #check(last: boolean): void {
    const { outcome: found } = this.#scanner
    if (!found) {
      if (last) this.#refuse(CANNOT_UNDERSTAND, 'the data set ends before its identifiers')
      return
    }
    if (found.kind === 'not-understood') {
      this.#refuse(CANNOT_UNDERSTAND, found.detail)
      return
    }
    this.#checked = true
    if (found.sopInstance === undefined && found.sopClass === undefined && found.study === '' && found.series === '') {
      this.#refuse(CANNOT_UNDERSTAND, 'it has none of the identifiers of an instance')
      return
    }
    // What the data set leaves out disagrees with nothing: the image goes by what the command calls it.
    if ((found.sopInstance ?? this.#request.sopInstance) !== this.#request.sopInstance)
      this.#refuse(DOES_NOT_MATCH_CLASS, '(0008,0018) differs from the command')
    else if ((found.sopClass ?? this.#request.sopClass) !== this.#request.sopClass)
      this.#refuse(DOES_NOT_MATCH_CLASS, '(0008,0016) differs from the command')
  }

  #fail(error: unknown): void {
    if (!(error instanceof Fault)) throw error
    this.#refuse(OUT_OF_RESOURCES, error.code)
  }

  /** What arrives from here on is read and thrown away, so that the answer reaches the sender. */
  #refuse(status: number, comment: string): StoreAnswer {
    const { log } = this.#room
    this.#refused = { status, comment: comment.slice(0, 64) }
    log.warn('store-refused', {
      status: status.toString(16).padStart(4, '0'),
      reason: comment,
      listener: this.#source.listener,
      callingAe: this.#source.callingAe,
      peer: this.#source.peer,
      sopInstance: this.#request.sopInstance,
    })
    this.#drop()
    return this.#refused
  }

  #drop(): void {
    this.#early = []
    const slot = this.#slot
    const object = this.#object
    this.#slot = undefined
    this.#object = undefined
    if (slot && object) void object.abandon().then(() => this.#room.intake.giveBack(slot.id))
  }
}
