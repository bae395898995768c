/**
 * The status shows all that waits, also for what the configuration has forgotten.
 */
import t from 'tap'
import { LIMITS } from '../../firmware/domain/limits.ts'
import { parseConfig } from '../../firmware/config/file.ts'
import type { Settings } from '../../firmware/config/file.ts'
import { Admissions } from '../../firmware/supervisor/admissions.ts'
import { report } from '../../firmware/supervisor/report.ts'
import { controlRoutes } from '../../firmware/supervisor/routes.ts'
import type { Supervisor } from '../../firmware/supervisor/supervisor.ts'
import { Place } from '../spool/place.ts'

const parsed = parseConfig(`
role: box
name: box
tenant: clinic
listeners: [{ name: lan, port: 11112 }]
destinations: [{ name: hub, kind: folder, path: out }]
routes: [{ to: [hub] }]
`)
if (!('config' in parsed)) throw new Error(JSON.stringify(parsed.complaints))
const settings = { ...parsed.config, limits: LIMITS, file: '', state: '', runtime: '', credentials: '' } as Settings

const log = { info: () => undefined, warn: () => undefined }

void t.test('a destination that was taken out of the configuration', async (t) => {
  const place = new Place()
  t.teardown(() => place.remove())
  let spool = await place.open()
  const { facts } = await place.put(spool, { targets: [{ destination: 'old', priority: 'normal' }] })
  await spool.close()
  spool = await place.open({ destinations: ['hub'] })
  const status = report({
    settings, spool, version: '0', admissions: new Admissions(LIMITS, log), links: new Map(), workers: [],
    received: { instances: 0, bytes: 0, duplicates: 0, versions: 0 }, delivered: new Map(), since: 0,
  })
  t.match(status.destinations, [
    { name: 'hub', queued: 0, held: 0 },
    { name: 'old', kind: 'none', held: 1, link: { word: 'Not configured', sentence: /no longer has a destination old/, remedy: /discard/ } },
  ])
  t.match(status.sentence, /^1 image held/)
  const routes = controlRoutes({ supervisor: { wake: () => undefined } as unknown as Supervisor, spool, settings })
  const call = (query: string, body = {}) => ({ query: new URLSearchParams(query), body, rest: '' })
  t.match(await routes['GET /queue']?.(call('destination=old&state=held')), { rows: [{ id: facts.id }] })
  t.throws(() => routes['GET /queue']?.(call('destination=nobody')), /no destination/)
  t.throws(() => routes['GET /link/test']?.(call('destination=old')), /configuration/)
  t.same(await routes['POST /queue/retry']?.(call('', { destination: 'old' })), { count: 1 })
  t.match(spool.countsOf('hub'), { queued: 1 }, 'retried, it goes by the route of now')
  await spool.close()
})

void t.test('what strangers say of themselves is cut', async (t) => {
  const admissions = new Admissions(LIMITS, log)
  admissions.refused({ listener: 'wan', peer: '192.0.2.1', callingAe: '', calledAe: '', certificate: 'x'.repeat(100_000) }, 'NOT_DICOM', { detail: 'y'.repeat(100_000) })
  t.ok(JSON.stringify(admissions.knocks()).length < 2000)
})
