/**
 * Every error a person can meet: a stable code, what caused it, and what to do, in words a
 * clinic's assistant can act on. Codes never change; sentences may. `{name}` is filled from the
 * error's fields. Fields never carry patient data.
 */
export const ERRORS = {
  // receive
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
  // forward
  CONTEXT_REFUSED: {
    cause: 'The far side does not accept {what}.',
    remedy: 'Ask the far side to accept it, then retry; or discard.',
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
