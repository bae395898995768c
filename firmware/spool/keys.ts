/**
 * Tenant keys: 32 random bytes each, in a file of mode 0600. They wrap the data keys of the
 * objects, and never leave the supervisor. Erasing a tenant's key erases its objects, wherever
 * copies of them are.
 */
import { createCipheriv, createDecipheriv, createHash, createSecretKey, randomBytes } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { mkdir, readdir, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { isName } from '../domain/identifier.ts'
import { syncDirectory, writeDurably } from './files.ts'
import type { Preamble } from './object/format.ts'

const NONCE_BYTES = 12
const TAG_BYTES = 16
const KEY_BYTES = 32
const EXTENSION = '.key'

interface TenantKey {
  readonly tenant: string
  readonly keyId: string
  /** A Buffer, so that it can be wiped; made a KeyObject for each use, which is quicker than passing it. */
  readonly key: Buffer
}

const additional = (id: string, tenant: string): Buffer => Buffer.from(`${id}\n${tenant}`)

/** Tells a damaged key file from a good one, and says nothing about the key. */
const checkOf = (keyId: string, key: Buffer): string => createHash('sha256').update(keyId).update(key).digest('hex').slice(0, 16)

export class KeyRing {
  readonly #directory: string
  /** By key id: a key that was missing and is put back stands beside the one made meanwhile. */
  readonly #keys = new Map<string, TenantKey>()
  /** By tenant: what new objects are wrapped with. */
  readonly #current = new Map<string, TenantKey>()
  readonly #making = new Map<string, Promise<TenantKey>>()

  /** @throws Error when a key file is unreadable: to go on would make a new key and lose the old objects */
  static async open(directory: string): Promise<KeyRing> {
    await mkdir(directory, { recursive: true, mode: 0o700 })
    const ring = new KeyRing(directory)
    for (const name of readdirSync(directory)) if (name.endsWith(EXTENSION)) ring.#read(name)
    return ring
  }

  private constructor(directory: string) {
    this.#directory = directory
  }

  #read(name: string): void {
    const [tenant = ''] = name.split('.')
    const [keyId = '', key = '', check = ''] = readFileSync(join(this.#directory, name), 'utf8').trim().split(' ')
    const bytes = Buffer.from(key, 'base64')
    if (bytes.length !== KEY_BYTES || checkOf(keyId, bytes) !== check) throw new Error(`spool: the key file ${name} is damaged; put its backup in place`)
    this.#add({ tenant, keyId, key: bytes })
  }

  #add(key: TenantKey): TenantKey {
    this.#keys.set(key.keyId, key)
    this.#current.set(key.tenant, key)
    return key
  }

  #path(tenant: string, keyId: string): string {
    if (!isName(tenant)) throw new Error(`spool: not a tenant: ${JSON.stringify(tenant)}`)
    return join(this.#directory, `${tenant}.${keyId}${EXTENSION}`)
  }

  /** Makes the tenant's key if there is none, durable before it is used. */
  async ensure(tenant: string): Promise<void> {
    if (this.#current.has(tenant)) return
    let making = this.#making.get(tenant)
    if (!making) {
      making = this.#make(tenant).finally(() => this.#making.delete(tenant))
      this.#making.set(tenant, making)
    }
    await making
  }

  async #make(tenant: string): Promise<TenantKey> {
    const made = { tenant, keyId: randomBytes(8).toString('hex'), key: randomBytes(KEY_BYTES) }
    await writeDurably(this.#path(tenant, made.keyId), `${made.keyId} ${made.key.toString('base64')} ${checkOf(made.keyId, made.key)}\n`)
    return this.#add(made)
  }

  /** A fresh data key for one object of a tenant whose key was made. Base64, as a slot carries it. */
  newDataKey(tenant: string, id: string): { key: string; wrappedKey: string; keyId: string } {
    const wrapping = this.#current.get(tenant)
    if (!wrapping) throw new Error(`spool: no key of tenant ${tenant}`)
    const key = randomBytes(KEY_BYTES)
    const nonce = randomBytes(NONCE_BYTES)
    const cipher = createCipheriv('aes-256-gcm', createSecretKey(wrapping.key), nonce).setAAD(additional(id, tenant))
    const wrapped = Buffer.concat([nonce, cipher.update(key), cipher.final(), cipher.getAuthTag()])
    return { key: key.toString('base64'), wrappedKey: wrapped.toString('base64'), keyId: wrapping.keyId }
  }

  /** @returns undefined when the key is erased or missing, another tenant's, or the wrapped key was altered */
  readonly unwrap = (of: Pick<Preamble, 'id' | 'tenant' | 'keyId' | 'wrappedKey'>): Buffer | undefined => {
    const wrapping = this.#keys.get(of.keyId)
    if (wrapping?.tenant !== of.tenant) return undefined
    const bytes = Buffer.from(of.wrappedKey, 'base64')
    if (bytes.length !== NONCE_BYTES + KEY_BYTES + TAG_BYTES) return undefined
    const split = bytes.length - TAG_BYTES
    const decipher = createDecipheriv('aes-256-gcm', createSecretKey(wrapping.key), bytes.subarray(0, NONCE_BYTES)).setAAD(additional(of.id, of.tenant))
    decipher.setAuthTag(bytes.subarray(split))
    try {
      return Buffer.concat([decipher.update(bytes.subarray(NONCE_BYTES, split)), decipher.final()])
    } catch {
      return undefined
    }
  }

  /** The point of no return: nothing of this tenant can be read afterwards. */
  async erase(tenant: string): Promise<void> {
    await this.#making.get(tenant)
    this.#current.delete(tenant)
    const names = (await readdir(this.#directory)).filter((name) => name.split('.')[0] === tenant)
    for (const key of this.#keys.values()) {
      if (key.tenant !== tenant) continue
      this.#keys.delete(key.keyId)
      key.key.fill(0)
    }
    // Overwriting in place would promise more than a flash disk keeps; the medium is another matter.
    for (const name of names) await unlink(join(this.#directory, name))
    await syncDirectory(this.#directory)
  }
}
