/**
 * A disk that is full, and one that fails: real file systems, real errors of the kernel.
 */
import { execFileSync, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, statfsSync, truncateSync, writeFileSync, writeSync, openSync, closeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { Fault } from '../../firmware/domain/errors.ts'
import type { ObjectFacts, Slot } from '../../firmware/domain/spool.ts'
import { HUB, Place, write } from './place.ts'
import { Promises } from './promises.ts'

/** A small ext4 of its own. @returns undefined where that is not allowed */
function smallDisk(mebibytes: number): { path: string; remove: () => void } | undefined {
  const base = mkdtempSync(join(tmpdir(), 'sallyport-disk-'))
  const path = join(base, 'mount')
  try {
    mkdirSync(path)
    writeFileSync(join(base, 'image'), '')
    truncateSync(join(base, 'image'), mebibytes * 1024 * 1024)
    execFileSync('mkfs.ext4', ['-q', '-m', '0', join(base, 'image')], { stdio: 'ignore' })
    execFileSync('mount', ['-o', 'loop', join(base, 'image'), path], { stdio: 'ignore' })
    return {
      path,
      remove: () => {
        execFileSync('umount', [path])
        rmSync(base, { recursive: true })
      },
    }
  } catch {
    rmSync(base, { recursive: true, force: true })
    return undefined
  }
}

/** Takes every free byte. */
function fillUp(path: string): void {
  const fd = openSync(path, 'a')
  const part = Buffer.alloc(64 * 1024, 1)
  try {
    for (let size = part.length; size >= 512; ) {
      try {
        writeSync(fd, part, 0, size)
      } catch {
        size >>= 1
      }
    }
  } finally {
    closeSync(fd)
  }
}

const until = async (what: () => boolean | Promise<boolean>): Promise<boolean> => {
  for (let count = 0; count < 600; count += 1) {
    if (await what()) return true
    await new Promise((resolve) => setTimeout(resolve, 25))
  }
  return false
}

void t.test('a full disk: refuses, keeps what it promised, and recovers alone', async (t) => {
  const disk = smallDisk(24)
  if (!disk) {
    t.pass('no loop device may be mounted here: a full disk was not tried')
    return
  }
  const place = new Place()
  const directory = join(disk.path, 'spool')
  const ballast = join(disk.path, 'ballast')
  const spool = await place.open({ directory, water: { highPercent: 100.1, lowPercent: 100, free: () => Promise.resolve({ total: 1e15, free: 1e15 }) } })
  const acknowledged = new Map<string, ObjectFacts>()
  const refusals = new Set<string>()
  const commit = async (facts: ObjectFacts): Promise<void> => {
    const outcome = await spool.commit(facts, HUB)
    if (outcome.kind === 'queued') acknowledged.set(facts.id, facts)
    if (outcome.kind === 'refused') refusals.add(`commit ${outcome.code}`)
  }
  const tryImage = async (slot: Slot, bytes: Buffer): Promise<void> => {
    let facts: ObjectFacts
    try {
      facts = await write(slot, { bytes }, Date.now())
    } catch (error) {
      spool.giveBack(slot.id)
      throw error
    }
    await commit(facts)
  }
  // Images are on the disk, but not yet in the index, when the disk becomes full.
  const pending: ObjectFacts[] = []
  for (let count = 0; count < 40; count += 1) pending.push(await write(await spool.slot('clinic'), { bytes: Buffer.alloc(3000, count) }, Date.now()))
  for (const facts of pending.splice(0, 10)) await commit(facts)
  const [lease] = await spool.lease('hub', 1)
  fillUp(ballast)
  t.equal(statfsSync(disk.path).bavail, 0, 'the disk is full')
  for (const facts of pending) await commit(facts)
  // The answer to a delivered image cannot be written now; it must be when there is room.
  const settled = spool.settle(lease?.id as string, 'hub', { event: 'stored' })
  for (let count = 0; count < 5; count += 1) {
    try {
      await tryImage(await spool.slot('clinic'), Buffer.alloc(100_000, count))
    } catch (error) {
      refusals.add(error instanceof Fault ? error.code : String(error))
    }
  }
  t.comment(`${acknowledged.size} acknowledged; refused: ${[...refusals].join(', ')}`)
  t.ok(refusals.has('commit SPOOL_FULL'), 'the index was refused')
  t.ok([...refusals].every((one) => one.endsWith('SPOOL_FULL')), 'and nothing else was told')
  rmSync(ballast)
  t.ok(await until(() => spool.slot('clinic').then((slot) => (spool.giveBack(slot.id), true), () => false)), 'takes images again, nobody did anything')
  await settled
  t.match((await place.put(spool)).outcome, { kind: 'queued' })
  // Forty, one of them delivered, and this one: also what was refused is complete, and taken in.
  t.ok(await until(() => spool.totals().instances === 40), 'complete files without a row are taken in')
  const { rows } = await spool.list({ limit: 1000 })
  const lost = [...acknowledged.keys()].filter((id) => id !== lease?.id && !rows.some((row) => row.id === id))
  t.same(lost, [], 'nothing acknowledged is lost')
  t.notOk(rows.some((row) => row.id === lease?.id), 'the delivered one is settled')
  t.equal((await place.take(spool)).length, rows.length, 'all of it can be delivered')
  await spool.close()
  const again = await place.open({ directory })
  t.same(again.alarms(), [])
  t.equal(again.totals().instances, 0)
  await again.close()
  place.remove()
  disk.remove()
})

const TRIES = 300

/** Every so many calls of one kind, in each thread, fail with EIO. `when`: first+step, past what starting takes. */
const FAILING: [string, string][] = [
  ['fdatasync', '40+31'],
  ['pwritev,pwrite64', '15+23'],
  ['unlink', '10+7'],
  ['fsync', '9+5'],
]

const canTrace = (): boolean => {
  try {
    execFileSync('strace', ['-f', '-qq', '-o', '/dev/null', '-e', 'inject=unlink:error=EIO:when=999', 'true'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

void t.test('a disk that fails now and then: what was acknowledged is there, unaltered', async (t) => {
  if (!canTrace()) {
    t.pass('no strace here: errors of the disk were not injected')
    return
  }
  for (const [number, [calls, when]] of FAILING.entries()) {
    const place = new Place()
    const promises = new Promises()
    const committer = fileURLToPath(new URL('committer.ts', import.meta.url))
    const strace = ['-f', '-qq', '-o', '/dev/null', '-e', `trace=${calls}`, '-e', `inject=${calls}:error=EIO:when=${when}`]
    const child = spawn('strace', [...strace, process.execPath, committer, place.directory, String(number), String(TRIES)], { stdio: ['ignore', 'pipe', 'inherit'] })
    const ended = new Promise((resolve) => child.once('exit', resolve))
    for await (const line of createInterface({ input: child.stdout })) promises.hear(line)
    const code = await ended
    t.equal(code, 0, `${calls}: the process lives on`)
    const spool = await place.open()
    await t.test(calls, (t) => promises.check(t, place, spool))
    t.ok(promises.acknowledged.size > 20, `${calls}: ${promises.acknowledged.size} of ${TRIES} were acknowledged`)
    await spool.close()
    place.remove()
  }
})
