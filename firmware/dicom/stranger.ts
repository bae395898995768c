/**
 * Who is knocking when it is not DICOM: told from the first bytes, so that the person who set up
 * a device, a scanner or a monitor wrongly reads what it was and not "malformed PDU".
 */
const TELLTALES: readonly (readonly [RegExp, string])[] = [
  [/^\x16\x03/, 'a TLS client on a plain port'],
  [/^\x15\x03/, 'a TLS alert: one side speaks TLS, the other does not'],
  [/^(GET|POST|HEAD|PUT|OPTION|DELETE|PATCH|TRACE|CONNEC) ?/, 'an HTTP client'],
  [/^HTTP\//, 'an HTTP server'],
  [/^PRI \* /, 'an HTTP client'],
  [/^SSH-/, 'an SSH client or server'],
  [/^\x0bMSH/, 'an HL7 (MLLP) sender'],
  [/^MSH\|/, 'an HL7 sender'],
  [/^\x03\x00\x00[^\x00]/, 'a remote desktop (RDP) client'],
  [/^\xffSMB|^\x00\x00..[\xff\xfe]S/s, 'a Windows file sharing (SMB) client'],
  [/^\xff[\xfb-\xfe]/, 'a telnet client'],
  [/^(EHLO|HELO|220[ -])/, 'a mail (SMTP) peer'],
  [/^[\r\n]/, 'a person or probe pressing Enter'],
  [/^\x00+$/, 'only zero bytes'],
]

/** @param first the first 1–6 bytes a peer sent. */
export function strangerOf(first: Buffer): string | undefined {
  const text = first.toString('latin1')
  return TELLTALES.find(([pattern]) => pattern.test(text))?.[1]
}
