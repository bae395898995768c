import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { Place } from './place.ts'
import { Promises } from './promises.ts'

const KILLS = 30

void t.test(`killed ${KILLS} times at any moment: what was acknowledged is there, unaltered`, async (t) => {
  const place = new Place()
  t.teardown(() => place.remove())
  const promises = new Promises()
  for (let kill = 0; kill < KILLS; kill += 1) {
    const child = spawn(process.execPath, [fileURLToPath(new URL('committer.ts', import.meta.url)), place.directory, String(kill)], { stdio: ['ignore', 'pipe', 'inherit'] })
    const ended = new Promise((resolve) => child.once('exit', resolve))
    for await (const line of createInterface({ input: child.stdout })) {
      if (line === 'open') setTimeout(() => child.kill('SIGKILL'), 20 + Math.random() * 250)
      promises.hear(line)
    }
    await ended
  }
  const spool = await place.open()
  await promises.check(t, place, spool)
  t.notOk(promises.warnings.includes('index-damaged'), 'a kill is not taken for damage')
  t.ok(promises.acknowledged.size > KILLS, 'the child did commit')
  await spool.close()
})
