/**
 * What went wrong with TLS, from the errors of Node and OpenSSL: before, in and after the
 * handshake. In TLS 1.3 a client is done before the server has judged its certificate (RFC 8446
 * 4.4.4), so the server's alert arrives later, as an error of reading; and servers on Node never
 * send one, they just close. Both count as "refused ours".
 */
import { Fault } from '../domain/errors.ts'
import { day } from './clock.ts'
import { judgeIdentity, type Identity } from './identity.ts'

export interface TlsFailure {
  /** What we were. */
  readonly side: 'client' | 'server'
  /** The far side's name or address, for the sentence. */
  readonly host: string
  readonly port: number
  /** Ours; absent when we show no certificate. */
  readonly identity?: Identity | undefined
  /** Whether `secureConnect` or `secureConnection` had come. */
  readonly established: boolean
  /** How long was waited; for time-outs. */
  readonly seconds: number
  /** Milliseconds since 1970. */
  readonly now: number
}

/** Alerts by which the far side refuses our certificate (RFC 8446 6.2). */
const REFUSALS = new Set([
  'BAD_CERTIFICATE',
  'UNSUPPORTED_CERTIFICATE',
  'CERTIFICATE_REVOKED',
  'CERTIFICATE_EXPIRED',
  'CERTIFICATE_UNKNOWN',
  'UNKNOWN_CA',
  'ACCESS_DENIED',
  'DECRYPT_ERROR',
  'CERTIFICATE_REQUIRED',
])

const NOT_TLS = new Set(['WRONG_VERSION_NUMBER', 'PACKET_LENGTH_TOO_LONG', 'BAD_RECORD_TYPE', 'UNEXPECTED_MESSAGE', 'RECORD_TOO_SMALL'])
const HTTP = new Set(['HTTP_REQUEST', 'HTTPS_PROXY_REQUEST'])
const VERSION = new Set(['UNSUPPORTED_PROTOCOL', 'NO_PROTOCOLS_AVAILABLE', 'VERSION_TOO_LOW', 'WRONG_SSL_VERSION'])
const CIPHER = new Set([
  'NO_SHARED_CIPHER',
  'NO_SHARED_GROUP',
  'NO_SHARED_SIGNATURE_ALGORITHMS',
  'NO_SUITABLE_KEY_SHARE',
  'NO_SUITABLE_GROUPS',
  'NO_SUITABLE_SIGNATURE_ALGORITHM',
  'NO_CIPHERS_AVAILABLE',
  'WRONG_CIPHER_RETURNED',
  'UNKNOWN_CIPHER_RETURNED',
  'EE_KEY_TOO_SMALL',
  'DH_KEY_TOO_SMALL',
  'CA_KEY_TOO_SMALL',
  'CA_MD_TOO_WEAK',
  'WRONG_SIGNATURE_TYPE',
  'WRONG_CURVE',
])

/** OpenSSL's reason as a word: `ERR_SSL_TLSV1_ALERT_UNKNOWN_CA` → alert `UNKNOWN_CA`. */
function reasonOf(error: NodeJS.ErrnoException): { alert: boolean; word: string } {
  const text = (error.code ?? '').replace(/^ERR_SSL_/, '')
  const alert = /^(?:SSL\/TLS|SSLV3|TLSV1|TLSV13)_ALERT_(.+)$/.exec(text)
  return alert?.[1] === undefined ? { alert: false, word: text } : { alert: true, word: alert[1] }
}

/** @param error of the socket or of `tlsClientError`; undefined = the far side just closed. */
export function judgeTlsFailure(error: NodeJS.ErrnoException | undefined, failure: TlsFailure): Fault {
  if (error instanceof Fault) return error
  const { host, port, seconds } = failure
  if (error === undefined || isClose(error)) return failure.established ? refusedSilently(failure) : new Fault('TLS_CLOSED')
  const { alert, word } = reasonOf(error)
  if (error.code === 'ERR_TLS_HANDSHAKE_TIMEOUT') return new Fault('TLS_SILENT', { host, port, seconds })
  if (alert && REFUSALS.has(word)) return refused(word, failure)
  if (VERSION.has(word) || (alert && word === 'PROTOCOL_VERSION')) return new Fault('TLS_VERSION')
  if (CIPHER.has(word)) return new Fault('TLS_CIPHER', { detail: words(word) })
  if (alert && (word === 'HANDSHAKE_FAILURE' || word === 'INSUFFICIENT_SECURITY')) return handshakeFailure(word, failure)
  if (word === 'PEER_DID_NOT_RETURN_A_CERTIFICATE') return new Fault('FAR_CERTIFICATE_MISSING')
  if (HTTP.has(word)) return new Fault('FAR_SPEAKS_OTHER', { what: 'HTTP (a web browser or a web server)' })
  if (NOT_TLS.has(word)) return new Fault('FAR_SPEAKS_PLAIN', { detail: 'what it sends is not TLS' })
  return new Fault('TLS_FAILED', { detail: alert ? `alert ${words(word)}` : words(word) || error.message.slice(0, 100) })
}

