/**
 * A spool in a folder of its own, a clock that can be turned, and the two workers' halves in
 * small: `put` is what a receive worker does with one image, `take` what a forward worker does.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Target } from '../../firmware/domain/route.ts'
import type { CommitOutcome, Lease, ObjectFacts, ObjectHeader, Slot } from '../../firmware/domain/spool.ts'
import { ObjectReader } from '../../firmware/spool/object/reader.ts'
import { ObjectWriter } from '../../firmware/spool/object/writer.ts'
import { Spool } from '../../firmware/spool/spool.ts'
import type { SpoolOptions } from '../../firmware/spool/options.ts'

export const CT = '1.2.840.10008.5.1.4.1.1.2'
export const MR = '1.2.840.10008.5.1.4.1.1.4'
export const EXPLICIT = '1.2.840.10008.1.2.1'

export const HUB: Target[] = [{ destination: 'hub', priority: 'normal' }]

export interface Image {
  readonly bytes?: Buffer
  readonly tenant?: string
  readonly sopClass?: string
  readonly sopInstance?: string
  readonly transferSyntax?: string
  readonly study?: string
  readonly targets?: readonly Target[]
}

let uids = 0
export const newUid = (): string => `1.2.826.0.1.${process.pid}.${(uids += 1)}`

export const headerOf = (slot: Slot, image: Image, receivedAt: number): ObjectHeader => ({
  id: slot.id,
  tenant: slot.tenant,
  sopClass: image.sopClass ?? CT,
  sopInstance: image.sopInstance ?? newUid(),
  transferSyntax: image.transferSyntax ?? EXPLICIT,
  source: { listener: 'lan', callingAe: 'CT1', calledAe: 'SALLYPORT', peer: '192.0.2.7' },
  receivedAt,
})

/** Writes one object into a slot, as a receive worker does. */
export async function write(slot: Slot, image: Image, receivedAt: number): Promise<ObjectFacts> {
  const header = headerOf(slot, image, receivedAt)
  const writer = ObjectWriter.open(slot, header)
  if (!writer.write(image.bytes ?? Buffer.from(header.sopInstance))) await writer.drained()
  const found = { study: image.study ?? '1.2.3', series: '1.2.3.4' }
  return { ...header, ...(await writer.finish(found)), ...found }
}

export async function read(lease: Lease): Promise<Buffer> {
  const parts: Buffer[] = []
  for await (const part of await ObjectReader.open(lease)) parts.push(part)
  return Buffer.concat(parts)
}

export class Place {
  readonly directory = mkdtempSync(join(tmpdir(), 'sallyport-spool-'))
  /** Added to the real time. */
  ahead = 0
  readonly warnings: string[] = []
  free = { total: 1e12, free: 9e11 }
  readonly clock = { now: (): number => Date.now() + this.ahead }

  open(options: Partial<SpoolOptions> = {}): Promise<Spool> {
    return Spool.open({
      directory: this.directory,
      clock: this.clock,
      cipher: 'aes-256-gcm',
      targets: () => HUB,
      water: { highPercent: 90, lowPercent: 80, free: () => Promise.resolve(this.free) },
      duplicateWindowMillis: 3_600_000,
      receiptsMillis: 86_400_000,
      log: { info: () => undefined, warn: (event) => void this.warnings.push(event) },
      ...options,
    })
  }

  async put(spool: Spool, image: Image = {}): Promise<{ facts: ObjectFacts; outcome: CommitOutcome }> {
    const slot = await spool.slot(image.tenant ?? 'clinic')
    const facts = await write(slot, image, this.clock.now())
    return { facts, outcome: await spool.commit(facts, image.targets ?? HUB) }
  }

  /** Delivers what is due, in order. @returns what arrived: SOP Instance UIDs */
  async take(spool: Spool, destination = 'hub', count = 1000): Promise<string[]> {
    const arrived: string[] = []
    for (const lease of await spool.lease(destination, count)) {
      await read(lease)
      await spool.settle(lease.id, destination, { event: 'stored', status: 0, hop: 'HUB' })
      arrived.push(lease.facts.sopInstance)
    }
    return arrived
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true })
  }
}
