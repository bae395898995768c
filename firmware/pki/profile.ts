/**
 * The TLS profile of both roles: DICOM PS3.15 B.12, "BCP 195 RFC 8996, 9325 TLS Secure Transport
 * Connection Profile", which is RFC 9325: TLS 1.3 preferred, TLS 1.2 with the four ECDHE-GCM
 * suites of its section 4.2, nothing older, no renegotiation, no compression.
 *
 * No session is ever resumed. A resumed session would carry an old verdict on the certificate
 * past its revocation; an association lasts minutes, so the 4 ms of a full handshake are cheap,
 * and after a restart of the hub, when 5,000 boxes come at once, no ticket would be valid anyway.
 */
import { constants } from 'node:crypto'
import type { ConnectionOptions, TlsOptions } from 'node:tls'
import { isIP } from 'node:net'
import { LIMITS } from '../domain/limits.ts'

/** PEM texts. `crl` may hold several lists; without it nobody is checked for revocation. */
export interface TlsMaterial {
  readonly cert: string
  readonly key: string
  readonly ca: string
  readonly crl?: string | undefined
}

const TLS13 = ['TLS_AES_256_GCM_SHA384', 'TLS_AES_128_GCM_SHA256', 'TLS_CHACHA20_POLY1305_SHA256']
const TLS12 = [
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
]

/**
 * Post-quantum hybrid first: what crosses the internet today can be kept and opened later, and
 * images stay confidential for decades. A peer that does not know it takes the next.
 */
const CURVES = 'X25519MLKEM768:X25519:P-256:P-384'

/** Nothing below SHA-256 and no DSA, which OpenSSL would still offer in TLS 1.2 (RFC 9325 4.3, RFC 9155). */
const SIGNATURES = ['ECDSA', 'RSA-PSS', 'RSA'].flatMap((kind) => ['SHA256', 'SHA384', 'SHA512'].map((hash) => `${kind}+${hash}`))

const profile = {
  minVersion: 'TLSv1.2',
  maxVersion: 'TLSv1.3',
  ciphers: [...TLS13, ...TLS12].join(':'),
  ecdhCurve: CURVES,
  sigalgs: [...SIGNATURES, 'ed25519'].join(':'),
  honorCipherOrder: true,
  // No tickets (see above); RFC 9325 3.5 on renegotiation.
  secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION | constants.SSL_OP_NO_COMPRESSION,
} as const

const material = ({ cert, key, ca, crl }: TlsMaterial) => ({ cert, key, ca, ...(crl === undefined ? {} : { crl }) })

/**
 * What a server does in every handshake. Node takes it only when the server is made; so one that
 * is made before its identity is there needs it, too, or it would never ask for certificates.
 *
 * The handshake lets everybody through: the caller must ask `judgePeer` on `secureConnection`
 * before it reads a byte, since only so can the reason for a refusal be named (with
 * `rejectUnauthorized` the server sees but a reset).
 */
export const serverManners = {
  requestCert: true,
  rejectUnauthorized: false,
  handshakeTimeout: LIMITS.handshakeMillis,
} as const satisfies TlsOptions

/** For `tls.createServer` and `server.setSecureContext`. */
export const serverOptions = (identity: TlsMaterial): TlsOptions => ({ ...profile, ...material(identity), ...serverManners })

/**
 * For `tls.connect` on an open socket. Again the caller must ask `judgePeer`.
 * @param serverName the name the far side's certificate must bear; an IP address is checked but
 *   not sent (RFC 6066 3).
 */
export const clientOptions = (identity: TlsMaterial | Pick<TlsMaterial, 'ca' | 'crl'>, serverName: string): ConnectionOptions => ({
  ...profile,
  ...('key' in identity ? material(identity) : { ca: identity.ca, ...(identity.crl === undefined ? {} : { crl: identity.crl }) }),
  rejectUnauthorized: false,
  ...(isIP(serverName) === 0 ? { servername: serverName } : {}),
})