/** A failure with one of these says nothing but "it is over". */
const isClose = ({ code = '' }: NodeJS.ErrnoException): boolean =>
  code === 'ECONNRESET' || code === 'EPIPE' || code === 'ERR_STREAM_PREMATURE_CLOSE' || code === 'ERR_SSL_UNEXPECTED_EOF_WHILE_READING'

/**
 * The far side's word on our certificate, read beside what we know of it ourselves: where both
 * agree ours is at fault; where they do not, its clock or its list may be.
 */
function refused(word: string, failure: TlsFailure): Fault {
  const { identity, now } = failure
  if (identity === undefined || word === 'CERTIFICATE_REQUIRED')
    return failure.side === 'client' ? new Fault('REFUSED_MISSING') : new Fault('REFUSED_BAD', { subject: 'of this port', detail: words(word) })
  const { subject, issuer, notAfter } = identity.own
  const known = ownFault(identity, now)
  if (known !== undefined) return known
  switch (word) {
    case 'UNKNOWN_CA':
      return new Fault('REFUSED_CA_UNKNOWN', { issuer })
    case 'CERTIFICATE_EXPIRED':
      return new Fault('REFUSED_EXPIRED', { date: day(notAfter) })
    case 'CERTIFICATE_REVOKED':
      return new Fault('REFUSED_REVOKED', { subject })
    default:
      return new Fault('REFUSED_BAD', { subject, detail: words(word) })
  }
}

/** OpenSSL servers of TLS 1.2 say `handshake failure` for a missing certificate, too. */
function handshakeFailure(word: string, failure: TlsFailure): Fault {
  if (failure.side === 'client' && failure.identity === undefined) return new Fault('REFUSED_MISSING')
  return new Fault('TLS_CIPHER', { detail: words(word) })
}

function refusedSilently({ side, identity, now }: TlsFailure): Fault {
  if (identity === undefined) return side === 'client' ? new Fault('REFUSED_MISSING') : new Fault('TLS_CLOSED')
  return ownFault(identity, now) ?? new Fault('REFUSED_SILENTLY', { subject: identity.own.subject })
}

/** Only what the far side can see of us; our list of revoked certificates is not its business. */
function ownFault(identity: Identity, now: number): Fault | undefined {
  const fault = judgeIdentity(identity, now)
  return fault?.code.startsWith('REVOCATION_LIST') ? undefined : fault
}

const words = (word: string): string => word.toLowerCase().replaceAll('_', ' ')

/**
 * What a far side speaks, from the first bytes it sent; undefined where they tell nothing.
 * For callers that expected DICOM (PS3.8 9.3: a PDU begins with its type 1–7 and a zero).
 */
export function speaks(bytes: Uint8Array): 'tls' | 'dicom' | 'http' | 'ssh' | 'other' | undefined {
  if (bytes.length < 2) return undefined
  const [first = 0, second = 0] = bytes
  // RFC 8446 5.1: record type 20–23, then version 3.x.
  if (first >= 0x14 && first <= 0x17 && second === 3) return 'tls'
  if (first >= 1 && first <= 7 && second === 0) return 'dicom'
  const text = Buffer.from(bytes.subarray(0, 8)).toString('latin1')
  if (/^(HTTP\/|GET |POST|<!DO|<htm)/i.test(text)) return 'http'
  if (text.startsWith('SSH-')) return 'ssh'
  return 'other'
}

/** The fault for first bytes that are not DICOM; undefined when they are, or tell nothing. */
export function judgeFirstBytes(bytes: Uint8Array): Fault | undefined {
  switch (speaks(bytes)) {
    case 'tls':
      return new Fault('FAR_SPEAKS_TLS')
    case 'http':
      return new Fault('FAR_SPEAKS_OTHER', { what: 'HTTP (a web server)' })
    case 'ssh':
      return new Fault('FAR_SPEAKS_OTHER', { what: 'SSH (a remote shell)' })
    case 'other':
      return new Fault('FAR_SPEAKS_OTHER', { what: 'neither TLS nor DICOM' })
    default:
      return undefined
  }
}
