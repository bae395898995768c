/**
 * The names things go by: syntax checks only, no look-ups.
 */

/** Object id of our own: 26 lower-case Crockford base32 characters, 48 bit time + 80 bit random. */
export type ObjectId = string

const OBJECT_ID = /^[0-9a-hjkmnp-tv-z]{26}$/
export const isObjectId = (text: string): text is ObjectId => OBJECT_ID.test(text)

/**
 * UID as peers really send it (PS3.5 9.1): 1–64 of digits and dots. Leading zeros and empty
 * components are tolerated, since a gateway must carry what a modality made; path separators,
 * letters and control characters are not.
 */
const UID = /^[0-9.]{1,64}$/
export const isUid = (text: string): boolean => UID.test(text) && !/^\.+$/.test(text)

/** Strips the padding PS3.5 allows on UI (NUL) and what peers wrongly use (spaces). */
export const trimUid = (text: string): string => text.replace(/[\0 ]+$/, '')

/** AE title (PS3.5 6.2): 1–16 characters, no backslash, no control characters, not only spaces. */
export const isAeTitle = (text: string): boolean =>
  text.length >= 1 && text.length <= 16 && /^[\x20-\x5b\x5d-\x7e]+$/.test(text) && text.trim() !== ''

/** Tenant, site, listener, destination: safe as a folder, a metric label and a certificate field. */
const NAME = /^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$/
export const isName = (text: string): boolean => NAME.test(text)

/**
 * Where the hub puts the tenant into a client certificate: a URI in Subject Alternative Name.
 * The tenant is read from nowhere else.
 */
export const TENANT_URI_PREFIX = 'urn:sallyport:tenant:'
