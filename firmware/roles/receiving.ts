/**
 * Composition root of a `receive` worker: listeners, object files and the channel to the
 * supervisor. It faces the LAN and holds no key of the link.
 */
import path from 'node:path'
import { Fault } from '../domain/errors.ts'
import { LIMITS } from '../domain/limits.ts'
import { targetsOf } from '../domain/route.ts'
import { IdentityFolder } from '../pki/folder.ts'
import { makeLog } from '../platform/log.ts'
import type { Intake } from '../receive/intake.ts'
import { Listener } from '../receive/listener.ts'
import type { ListenerRoom } from '../receive/listener.ts'
import { Peers } from '../receive/peers.ts'
import { Slots } from '../receive/slots.ts'
import { ObjectWriter } from '../spool/object/writer.ts'
import { Channel } from '../supervisor/channel.ts'
import type { ReceiveService, ReceiveWorker } from '../supervisor/methods.ts'
import { ROLES } from './roles.ts'
import { untilTold } from './worker.ts'

export async function runReceiving(): Promise<void> {
  const channel: Channel<ReceiveWorker, ReceiveService> = new Channel(process, {})
  const settings = await channel.ask('settings', {})
  const role = ROLES[settings.role]
  const log = makeLog(`${settings.name}/receive`)
  const intake: Intake = {
    admit: (knock, tenant) => channel.ask('admit', { knock, tenant }),
    closed: (admission, end) => channel.note('closed', { admission, ...end }),
    refused: (knock, code, fields) => channel.note('refused', { knock, code, fields }),
    slot: (tenant) => channel.ask('slot', { tenant }),
    giveBack: (id) => channel.note('giveBack', { id }),
    commit: (facts) => channel.ask('commit', { facts }),
  }
  const slots = new Slots(intake)
  const room: ListenerRoom = { intake, slots, open: (slot, header) => ObjectWriter.open(slot, header), limits: settings.limits, log, now: Date.now }
  const listeners: Listener[] = []
  const identities = new Map<string, IdentityFolder>()
  const identityOf = async (name: string): Promise<IdentityFolder> => {
    const known = identities.get(name)
    if (known) return known
    const folder = await IdentityFolder.open(path.join(settings.credentials, name), {
      onChange: (identity) => {
        log.info('identity', { identity: name, subject: identity.own.subject, notAfter: new Date(identity.own.notAfter).toISOString() })
        for (const listener of listeners) listener.cutRevoked()
      },
      onFault: (fault) => log.warn('identity', { identity: name, code: fault.code, sentence: fault.message, remedy: fault.remedy }),
    })
    identities.set(name, folder)
    return folder
  }
  for (const config of settings.listeners) {
    listeners.push(new Listener(room, {
      name: config.name,
      address: config.address,
      port: config.port,
      shared: settings.workers.receive > 1,
      rules: {
        aeTitles: config.aeTitles,
        callers: config.callers,
        peers: new Peers(config.peers),
        certificates: config.certificates,
        sopClasses: new Set(settings.accept.sopClasses),
        transferSyntaxes: settings.accept.transferSyntaxes,
      },
      identity: config.protocol === 'dicom-tls' ? await identityOf(config.identity) : undefined,
      tenantOf: (certificate) => role.tenantOf(settings, config, certificate),
      hasRoute: (tenant) => targetsOf(settings.routes, { listener: config.name, tenant }).length > 0,
    }))
  }
  try {
    await Promise.all(listeners.map((listener) => listener.listen()))
  } catch (error) {
    if (!(error instanceof Fault)) throw error
    channel.note('failed', { code: error.code, fields: error.fields })
    await untilTold()
    return
  }
  channel.note('ready', { pid: process.pid })
  await untilTold()
  // What a modality is in the middle of is finished and answered; what it says after that is not.
  await Promise.all(listeners.map((listener) => listener.close(LIMITS.finishMillis)))
  for (const folder of identities.values()) folder.close()
  slots.giveBackAll()
}
