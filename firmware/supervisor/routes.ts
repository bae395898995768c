/**
 * The control API's calls, each in a line or two: what they take is checked here, what they do
 * is the spool's and the supervisor's.
 */
import type { Settings } from '../config/file.ts'
import { isObjectId } from '../domain/identifier.ts'
import type { InstanceState } from '../domain/instance.ts'
import { LIMITS } from '../domain/limits.ts'
import type { Spool } from '../spool/spool.ts'
import { BadCall } from './control.ts'
import type { Routes } from './control.ts'
import type { Supervisor } from './supervisor.ts'

export interface ControlRoom {
  readonly supervisor: Supervisor
  readonly spool: Spool
  readonly settings: Settings
}

export function controlRoutes({ supervisor, spool, settings }: ControlRoom): Routes {
  const destinationOf = (value: unknown): string | undefined => {
    if (value === undefined || value === null) return undefined
    // Also what something waits for though it is not configured any more.
    if (typeof value === 'string' && (settings.destinations.some((one) => one.name === value) || value in spool.counts())) return value
    throw new BadCall(`no destination is named ${JSON.stringify(value)}`)
  }
  return {
    'GET /status': () => supervisor.status(),
    'GET /queue': ({ query }) =>
      spool.list({
        state: stateOf(query.get('state')),
        destination: destinationOf(query.get('destination') ?? undefined),
        tenant: query.get('tenant') ?? undefined,
        after: query.get('after') ?? undefined,
        limit: limitOf(query.get('limit')),
      }),
    'GET /queue/*': async ({ rest }) => ({ row: isObjectId(rest) ? ((await spool.show(rest)) ?? null) : null }),
    'POST /queue/retry': async ({ body }) => {
      const destination = destinationOf(body['destination'])
      const count = await spool.retry({ id: body['id'] === undefined ? undefined : idOf(body['id']), destination })
      for (const one of settings.destinations) supervisor.wake(one.name)
      return { count }
    },
    'POST /queue/discard': async ({ body }) => {
      const { reason } = body
      if (typeof reason !== 'string' || reason.trim() === '') throw new BadCall('a reason is needed to discard an image')
      return { count: await spool.discard(idOf(body['id']), destinationOf(body['destination']), reason.slice(0, LIMITS.reasonChars)) }
    },
    'GET /receipts': async ({ query }) => ({ receipts: await spool.receipts({ limit: limitOf(query.get('limit')) }) }),
    'GET /link/test': ({ query }) => {
      const destination = destinationOf(query.get('destination') ?? undefined)
      if (destination === undefined || !settings.destinations.some((one) => one.name === destination)) throw new BadCall('a destination of the configuration is needed')
      return supervisor.tests.run(destination)
    },
    'GET /spool/objects': async ({ query }) => ({
      leases: await spool.objects({ after: query.get('after') ?? undefined, limit: limitOf(query.get('limit')) }),
    }),
    'POST /spool/rebuild': async () => {
      await spool.rebuild()
      return { instances: spool.totals().instances }
    },
  }
}

const idOf = (value: unknown): string => {
  if (typeof value === 'string' && isObjectId(value)) return value
  throw new BadCall('an image is named by its 26-character id (sallyport queue list)')
}

/** What an image in the spool can be for a destination; the other states are before or after. */
const LISTED = ['queued', 'forwarding', 'held'] as const satisfies readonly InstanceState[]

function stateOf(value: string | null): InstanceState | undefined {
  if (value === null) return undefined
  if ((LISTED as readonly string[]).includes(value)) return value as InstanceState
  throw new BadCall(`there is no state ${value}; an image is ${LISTED.join(', ')}`)
}

function limitOf(value: string | null): number {
  const limit = value === null ? 100 : Number(value)
  if (Number.isInteger(limit) && limit >= 1 && limit <= LIMITS.listRows) return limit
  throw new BadCall(`limit must be 1 to ${LIMITS.listRows}`)
}
