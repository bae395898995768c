/** What a child printed, and whether a spool keeps it. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { Receipt } from '../../firmware/domain/spool.ts'
import type { Spool } from '../../firmware/spool/spool.ts'
import type { Place } from './place.ts'
import { read } from './place.ts'

export class Promises {
  /** Acknowledged: id → digest. */
  readonly acknowledged = new Map<string, string>()
  readonly sent = new Set<string>()
  readonly warnings: string[] = []
  readonly refusals: string[] = []
  closed = 0

  hear(line: string): void {
    const [word, first = '', digest = ''] = line.split(' ')
    if (word === 'ack') this.acknowledged.set(first, digest)
    if (word === 'sent') this.sent.add(first)
    if (word === 'warn') this.warnings.push(first)
    if (word === 'refused') this.refusals.push(first)
    if (word === 'closed') this.closed += 1
  }

  /** Acknowledged is there or delivered, readable and unaltered; delivered was sent; files are rows. */
  async check(t: Test, place: Place, spool: Spool): Promise<void> {
    const there = new Map<string, string>()
    for (let after: string | undefined, more = true; more; ) {
      const { rows, next } = await spool.list({ limit: 1000, after })
      for (const row of rows) there.set(row.id, row.digest)
      after = next
      more = next !== undefined
    }
    const receipts = new Set<string>()
    for (let after: Receipt | undefined, more = true; more; ) {
      const page = await spool.receipts({ limit: 1000, after })
      for (const receipt of page) receipts.add(receipt.id)
      after = page.at(-1)
      more = page.length === 1000
    }
    t.same([...this.acknowledged].filter(([id, digest]) => there.get(id) !== digest && !receipts.has(id)), [], 'nothing acknowledged is lost')
    t.same([...there.keys()].filter((id) => receipts.has(id)), [], 'nothing is both delivered and waiting')
    t.same([...receipts].filter((id) => !this.sent.has(id)), [], 'nothing counts as delivered that was not sent')
    t.same(spool.alarms(), [])
    let altered = 0
    for (let after: string | undefined, more = true; more; ) {
      const leases = await spool.objects({ after, limit: 500 })
      for (const lease of leases) if ((await read(lease)).length !== lease.facts.bytes) altered += 1
      after = leases.at(-1)?.id
      more = leases.length === 500
    }
    t.equal(altered, 0, 'every object reads as it was written')
    await spool.upkeep()
    const files = readdirSync(join(place.directory, 'objects'), { recursive: true }).filter((name) => String(name).endsWith('.obj'))
    t.equal(files.length, spool.totals().instances, 'no file without a row, no row without a file')
    const words = [...new Set(this.warnings)].join(' ')
    t.comment(`${this.acknowledged.size} acknowledged, ${this.sent.size} sent, ${there.size} waiting, ${this.refusals.length} refused, warnings: ${words}`)
  }
}
