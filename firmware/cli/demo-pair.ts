/**
 * The files of the demo pair: a box and a hub with certificates from a demo authority, made at
 * the first start and kept. Nothing of the real pair differs but where the certificates come from.
 */
import fs from 'node:fs'
import path from 'node:path'
import { stringify } from 'yaml'
import { createAuthority, loadAuthority, saveAuthority, saveIdentity } from '../pki/authority.ts'
import type { Authority } from '../pki/authority.ts'
import { loadIdentity } from '../pki/identity.ts'

export const TENANT = 'demo-clinic'

export interface DemoPorts {
  /** Plain DICOM into the box. */
  readonly box: number
  /** TLS into the box: the way back from the hub. */
  readonly boxTls: number
  /** TLS into the hub. */
  readonly hubTls: number
  /** Plain DICOM into the hub: the PACS sending to the clinic. */
  readonly hub: number
}

/** @param first the box's plain port; the others follow it, TLS at 12762 and up for the default. */
export const demoPorts = (first: number): DemoPorts => ({ box: first, hub: first + 1, boxTls: first + 1650, hubTls: first + 1651 })

const DAY_MILLIS = 86_400_000
/** Made new at a start when less than this is left. */
const RENEW_DAYS = 30

export interface DemoPair {
  readonly box: string
  readonly hub: string
  readonly delivered: string
  readonly returned: string
}

/** @returns the two configuration files, and the folders in which images arrive. */
export async function prepareDemo(directory: string, ports: DemoPorts): Promise<DemoPair> {
  const place = (...parts: string[]) => path.join(directory, ...parts)
  for (const role of ['box', 'hub']) fs.mkdirSync(place(role), { recursive: true, mode: 0o700 })
  await certify(directory)
  write(place('box', 'sallyport.yaml'), boxConfig(ports))
  write(place('hub', 'sallyport.yaml'), hubConfig(ports))
  return {
    box: place('box', 'sallyport.yaml'),
    hub: place('hub', 'sallyport.yaml'),
    delivered: place('hub', 'delivered'),
    returned: place('box', 'returned'),
  }
}

async function certify(directory: string): Promise<void> {
  const home = path.join(directory, 'authority')
  const now = Date.now()
  let authority: Authority
  if (fs.existsSync(home)) authority = await loadAuthority(home)
  else {
    authority = await createAuthority('Sallyport demo authority')
    await saveAuthority(authority, home)
  }
  const crl = await authority.revocationList([], { thisUpdate: new Date(now - DAY_MILLIS), nextUpdate: new Date(now + 365 * DAY_MILLIS) })
  const names = { dnsNames: ['localhost'], ipAddresses: ['127.0.0.1', '::1'] }
  const wanted = [
    { folder: 'box/credentials/link', commonName: 'demo-box', tenant: TENANT, usage: 'client' as const },
    { folder: 'box/credentials/listener', commonName: 'demo-box', usage: 'server' as const, ...names },
    { folder: 'hub/credentials/link', commonName: 'demo-hub', usage: 'client' as const },
    { folder: 'hub/credentials/listener', commonName: 'demo-hub', usage: 'server' as const, ...names },
  ]
  for (const { folder, ...request } of wanted) {
    const target = path.join(directory, folder)
    const held = await loadIdentity(target)
    const fresh = 'own' in held && held.own.notAfter - now > RENEW_DAYS * DAY_MILLIS
    if (fresh) continue
    const issued = await authority.issue({ ...request, notBefore: new Date(now - DAY_MILLIS), notAfter: new Date(now + 365 * DAY_MILLIS) })
    await saveIdentity(target, { cert: issued.cert, key: issued.key, ca: authority.cert, crl })
  }
}

/** Written once; a person may change it and start again. */
function write(file: string, settings: object): void {
  if (fs.existsSync(file)) return
  const head = '# The demo pair. Change it and start again; delete the folder to begin anew.\n'
  fs.writeFileSync(file, head + stringify(settings), { mode: 0o600 })
}

const boxConfig = (ports: DemoPorts) => ({
  role: 'box',
  name: 'demo-box',
  tenant: TENANT,
  state: 'state',
  credentials: 'credentials',
  listeners: [
    { name: 'lan', protocol: 'dicom', port: ports.box },
    { name: 'from-hub', protocol: 'dicom-tls', port: ports.boxTls, certificates: ['demo-hub'] },
  ],
  destinations: [
    { name: 'hub', kind: 'dicom-tls', host: 'localhost', port: ports.hubTls, calledAe: 'HUB' },
    { name: 'returned', kind: 'folder', path: 'returned' },
  ],
  routes: [
    { listener: 'lan', to: ['hub'] },
    { listener: 'from-hub', to: ['returned'] },
  ],
})

const hubConfig = (ports: DemoPorts) => ({
  role: 'hub',
  name: 'demo-hub',
  state: 'state',
  credentials: 'credentials',
  listeners: [
    { name: 'boxes', protocol: 'dicom-tls', port: ports.hubTls },
    { name: 'pacs', protocol: 'dicom', port: ports.hub, tenant: TENANT },
  ],
  destinations: [
    { name: 'delivered', kind: 'folder', path: 'delivered' },
    { name: TENANT, kind: 'dicom-tls', host: 'localhost', port: ports.boxTls, calledAe: 'SALLYPORT', callingAe: 'HUB' },
  ],
  routes: [
    { listener: 'boxes', to: ['delivered'] },
    { listener: 'pacs', tenant: TENANT, to: [TENANT] },
  ],
})
