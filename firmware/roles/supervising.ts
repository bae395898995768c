/**
 * Composition root of the supervisor, for both roles: spool, workers, control socket.
 */
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { readArguments, wrongCall } from '../cli/arguments.ts'
import { settingsOf, socketOf } from '../cli/client.ts'
import { EXIT } from '../cli/commands.ts'
import type { Settings } from '../config/file.ts'
import { Fault } from '../domain/errors.ts'
import { targetsOf } from '../domain/route.ts'
import type { Log } from '../domain/log.ts'
import { diskSpace } from '../platform/disk.ts'
import { chooseCipher } from '../platform/host.ts'
import { makeLog } from '../platform/log.ts'
import { beSmall } from '../platform/memory.ts'
import { Service } from '../platform/service.ts'
import { version } from '../platform/version.ts'
import { Spool } from '../spool/spool.ts'
import { openControl } from '../supervisor/control.ts'
import { controlRoutes } from '../supervisor/routes.ts'
import { Supervisor } from '../supervisor/supervisor.ts'
import type { Role } from './role.ts'

const HOUR_MILLIS = 3_600_000

/** What `npm start` and the tests wait for on stderr. */
export const READY = 'ready'

export async function runRole(role: Role, args: string[]): Promise<number | undefined> {
  const help = `sallyport ${role.name} --config FILE

Runs the ${role.name} until it is told to stop (SIGTERM or Ctrl-C). The log goes to stderr, one JSON
object a line.
`
  const parsed = readArguments(args, { config: { type: 'string' } }, help)
  if (typeof parsed === 'number') return parsed
  const { config } = parsed.values
  if (config === undefined) return wrongCall('--config FILE is needed', help)
  beSmall()
  const settings = settingsOf(config)
  if (!settings) return EXIT.usage
  if (settings.role !== role.name) return wrongCall(`${config} is the configuration of a ${settings.role}`, help)
  return supervise(settings)
}

export const openSpool = async (settings: Settings, log: Log): Promise<Spool> =>
  Spool.open({
    directory: path.join(settings.state, 'spool'),
    clock: Date,
    cipher: chooseCipher(),
    targets: (listener, tenant) => targetsOf(settings.routes, { listener, tenant }),
    destinations: settings.destinations.map((one) => one.name),
    water: {
      highPercent: settings.spool.highWaterPercent,
      lowPercent: settings.spool.lowWaterPercent,
      maxBytes: settings.spool.maxBytes,
      free: async () => {
        const { totalBytes, freeBytes } = await diskSpace(settings.state)
        return { total: totalBytes, free: freeBytes }
      },
    },
    duplicateWindowMillis: settings.spool.duplicateWindowHours * HOUR_MILLIS,
    receiptsMillis: settings.spool.receiptDays * 24 * HOUR_MILLIS,
    log,
  })

/** @returns the spool, or in one line why there is none */
async function openState(settings: Settings, log: Log): Promise<Spool | string> {
  try {
    fs.mkdirSync(settings.state, { recursive: true, mode: 0o700 })
    return await openSpool(settings, log)
  } catch (error) {
    const { code, cause, message } = error as NodeJS.ErrnoException
    const locked = [code, (cause as NodeJS.ErrnoException | undefined)?.code].includes('LEVEL_LOCKED')
    if (locked) return `${settings.state} is in use: another process of this name runs already`
    if (code?.startsWith('E')) return `${settings.state} cannot be used: ${message}`
    throw error
  }
}

async function supervise(settings: Settings): Promise<number> {
  const log = makeLog(settings.name)
  const service = new Service(process.env)
  const spool = await openState(settings, log)
  if (typeof spool === 'string') {
    process.stderr.write(`sallyport: ${spool}\n`)
    return EXIT.failed
  }
  const main = fileURLToPath(new URL('../main.ts', import.meta.url))
  const supervisor = new Supervisor({ settings, spool, log, version, main })
  const control = await openControl(socketOf(settings.runtime), controlRoutes({ supervisor, spool, settings }))
  const told = new Promise<void>((resolve) => {
    process.once('SIGTERM', resolve)
    process.once('SIGINT', resolve)
  })
  let status: number = EXIT.ok
  try {
    await Promise.race([supervisor.start(), told])
    log.info(READY, { role: settings.role, pid: process.pid, version })
    await service.ready()
    service.watchdog(() => true)
    await told
    log.info('stopping')
  } catch (error) {
    if (!(error instanceof Fault)) throw error
    process.stderr.write(`sallyport: ${error.message} ${error.remedy}\n`)
    status = EXIT.failed
  }
  await service.stopping()
  await supervisor.stop()
  control.close()
  control.closeAllConnections()
  await spool.close()
  log.info('stopped')
  return status
}
