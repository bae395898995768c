/**
 * The one configuration schema. It validates the file, types the code, and (later) draws the form
 * on the page; `restart` in a field's metadata says that a change needs a restart.
 */
import { isIP } from 'node:net'
import net from 'node:net'
import { z } from 'zod'
import { isAeTitle, isName, isUid } from '../domain/identifier.ts'
import { CONFIGURABLE } from '../domain/limits.ts'

const name = z.string().refine(isName, 'must be 1–32 of a–z, 0–9 and -, starting and ending with a letter or digit')
const aeTitle = z.string().refine(isAeTitle, 'must be an AE title: 1–16 printable characters, no backslash')
const uid = z.string().refine(isUid, 'must be a UID: digits and dots, at most 64')
const port = z.int().min(1).max(65535)
const percent = z.number().min(1).max(99)
const orAny = <T extends z.ZodType<string>>(one: T) => z.union([z.literal('*'), one])

/** An address, or a network as address/prefix length, IPv4 or IPv6. */
const network = z.string().refine(isNetwork, 'must be an IP address or a network such as 192.168.1.0/24 or fd00::/8')

const listener = z.strictObject({
  name: name.describe('How routes, log and status call this listener.'),
  protocol: z.enum(['dicom', 'dicom-tls']).default('dicom').describe('Plain DICOM, or DICOM over mutual TLS.'),
  address: z.string().refine((value) => net.isIP(value) !== 0, 'must be an IP address of this machine; :: stands for all of them').default('::').describe('Address to listen on; :: takes IPv6 and IPv4.'),
  port: port.describe('TCP port; 104 and 11112 are usual for plain DICOM, 2762 for TLS.'),
  aeTitles: z.array(orAny(aeTitle)).min(1).max(64).default(['*']).describe('Called AE titles it answers to; * answers to any.'),
  callers: z.array(orAny(aeTitle)).min(1).max(1024).default(['*']).describe('Calling AE titles it accepts.'),
  peers: z.array(orAny(network)).min(1).max(1024).default(['*']).describe('Addresses or networks it accepts.'),
  certificates: z.array(z.string().min(1).max(256)).max(1024).optional()
    .describe('Common names of client certificates it accepts; absent = every valid one.'),
  identity: name.default('listener').describe('Folder of key and certificate below the credentials directory.'),
  tenant: name.optional().describe('Hub, plain listeners only: the tenant whose images arrive here.'),
})

const dicomDestination = z.strictObject({
  name,
  kind: z.enum(['dicom', 'dicom-tls']).describe('Plain DICOM, or DICOM over mutual TLS.'),
  host: z.string().min(1).max(255).describe('Name or address of the far side.'),
  port,
  calledAe: aeTitle.describe('AE title of the far side.'),
  callingAe: aeTitle.default('SALLYPORT').describe('Our AE title.'),
  identity: name.default('link').describe('Folder of key and certificate below the credentials directory.'),
  serverName: z.string().min(1).max(255).optional().describe('Name in the far side’s certificate, where it differs from host.'),
  associations: z.int().min(1).max(32).default(8).describe('Most associations at once; how many are used is found from the link.'),
  holdSeconds: z.int().min(0).max(3600).default(30).describe('How long an idle association is kept for the next image.'),
  progressSeconds: z.int().min(1).max(3600).default(30).describe('How long the far side may take no byte at all.'),
  answerSeconds: z.int().min(1).max(3600).default(60).describe('How long the far side may take to answer after the last byte.'),
})

const folderDestination = z.strictObject({
  name,
  kind: z.literal('folder').describe('A folder of Part 10 files.'),
  path: z.string().min(1).max(4096).describe('The folder; relative to the configuration file.'),
})

const route = z.strictObject({
  listener: name.optional().describe('Only what came in here; absent = any.'),
  tenant: name.optional().describe('Only what belongs to this tenant; absent = any.'),
  to: z.array(name).min(1).max(16).describe('Destinations; each is tracked alone.'),
  priority: z.enum(['high', 'normal', 'low']).default('normal'),
})

const limitFields = Object.fromEntries(
  Object.entries(CONFIGURABLE).map(([key, [least, most]]) => [key, z.int().min(least).max(most).optional()]),
) as Record<keyof typeof CONFIGURABLE, z.ZodOptional<z.ZodInt>>

