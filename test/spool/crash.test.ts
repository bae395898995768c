import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { join } from 'node:path'
import t from 'tap'
import { Place, read } from './place.ts'

const KILLS = 30

void t.test(`killed ${KILLS} times at any moment: what was acknowledged is there, unaltered`, async (t) => {
  const place = new Place()
  t.teardown(() => place.remove())
  const promised = new Map<string, string>()
  const sent = new Set<string>()
  const warnings: string[] = []
  for (let kill = 0; kill < KILLS; kill += 1) {
    const child = spawn(process.execPath, [fileURLToPath(new URL('committer.ts', import.meta.url)), place.directory, String(kill)], { stdio: ['ignore', 'pipe', 'inherit'] })
    const ended = new Promise((resolve) => child.once('exit', resolve))
    for await (const line of createInterface({ input: child.stdout })) {
      const [word, id = '', digest = ''] = line.split(' ')
      if (word === 'open') setTimeout(() => child.kill('SIGKILL'), 20 + Math.random() * 250)
      if (word === 'ack') promised.set(id, digest)
      if (word === 'sent') sent.add(id)
      if (word === 'warn') warnings.push(id)
    }
    await ended
  }
  const spool = await place.open()
  t.teardown(() => spool.close())
  const there = new Map<string, string>()
  for (let after: string | undefined; ; ) {
    const { rows, next } = await spool.list({ limit: 1000, after })
    for (const row of rows) there.set(row.id, row.digest)
    after = next
    if (next === undefined) break
  }
  const receipts = new Set<string>()
  for (let after; ; ) {
    const page = await spool.receipts({ limit: 1000, ...(after ? { after } : {}) })
    for (const receipt of page) receipts.add(receipt.id)
    after = page.at(-1)
    if (page.length < 1000) break
  }
  const lost = [...promised].filter(([id, digest]) => there.get(id) !== digest && !receipts.has(id))
  t.same(lost, [])
  t.same([...there.keys()].filter((id) => receipts.has(id)), [], 'nothing is both delivered and waiting')
  t.same([...receipts].filter((id) => !sent.has(id)), [], 'nothing counts as delivered that was not sent')
  t.notOk(warnings.includes('index-damaged'), 'a kill is not taken for damage')
  t.same(spool.alarms(), [])
  let altered = 0
  for (let after: string | undefined; ; ) {
    const leases = await spool.objects({ after, limit: 500 })
    for (const lease of leases) if ((await read(lease)).length !== lease.facts.bytes) altered += 1
    after = leases.at(-1)?.id
    if (leases.length < 500) break
  }
  t.equal(altered, 0)
  await spool.upkeep()
  const files = readdirSync(join(place.directory, 'objects'), { recursive: true }).filter((name) => String(name).endsWith('.obj'))
  t.equal(files.length, spool.totals().instances, 'no file without a row, no row without a file')
  t.comment(`${promised.size} acknowledged, ${sent.size} sent, ${there.size} waiting, ${warnings.length} warnings: ${[...new Set(warnings)].join(' ')}`)
  t.ok(promised.size > KILLS, 'the child did commit')
})
