/**
 * One authenticated chunk: AES-256-GCM (NIST SP 800-38D) or ChaCha20-Poly1305 (RFC 8439), each
 * with a 12-byte nonce and a 16-byte tag. Both keep the length, so a chunk is its bytes and a tag.
 */
import { createCipheriv, createDecipheriv, createSecretKey } from 'node:crypto'
import type { CipherGCMTypes, KeyObject } from 'node:crypto'
import { PREFIX_BYTES, TAG_BYTES } from './format.ts'
import type { Cipher } from './format.ts'

/** Last byte of the nonce: a chunk of one kind never opens as another. */
export const KIND = { header: 1, data: 2, trailer: 3 } as const
export type Kind = (typeof KIND)[keyof typeof KIND]

const NONCE_BYTES = 12
const OPTIONS = { authTagLength: TAG_BYTES }

/** Seals and opens the chunks of one file. Not reentrant: the nonce is one reused buffer. */
export class Sealer {
  readonly #cipher: CipherGCMTypes
  /** Given a Buffer, Node throws and catches an error for each chunk: 10 µs, as long as the sealing. */
  readonly #key: KeyObject
  readonly #nonce = Buffer.alloc(NONCE_BYTES)

  /** @param key 32 bytes @param prefix 7 bytes */
  constructor(cipher: Cipher, key: Buffer, prefix: Buffer) {
    // Node types the two AEADs apart; they are used alike.
    this.#cipher = cipher as CipherGCMTypes
    this.#key = createSecretKey(key)
    prefix.copy(this.#nonce, 0, 0, PREFIX_BYTES)
  }

  #aim(counter: number, kind: Kind): void {
    this.#nonce.writeUInt32BE(counter, PREFIX_BYTES)
    this.#nonce[NONCE_BYTES - 1] = kind
  }

  /** Appends ciphertext and tag to `into`; `plain` may be reused as soon as this returns. */
  seal(counter: number, kind: Kind, plain: Buffer, into: Buffer[], additional?: Buffer): void {
    this.#aim(counter, kind)
    const cipher = createCipheriv(this.#cipher, this.#key, this.#nonce, OPTIONS)
    if (additional) cipher.setAAD(additional)
    into.push(cipher.update(plain))
    cipher.final()
    into.push(cipher.getAuthTag())
  }

  /** @returns undefined when the chunk does not open */
  open(counter: number, kind: Kind, sealed: Buffer, additional?: Buffer): Buffer | undefined {
    this.#aim(counter, kind)
    const split = sealed.length - TAG_BYTES
    const decipher = createDecipheriv(this.#cipher, this.#key, this.#nonce, OPTIONS)
    if (additional) decipher.setAAD(additional)
    decipher.setAuthTag(sealed.subarray(split))
    const plain = decipher.update(sealed.subarray(0, split))
    try {
      decipher.final()
    } catch {
      return undefined
    }
    return plain
  }
}
