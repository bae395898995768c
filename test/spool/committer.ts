/**
 * Child of the crash and disk tests: commits in a loop, eight at a time, and prints each
 * acknowledged id with its digest. Delivers some meanwhile, and prints those too. Killed from
 * outside at any moment, or told how many images to try while the disk fails under it.
 */
import { randomBytes } from 'node:crypto'
import { writeSync } from 'node:fs'
import { Fault } from '../../firmware/domain/errors.ts'
import type { Slot } from '../../firmware/domain/spool.ts'
import { HUB, write } from './place.ts'
import { Spool } from '../../firmware/spool/spool.ts'

const [directory = '', seed = '0', tries = 'Infinity'] = process.argv.slice(2)

const spool = await Spool.open({
  directory,
  clock: { now: () => Date.now() },
  cipher: 'aes-256-gcm',
  targets: () => HUB,
  water: { highPercent: 99, lowPercent: 98, free: () => Promise.resolve({ total: 1e12, free: 9e11 }) },
  duplicateWindowMillis: 3_600_000,
  receiptsMillis: 86_400_000,
  log: { info: () => undefined, warn: (event) => void writeSync(1, `warn ${event}\n`) },
})
writeSync(1, 'open\n')

let tried = 0
let ended = false

async function image(): Promise<void> {
  let slot: Slot | undefined
  try {
    slot = await spool.slot('clinic')
    const sopInstance = `1.2.${seed}.${process.hrtime.bigint()}`
    const facts = await write(slot, { bytes: randomBytes(1 + Math.floor(Math.random() * 200_000)), sopInstance }, Date.now())
    const outcome = await spool.commit(facts, HUB)
    if (outcome.kind === 'queued') writeSync(1, `ack ${facts.id} ${facts.digest}\n`)
    else if (outcome.kind === 'refused') writeSync(1, `refused ${outcome.code}\n`)
  } catch (error) {
    if (!(error instanceof Fault)) throw error
    writeSync(1, `refused ${error.code}\n`)
    if (slot) spool.giveBack(slot.id)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

const images = async (): Promise<void> => {
  while (tried++ < Number(tries)) await image()
}
const deliveries = async (): Promise<void> => {
  while (!ended) {
    for (const lease of await spool.lease('hub', 2)) {
      writeSync(1, `sent ${lease.id}\n`)
      await spool.settle(lease.id, 'hub', { event: 'stored' })
    }
    await new Promise((resolve) => setTimeout(resolve, 15))
  }
}
const delivering = deliveries()
await Promise.all(Array.from({ length: 8 }, images))
ended = true
await delivering
await spool.close()
writeSync(1, 'closed\n')
