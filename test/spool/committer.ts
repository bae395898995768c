/**
 * Child of the crash test: commits in a loop, eight at a time, and prints each acknowledged id with
 * its digest. Delivers some meanwhile, and prints those too. Killed from outside at any moment.
 */
import { randomBytes } from 'node:crypto'
import { writeSync } from 'node:fs'
import { HUB, write } from './place.ts'
import { Spool } from '../../firmware/spool/spool.ts'

const [directory = '', seed = '0'] = process.argv.slice(2)

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

const images = async (): Promise<void> => {
  for (;;) {
    const slot = await spool.slot('clinic')
    const facts = await write(slot, { bytes: randomBytes(1 + Math.floor(Math.random() * 200_000)), sopInstance: `1.2.${seed}.${process.hrtime.bigint()}` }, Date.now())
    const outcome = await spool.commit(facts, HUB)
    if (outcome.kind === 'queued') writeSync(1, `ack ${facts.id} ${facts.digest}\n`)
  }
}
const deliveries = async (): Promise<void> => {
  for (;;) {
    for (const lease of await spool.lease('hub', 2)) {
      writeSync(1, `sent ${lease.id}\n`)
      await spool.settle(lease.id, 'hub', { event: 'stored' })
    }
    await new Promise((resolve) => setTimeout(resolve, 15))
  }
}
await Promise.all([...Array.from({ length: 8 }, images), deliveries()])
