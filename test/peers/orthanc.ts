/**
 * Orthanc 1.10, the PACS of the tests: own configuration, own storage, free ports; the service
 * Debian installs plays no part.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Identity } from './certificates.ts'
import { freePort, scratch, start, type Peer } from './process.ts'

export interface Modality {
  readonly aet: string
  readonly port: number
  readonly host?: string
  readonly tls?: boolean
  /** Orthanc's own AE title towards this one. */
  readonly localAet?: string
}

export interface OrthancOptions {
  readonly port?: number
  readonly aet?: string
  /** Folder; a second Orthanc on the same one finds what the first stored. */
  readonly storage?: string
  /** fsync of what it stores; Orthanc's default. */
  readonly syncStorage?: boolean
  readonly modalities?: Readonly<Record<string, Modality>>
  /** Names of modalities that get every instance as soon as it is stored. */
  readonly autoRoute?: readonly string[]
  /** Its certificate for DICOM TLS and whom it trusts; `serve`: its own DICOM port speaks TLS too. */
  readonly tls?: { readonly identity: Identity; readonly ca: string; readonly serve?: boolean }
  /** As DCMTK's: Orthanc is built on it. */
  readonly noDelay?: boolean
  /** Any further key of orthanc.json. */
  readonly settings?: Readonly<Record<string, unknown>>
}

export interface Orthanc extends Peer {
  readonly port: number
  readonly aet: string
  readonly storage: string
  /** Body of the answer. @throws Error on any HTTP status but 2xx. */
  rest(path: string, init?: RequestInit): Promise<Buffer>
  /** Orthanc's ids of everything it holds. */
  instances(): Promise<string[]>
  /** The instance as a Part 10 file, as it was stored. */
  file(id: string): Promise<Buffer>
  upload(part10: Buffer): Promise<string>
  remove(id: string): Promise<void>
  /** C-STOREs instances to a modality and waits; false when it failed. */
  send(modality: string, ids: readonly string[]): Promise<boolean>
}

const inJson = (modality: Modality) => ({
  AET: modality.aet,
  Host: modality.host ?? '127.0.0.1',
  Port: modality.port,
  UseDicomTls: modality.tls ?? false,
  AllowTranscoding: false,
  Timeout: 30,
  ...(modality.localAet === undefined ? {} : { LocalAet: modality.localAet }),
})

export async function orthanc(options: OrthancOptions = {}): Promise<Orthanc> {
  const [port, http, aet] = [options.port ?? (await freePort()), await freePort(), options.aet ?? 'ORTHANC']
  const folder = scratch('orthanc')
  const storage = options.storage ?? join(folder, 'storage')
  const script = join(folder, 'route.lua')
  const routes = (options.autoRoute ?? []).map((name) => `  SendToModality(instanceId, '${name}')\n`)
  writeFileSync(script, `function OnStoredInstance(instanceId, tags, metadata)\n${routes.join('')}end\n`)
  const { tls } = options
  const settings = {
    Name: aet,
    DicomAet: aet,
    DicomPort: port,
    HttpPort: http,
    StorageDirectory: storage,
    IndexDirectory: storage,
    SyncStorageArea: options.syncStorage ?? true,
    RemoteAccessAllowed: false,
    AuthenticationEnabled: false,
    DicomCheckCalledAet: false,
    DicomAlwaysAllowStore: true,
    UnknownSopClassAccepted: true,
    TranscodeDicomProtocol: false,
    OverwriteInstances: false,
    StableAge: 1,
    // Seconds it holds an idle association open; its own default of 5 delays every stop.
    DicomAssociationCloseDelay: 1,
    ConcurrentJobs: 4,
    DicomModalities: Object.fromEntries(Object.entries(options.modalities ?? {}).map(([name, modality]) => [name, inJson(modality)])),
    LuaScripts: routes.length > 0 ? [script] : [],
    ...(tls === undefined
      ? {}
      : {
          DicomTlsEnabled: tls.serve ?? false,
          DicomTlsCertificate: tls.identity.cert,
          DicomTlsPrivateKey: tls.identity.key,
          DicomTlsTrustedCertificates: tls.ca,
          DicomTlsRemoteCertificateRequired: true,
        }),
    ...options.settings,
  }
  const config = join(folder, 'orthanc.json')
  writeFileSync(config, JSON.stringify(settings))

  const rest = async (path: string, init?: RequestInit) => {
    const answer = await fetch(`http://127.0.0.1:${http}${path}`, { signal: AbortSignal.timeout(60_000), ...init })
    const body = Buffer.from(await answer.arrayBuffer())
    if (!answer.ok) throw new Error(`orthanc ${path}: ${answer.status} ${body.toString().slice(0, 500)}`)
    return body
  }
  const alive = () =>
    rest('/system').then(
      () => true,
      () => false,
    )
  const peer = await start('Orthanc', [config], { ready: alive, readyMillis: 60_000, env: { TCP_NODELAY: options.noDelay === true ? '1' : undefined } })
  return {
    ...peer,
    port,
    aet,
    storage,
    rest,
    instances: async () => JSON.parse((await rest('/instances')).toString()) as string[],
    file: (id) => rest(`/instances/${id}/file`),
    upload: async (part10) => {
      const answer = await rest('/instances', { method: 'POST', body: new Uint8Array(part10) })
      return (JSON.parse(answer.toString()) as { ID: string }).ID
    },
    remove: async (id) => {
      await rest(`/instances/${id}`, { method: 'DELETE' })
    },
    send: (modality, ids) =>
      rest(`/modalities/${modality}/store`, { method: 'POST', body: JSON.stringify({ Resources: ids, Synchronous: true }) }).then(
        () => true,
        () => false,
      ),
  }
}
