/**
 * Every error a person can meet: a stable code, what caused it, and what to do, in words a
 * clinic's assistant can act on. Codes never change; sentences may. `{name}` is filled from the
 * error's fields. Fields never carry patient data.
 */
export const ERRORS = {
  // receive
  PORT_TAKEN: {
    cause: 'Port {port} is taken by another program.',
    remedy: 'End the other program, or give the listener another port.',
  },
  PORT_FORBIDDEN: {
    cause: 'This user may not listen on port {port}.',
    remedy: 'Use a port above 1023, or allow it (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE).',
  },
  PORT_FAILED: {
    cause: 'It is not possible to listen on {address} port {port}: {detail}.',
    remedy: 'Check the address of the listener in the configuration.',
  },
  CALLED_AE_UNKNOWN: {
    cause: 'The caller asked for AE title {called}, which this listener does not answer to.',
    remedy: 'Set the called AE title at the device to one of: {accepted}.',
  },
  CALLING_AE_UNKNOWN: {
    cause: 'The calling AE title {calling} is not on the list of this listener.',
    remedy: 'If the device is yours, add its AE title to the accepted callers.',
  },
  PEER_UNKNOWN: {
    cause: 'The address {peer} is not on the list of this listener.',
    remedy: 'If the device is yours, add its address to the accepted peers.',
  },
  TENANT_MISSING: {
    cause: 'The client certificate names no tenant.',
    remedy: 'Pair the sender with this hub; only certificates issued by it name a tenant.',
  },
  TENANT_UNKNOWN: {
    cause: 'The client certificate names tenant {tenant}, for which this hub has no route.',
    remedy: 'Add a route for the tenant, or revoke the certificate.',
  },
  CERTIFICATE_UNKNOWN: {
    cause: 'The client certificate {subject} is not on the list of this listener.',
    remedy: 'If the sender is yours, add its certificate to the accepted ones.',
  },
  ASSOCIATIONS_FULL: {
    cause: 'All {limit} associations are taken.',
    remedy: 'Wait a moment; if it stays so, a device is holding connections open.',
  },
  ASSOCIATIONS_PER_PEER_FULL: {
    cause: 'The address {peer} already holds {limit} associations.',
    remedy: 'Look at the device: it opens connections without closing them.',
  },
  ROUTE_MISSING: {
    cause: 'No route says where images from {from} go.',
    remedy: 'Add a route for this listener or tenant.',
  },
  NOT_DICOM: {
    cause: 'What arrived is not DICOM: {detail}.',
    remedy: 'Point only DICOM devices at this port.',
  },
  SPOOL_FULL: {
    cause: 'The disk of the box is filled to {percent} %.',
    remedy: 'Nothing to do if the link is back: it empties by itself. Otherwise restore the link, or discard what is held.',
  },
  DISK_FAILED: {
    cause: 'The disk refused to store: {detail}.',
    remedy: 'If it happens again, the disk is failing: keep the images at the modality and have the box exchanged.',
  },
  SUPERVISOR_GONE: {
    cause: 'The part that keeps the index is restarting.',
    remedy: 'Nothing; the sender tries again by itself.',
  },
  CLASS_MISMATCH: {
    cause: 'Data set and command disagree about {attribute}.',
    remedy: 'The device sends inconsistent images; tell its service engineer.',
  },
  NOT_UNDERSTOOD: {
    cause: 'The data set cannot be read: {detail}.',
    remedy: 'The device sends a damaged image; send it again, and if that fails tell its service engineer.',
  },
  // spool
  OBJECT_DAMAGED: {
    cause: 'The stored object does not match its digest any more: {detail}.',
    remedy: 'The disk changed it after it was stored. Send the image again from the modality if it is still there.',
  },
  OBJECT_MISSING: {
    cause: 'The index knows an object whose file is gone.',
    remedy: 'Send the image again from the modality if it is still there, and have the disk checked.',
  },
  INDEX_DAMAGED: {
    cause: 'The index was damaged and has been made anew from the object files.',
    remedy: 'Nothing was lost that was intact. If it happens again, have the disk checked.',
  },
  FILES_SET_ASIDE: {
    cause: '{count} files of the spool could not be understood and were set aside.',
    remedy: 'Have the disk checked, and send again from the modality what was sent shortly before. The files are kept in the folder quarantine.',
  },
  // forward
  CONTEXT_REFUSED: {
    cause: 'The far side does not accept {what}.',
    remedy: 'Ask the far side to accept it, then retry; or discard.',
  },
  NOT_CONVERTIBLE: {
    cause: 'The image cannot be re-encoded without loss: {detail}.',
    remedy: 'Ask the far side to accept the image as the device made it, then retry; or discard.',
  },
  REJECTED: {
    cause: 'The far side rejected the image with status {status}.',
    remedy: 'Look at the reason it gave, correct it there, then retry; or discard.',
  },
  REFUSED: {
    cause: 'The far side cannot take images now: status {status}.',
    remedy: 'Nothing; it is tried again by itself.',
  },
  ASSOCIATION_LOST: {
    cause: 'The connection broke while sending: {detail}.',
    remedy: 'Nothing; it is tried again by itself.',
  },
  ASSOCIATION_ABORTED: {
    cause: 'The far side broke off while the image was sent: {detail}.',
    remedy: 'Nothing; it is tried again by itself. If only this image meets it, the far side cannot read it: its log says why.',
  },
  PROGRESS_STOPPED: {
    cause: 'The far side stopped taking data for {seconds} s.',
    remedy: 'Nothing; it is tried again by itself. If it stays so, test the connection.',
  },
  ANSWER_MISSING: {
    cause: 'The far side took the image but did not answer within {seconds} s.',
    remedy: 'Nothing; it is sent again, and the far side recognises it.',
  },
  FOLDER_FAILED: {
    cause: 'The folder cannot be written: {detail}.',
    remedy: 'Check that the folder exists, has room, and may be written by the firmware.',
  },
  DESTINATION_UNKNOWN: {
    cause: 'The configuration no longer has a destination {destination}.',
    remedy: 'Put the destination back into the configuration, or discard what waits for it.',
  },
  WORKER_DIED: {
    cause: 'The process that was sending ended.',
    remedy: 'Nothing; it was started again and the image is sent again.',
  },
  // link: what keeps the far side away, in the order of the steps
  CABLE_UNPLUGGED: {
    cause: 'The network cable is not connected ({interface}).',
    remedy: 'Plug the cable in at the box and at the socket in the wall; if the lamp beside it stays dark, try another cable.',
  },
  ADDRESS_MISSING: {
    cause: 'The box has no network address.',
    remedy: 'Check that the router is on and gives out addresses (DHCP), or set a fixed address.',
  },
  NAME_UNKNOWN: {
    cause: 'The name {host} does not exist.',
    remedy: 'Check the spelling of the far side\'s name in the settings.',
  },
  NAME_SERVER_SILENT: {
    cause: 'No name server answers, so the address of {host} cannot be found: {detail}.',
    remedy: 'Check the internet connection of the router; if it works, check the name server in the settings.',
  },
  CONNECTION_REFUSED: {
    cause: '{host} is there, but nothing takes connections on port {port}.',
    remedy: 'Check the port; if it is right, the receiving program at the far side is not running.',
  },
  CONNECTION_TIMEOUT: {
    cause: '{host} port {port} does not answer within {seconds} s.',
    remedy: 'Check the internet connection of the router; if it works, a firewall drops the connection or the far side is off.',
  },
  CONNECTION_RESET: {
    cause: '{host} port {port} broke the connection off at once.',
    remedy: 'Something between here and the far side cuts it, mostly a firewall: ask who runs it to allow this port.',
  },
  HOST_UNREACHABLE: {
    cause: 'There is no way to {host}: {detail}.',
    remedy: 'Check the cable and the router; if the internet works, check the address of the far side.',
  },
  CONNECTION_FORBIDDEN: {
    cause: 'This machine itself forbids the connection to {host} port {port}: {detail}.',
    remedy: 'Allow the port in the firewall of this machine.',
  },
  CONNECTION_FAILED: {
    cause: 'The connection to {host} port {port} cannot be opened: {detail}.',
    remedy: 'Test the connection again; if it stays so, send the report of the box to its maker.',
  },
  OWN_PART_MISSING: {
    cause: 'The file {file} of our own identity is missing.',
    remedy: 'Put the file back, or pair the box anew.',
  },
  OWN_PART_UNREADABLE: {
    cause: 'The file {file} of our own identity cannot be used: {detail}.',
    remedy: 'Put the right file there, or pair the box anew.',
  },
  OWN_KEY_MISMATCH: {
    cause: 'Our own certificate and our own key do not belong together.',
    remedy: 'Put the certificate and the key of the same pair there, or pair the box anew.',
  },
  OWN_CERTIFICATE_EXPIRED: {
    cause: 'Our own certificate {subject} expired on {date}.',
    remedy: 'Have a new certificate issued, or pair the box anew.',
  },
  OWN_CERTIFICATE_EARLY: {
    cause: 'Our own certificate {subject} is valid only from {date}; our clock says {now}.',
    remedy: 'Check date and time of this machine.',
  },
  OWN_CERTIFICATE_REVOKED: {
    cause: 'Our own certificate {subject} has been revoked.',
    remedy: 'If that was not intended, pair the box anew.',
  },
  OWN_CA_EXPIRED: {
    cause: 'The certificate of the authority we trust, {subject}, expired on {date}.',
    remedy: 'Have the authority of the hub renewed and put its new certificate here.',
  },
  CLOCK_BEHIND: {
    cause: 'The clock of this machine says {now}, but {proof} was made on {date}: the clock is at least {hours} h slow.',
    remedy: 'Set date and time, and check that the box may ask a time server (UDP port 123).',
  },
  CLOCK_AHEAD: {
    cause: 'The clock of this machine says {now}; by it both our certificate ({own}) and the far side\'s ({far}) have expired: the clock is probably fast.',
    remedy: 'Check date and time of this machine; if they are right, both certificates must be renewed.',
  },
  FAR_CERTIFICATE_MISSING: {
    cause: 'The far side showed no certificate.',
    remedy: 'Give the far side a certificate of this hub: pair it.',
  },
  FAR_CERTIFICATE_EXPIRED: {
    cause: 'The certificate of the far side, {subject}, expired on {date}.',
    remedy: 'Have the far side renew its certificate.',
  },
  FAR_CERTIFICATE_EARLY: {
    cause: 'The certificate of the far side, {subject}, is valid only from {date}; our clock says {now}.',
    remedy: 'Check date and time of this machine first; if they are right, the clock where it was issued is fast.',
  },
  FAR_CERTIFICATE_REVOKED: {
    cause: 'The certificate of the far side, {subject}, has been revoked.',
    remedy: 'If the far side is still to be trusted, issue it a new certificate.',
  },
  FAR_CA_UNKNOWN: {
    cause: 'The certificate of the far side, {subject}, was issued by {issuer}, which we do not trust.',
    remedy: 'Check that this is the right far side; then pair again, or add its authority to ours.',
  },
  FAR_CA_EXPIRED: {
    cause: 'The authority {issuer} behind the far side\'s certificate is outside its time of validity.',
    remedy: 'Have the authority renewed; check date and time of this machine.',
  },
  FAR_NAME_MISMATCH: {
    cause: 'The far side is called {names}, not {host}.',
    remedy: 'Set the far side\'s name as its certificate has it, or have the certificate issued for {host}.',
  },
  FAR_CERTIFICATE_PURPOSE: {
    cause: 'The certificate of the far side, {subject}, is not made for this use ({detail}).',
    remedy: 'Have it issued again, for use as {wanted}.',
  },
  FAR_CERTIFICATE_BROKEN: {
    cause: 'The certificate of the far side, {subject}, does not hold: {detail}.',
    remedy: 'Have the far side\'s certificate issued again.',
  },
  REVOCATION_LIST_EXPIRED: {
    cause: 'Our list of revoked certificates ended on {date}, so nobody can be let in safely.',
    remedy: 'Fetch the newest list from the authority; check that its renewal runs.',
  },
  REVOCATION_LIST_EARLY: {
    cause: 'Our list of revoked certificates begins only on {date}; our clock says {now}.',
    remedy: 'Check date and time of this machine.',
  },
  REVOCATION_LIST_MISSING: {
    cause: 'There is no list of revoked certificates from {issuer}.',
    remedy: 'Put the list of this authority beside the others.',
  },
  REFUSED_CA_UNKNOWN: {
    cause: 'The far side does not trust the authority that issued our certificate ({issuer}).',
    remedy: 'Pair the box with this far side, or have our authority added there.',
  },
  REFUSED_EXPIRED: {
    cause: 'The far side says our certificate has expired; by our clock it is valid until {date}.',
    remedy: 'Have the clock of the far side and its list of revoked certificates checked; check our clock as well.',
  },
  REFUSED_REVOKED: {
    cause: 'The far side says our certificate {subject} has been revoked.',
    remedy: 'If that was not intended, pair the box anew.',
  },
  REFUSED_BAD: {
    cause: 'The far side does not accept our certificate {subject} ({detail}).',
    remedy: 'Its log says why: most often its clock is slow, or the certificate is not on its list.',
  },
  REFUSED_MISSING: {
    cause: 'The far side wants a certificate from us, and we showed none.',
    remedy: 'Set an identity for this destination: pair the box.',
  },
  REFUSED_SILENTLY: {
    cause: 'The far side ended the connection right after the TLS handshake without saying why: most likely it does not accept our certificate {subject}.',
    remedy: 'The far side\'s list of refused callers says why.',
  },
  TLS_VERSION: {
    cause: 'The far side knows no TLS version we accept (1.2 and 1.3).',
    remedy: 'Have the far side updated; older versions of TLS are broken and stay off.',
  },
  TLS_CIPHER: {
    cause: 'The far side and we have no encryption in common ({detail}).',
    remedy: 'Have the far side allow the BCP 195 suites of DICOM PS3.15 B.12.',
  },
  TLS_SILENT: {
    cause: '{host} port {port} takes the connection but does not answer our TLS greeting within {seconds} s.',
    remedy: 'Most likely it speaks plain DICOM on this port: set the port on which it speaks TLS.',
  },
  TLS_CLOSED: {
    cause: 'The far side took the connection and closed it at our TLS greeting.',
    remedy: 'Check the port: most likely it speaks plain DICOM there; else its log says why.',
  },
  TLS_FAILED: {
    cause: 'The TLS handshake failed: {detail}.',
    remedy: 'Test the connection again; if it stays so, send the report of the box to its maker.',
  },
  FAR_SPEAKS_PLAIN: {
    cause: 'The far side does not speak TLS on this port: {detail}.',
    remedy: 'Use the port on which it speaks TLS, or turn TLS on there. Plain DICOM never crosses the internet.',
  },
  FAR_SPEAKS_TLS: {
    cause: 'The far side speaks TLS on this port, and we speak plain DICOM.',
    remedy: 'Turn TLS on for this destination, or use the far side\'s plain port.',
  },
  FAR_SPEAKS_OTHER: {
    cause: 'What answers on this port is {what}, not DICOM.',
    remedy: 'Check address and port of the far side.',
  },
  ASSOCIATION_REFUSED: {
    cause: 'The far side refuses the association: {detail}.',
    remedy: 'Have our AE title and address entered at the far side, and check the AE title we call it by.',
  },
  ASSOCIATION_SILENT: {
    cause: 'The far side took the connection but did not answer our request for an association within {seconds} s.',
    remedy: 'Check the port; if it is right, the far side is overloaded or hangs.',
  },
  ASSOCIATION_BROKEN: {
    cause: 'The far side broke off while the association was opened: {detail}.',
    remedy: 'Check the port; if it is right, its log says why.',
  },
  ECHO_FAILED: {
    cause: 'The far side took the association but did not answer C-ECHO with success: {detail}.',
    remedy: 'Its log says why; images may pass all the same.',
  },
} as const satisfies Record<string, { cause: string; remedy: string }>

export type ErrorCode = keyof typeof ERRORS

const fill = (text: string, fields: Record<string, string | number>): string =>
  text.replace(/\{(\w+)\}/g, (whole, name: string) => (name in fields ? String(fields[name]) : whole))

/** An expected failure that must be told to a person. Thrown at edges, returned inside. */
export class Fault extends Error {
  readonly code: ErrorCode
  readonly fields: Record<string, string | number>
  constructor(code: ErrorCode, fields: Record<string, string | number> = {}, options?: ErrorOptions) {
    super(fill(ERRORS[code].cause, fields), options)
    this.name = 'Fault'
    this.code = code
    this.fields = fields
  }
  get remedy(): string {
    return fill(ERRORS[this.code].remedy, this.fields)
  }
}

export const causeOf = (code: ErrorCode, fields: Record<string, string | number> = {}): string =>
  fill(ERRORS[code].cause, fields)
export const remedyOf = (code: ErrorCode, fields: Record<string, string | number> = {}): string =>
  fill(ERRORS[code].remedy, fields)