export const configSchema = z
  .strictObject({
    role: z.enum(['box', 'hub']).describe('box: beside the modality. hub: at the reading site.'),
    name: name.describe('The name of this machine in log and status.'),
    tenant: name.optional().describe('Box only: the tenant all its images belong to.'),
    state: z.string().min(1).max(4096).optional().describe('State directory; default $STATE_DIRECTORY.'),
    runtime: z.string().min(1).max(4096).optional().describe('Directory of the control socket; default $RUNTIME_DIRECTORY or state/run.'),
    credentials: z.string().min(1).max(4096).optional().describe('Directory of identities; default $CREDENTIALS_DIRECTORY or state/credentials.'),
    listeners: z.array(listener).min(1).max(64),
    destinations: z.array(z.discriminatedUnion('kind', [dicomDestination, folderDestination])).min(1).max(256),
    routes: z.array(route).min(1).max(1024),
    spool: z
      .strictObject({
        highWaterPercent: percent.default(90).describe('Disk use at which new images are refused.'),
        lowWaterPercent: percent.default(85).describe('Disk use at which they are taken again.'),
        maxBytes: z.int().min(1).optional().describe('Most bytes the spool itself may hold; absent = only the disk counts.'),
        duplicateWindowHours: z.number().min(0).max(8760).default(24)
          .describe('How long after delivery the same image is answered Success without being sent again.'),
        receiptDays: z.number().min(1).max(36500).default(400).describe('How long receipts are kept.'),
      })
      .prefault({}),
    workers: z
      .strictObject({
        receive: z.int().min(1).max(16).default(1),
        forward: z.int().min(1).max(16).default(1),
      })
      .prefault({}),
    accept: z
      .strictObject({
        sopClasses: z.array(uid).max(256).default([]).describe('Private Storage SOP Classes to accept beside the standard ones.'),
        transferSyntaxes: z.array(uid).max(64).default([]).describe('Private transfer syntaxes to accept beside the standard ones.'),
      })
      .prefault({}),
    limits: z.strictObject(limitFields).prefault({}).describe('Bounds to lower or raise; names as in domain/limits.ts.'),
  })
  .superRefine((config, context) => {
    const complain = (path: (string | number)[], message: string) => context.addIssue({ code: 'custom', path, message })
    unique(config.listeners, 'listeners', complain)
    unique(config.destinations, 'destinations', complain)
    config.listeners.forEach((one, i) => {
      const other = config.listeners.slice(0, i).find((before) => before.port === one.port && overlap(before.address, one.address))
      if (other) complain(['listeners', i, 'port'], `port ${one.port} is taken by the listener ${other.name}`)
    })
    const listeners = new Set(config.listeners.map((l) => l.name))
    const destinations = new Set(config.destinations.map((d) => d.name))
    config.routes.forEach((r, i) => {
      if (r.listener !== undefined && !listeners.has(r.listener)) complain(['routes', i, 'listener'], `no listener is named ${r.listener}`)
      r.to.forEach((to, j) => {
        if (!destinations.has(to)) complain(['routes', i, 'to', j], `no destination is named ${to}`)
      })
    })
    if (config.role === 'box' && config.tenant === undefined) complain(['tenant'], 'a box must say whose images it carries: tenant')
    if (config.role === 'hub' && config.tenant !== undefined) complain(['tenant'], 'a hub has many tenants; name them at plain listeners and in routes')
    config.listeners.forEach((l, i) => {
      if (config.role === 'hub' && l.protocol === 'dicom' && l.tenant === undefined)
        complain(['listeners', i], 'a plain listener of a hub needs a tenant: without a certificate nothing else says whose images these are')
      if (l.tenant !== undefined && (config.role === 'box' || l.protocol === 'dicom-tls'))
        complain(['listeners', i, 'tenant'], 'the tenant comes from the certificate here, never from the configuration')
      if (l.certificates !== undefined && l.protocol === 'dicom')
        complain(['listeners', i, 'certificates'], 'a plain listener sees no certificates: nobody could come in')
    })
    if (config.spool.lowWaterPercent >= config.spool.highWaterPercent)
      complain(['spool', 'lowWaterPercent'], 'must be lower than highWaterPercent')
  })

function isNetwork(text: string): boolean {
  const [address = '', prefix, ...rest] = text.split('/')
  const family = address.includes('%') ? 0 : isIP(address)
  if (family === 0 || rest.length > 0) return false
  return prefix === undefined || (/^\d{1,3}$/.test(prefix) && Number(prefix) <= (family === 4 ? 32 : 128))
}

/** `::` takes IPv4 as well. */
const ALL = ['::', '0.0.0.0']
const overlap = (one: string, other: string): boolean => one === other || ALL.includes(one) || ALL.includes(other)

function unique(items: readonly { name: string }[], where: string, complain: (path: (string | number)[], message: string) => void) {
  const seen = new Set<string>()
  items.forEach((item, i) => {
    if (seen.has(item.name)) complain([where, i, 'name'], `the name ${item.name} is taken`)
    seen.add(item.name)
  })
}

export type Config = z.output<typeof configSchema>
export type ListenerConfig = Config['listeners'][number]
export type DestinationConfig = Config['destinations'][number]
export type DicomDestinationConfig = Extract<DestinationConfig, { host: string }>
export type FolderDestinationConfig = Extract<DestinationConfig, { path: string }>
