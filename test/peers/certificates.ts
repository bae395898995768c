/**
 * Certificates made by the openssl program, so that what the firmware accepts and refuses was
 * not made by the firmware: a private CA with its register, as RFC 5280 wants them.
 */
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { scratch } from './process.ts'

export interface Identity {
  readonly name: string
  /** Paths of PEM files; the key is unencrypted PKCS#8. */
  readonly cert: string
  readonly key: string
  readonly certPem: string
  readonly keyPem: string
}

export interface IssueOptions {
  /** Becomes `urn:sallyport:tenant:<name>` in Subject Alternative Name. */
  readonly tenant?: string
  readonly dns?: readonly string[]
  readonly ip?: readonly string[]
  readonly from?: Date
  readonly to?: Date
  readonly use?: 'server' | 'client' | 'both'
}

const DAY = 24 * 3600_000
/** GeneralizedTime (RFC 5280 4.1.2.5.2), as `openssl ca` takes it. */
const stamp = (date: Date): string => date.toISOString().replace(/[-:T]|\.\d+/g, '')

function openssl(cwd: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync('openssl', args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
  if (status !== 0) throw new Error(`openssl ${args.join(' ')}: ${stderr}`)
  return stdout
}

const CONFIG = `
[ca]
default_ca = own
[own]
dir = .
database = index
serial = serial
crlnumber = crlnumber
new_certs_dir = .
default_md = sha256
default_days = 30
default_crl_days = 30
policy = policy
unique_subject = no
[policy]
commonName = supplied
[req]
distinguished_name = dn
prompt = no
[dn]
CN = placeholder
`

const USES = { server: 'serverAuth', client: 'clientAuth', both: 'serverAuth,clientAuth' } as const

export class Authority {
  readonly folder: string
  readonly cert: string
  readonly key: string
  readonly crl: string
  readonly #keys: 'ec' | 'rsa'
  #count = 0

  constructor(name: string, keys: 'ec' | 'rsa' = 'ec') {
    this.#keys = keys
    this.folder = scratch('ca')
    this.cert = join(this.folder, 'ca.pem')
    this.key = join(this.folder, 'ca.key')
    this.crl = join(this.folder, 'crl.pem')
    writeFileSync(join(this.folder, 'ca.conf'), CONFIG)
    writeFileSync(join(this.folder, 'index'), '')
    writeFileSync(join(this.folder, 'serial'), '1000\n')
    writeFileSync(join(this.folder, 'crlnumber'), '01\n')
    this.#makeKey(this.key)
    openssl(
      this.folder, 'req', '-x509', '-new', '-config', 'ca.conf', '-key', this.key, '-out', this.cert, '-subj', `/CN=${name}`,
      '-days', '3650', '-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=critical,keyCertSign,cRLSign',
    )
    this.writeCrl()
  }

  get certPem(): string {
    return readFileSync(this.cert, 'utf8')
  }

  get crlPem(): string {
    return readFileSync(this.crl, 'utf8')
  }

  #makeKey(path: string): void {
    const kind = this.#keys === 'ec' ? ['EC', '-pkeyopt', 'ec_paramgen_curve:P-256'] : ['RSA', '-pkeyopt', 'rsa_keygen_bits:2048']
    openssl(this.folder, 'genpkey', '-algorithm', ...kind, '-out', path)
  }

  issue(name: string, options: IssueOptions = {}): Identity {
    const base = join(this.folder, `${(this.#count += 1)}-${name}`)
    const [key, csr, cert, extensions] = [`${base}.key`, `${base}.csr`, `${base}.pem`, `${base}.ext`]
    const alternative = [
      ...(options.tenant === undefined ? [] : [`URI:urn:sallyport:tenant:${options.tenant}`]),
      ...(options.dns ?? []).map((value) => `DNS:${value}`),
      ...(options.ip ?? []).map((value) => `IP:${value}`),
    ]
    const lines = ['basicConstraints=critical,CA:FALSE', 'keyUsage=critical,digitalSignature', `extendedKeyUsage=${USES[options.use ?? 'both']}`]
    lines.push('subjectKeyIdentifier=hash', 'authorityKeyIdentifier=keyid')
    if (alternative.length > 0) lines.push(`subjectAltName=${alternative.join(',')}`)
    writeFileSync(extensions, `${lines.join('\n')}\n`)
    this.#makeKey(key)
    openssl(this.folder, 'req', '-new', '-config', 'ca.conf', '-key', key, '-subj', `/CN=${name}`, '-out', csr)
    const from = options.from ?? new Date(Date.now() - DAY)
    const to = options.to ?? new Date(Date.now() + 30 * DAY)
    openssl(
      this.folder, 'ca', '-batch', '-notext', '-config', 'ca.conf', '-cert', this.cert, '-keyfile', this.key, '-in', csr,
      '-out', cert, '-extfile', extensions, '-startdate', stamp(from), '-enddate', stamp(to),
    )
    return { name, cert, key, certPem: readFileSync(cert, 'utf8'), keyPem: readFileSync(key, 'utf8') }
  }

  /** Enters the certificate into the register of revoked ones; the list on disk is written anew. */
  revoke(identity: Identity): void {
    openssl(this.folder, 'ca', '-config', 'ca.conf', '-cert', this.cert, '-keyfile', this.key, '-revoke', identity.cert)
    this.writeCrl()
  }

  /** `nextUpdate` in the past makes an expired list. Returns the path of the list. */
  writeCrl(path = this.crl, nextUpdate = new Date(Date.now() + 30 * DAY)): string {
    const dates = ['-crl_lastupdate', stamp(new Date(Math.min(Date.now(), nextUpdate.getTime()) - DAY)), '-crl_nextupdate', stamp(nextUpdate)]
    openssl(this.folder, 'ca', '-config', 'ca.conf', '-cert', this.cert, '-keyfile', this.key, '-gencrl', ...dates, '-out', path)
    return path
  }
}

export interface CertificateSet {
  readonly ca: Authority
  readonly hub: Identity
  /** Tenant of `box` and the faulty ones below. */
  readonly tenant: string
  readonly box: Identity
  /** A second tenant's box, as good as the first. */
  readonly other: Identity
  readonly expired: Identity
  readonly notYetValid: Identity
  /** On the list `ca.crl`. */
  readonly revoked: Identity
  /** Signed by the CA, but names no tenant. */
  readonly tenantless: Identity
  readonly wrongCa: Authority
  /** Same names as `box`, from the wrong CA. */
  readonly foreign: Identity
}

/** About half a second of openssl. */
export function certificates(tenant = 'north', keys: 'ec' | 'rsa' = 'ec'): CertificateSet {
  const ca = new Authority('Test Hub CA', keys)
  const wrongCa = new Authority('Test Hub CA', keys)
  const [now, client] = [Date.now(), { tenant, use: 'client' } as const]
  const revoked = ca.issue('revoked', client)
  ca.revoke(revoked)
  return {
    ca,
    wrongCa,
    tenant,
    hub: ca.issue('hub', { dns: ['localhost', 'hub.test'], ip: ['127.0.0.1', '::1'], use: 'server' }),
    box: ca.issue('box', client),
    other: ca.issue('other', { tenant: `${tenant}-2`, use: 'client' }),
    expired: ca.issue('expired', { ...client, from: new Date(now - 10 * DAY), to: new Date(now - DAY) }),
    notYetValid: ca.issue('not-yet', { ...client, from: new Date(now + DAY), to: new Date(now + 10 * DAY) }),
    revoked,
    tenantless: ca.issue('tenantless', { use: 'client' }),
    foreign: wrongCa.issue('box', client),
  }
}
