/**
 * What the status of a C-STORE or C-ECHO response means for the instance (PS3.4 B.2.3; PS3.7
 * 9.1.1.1.9 and Annex C), and the statuses we give ourselves.
 *
 * Three categories, the events of `domain/instance.ts`:
 * stored: the far side has it. Success, and Bxxx: the standard calls these warnings and says the
 *   instance was stored (coercion of elements, elements discarded, data set does not match).
 * refused: later may be better.
 * rejected: the same again would get the same answer; a person must look.
 *
 * A status the service does not define counts as rejected: nothing says that the image was
 * stored, and nothing that repeating would help; held, it is visible, kept, and a person can
 * say "again". The same goes for 0001H, 0107H and 0116H: warnings for other services (PS3.7 C.4),
 * but not in C-STORE's table, and the far side's word for "I have it" must be beyond doubt.
 */
export const STATUS = {
  success: 0x0000,
  processingFailure: 0x0110,
  invalidInstance: 0x0117,
  classNotSupported: 0x0122,
  notAuthorized: 0x0124,
  duplicateInvocation: 0x0210,
  unrecognizedOperation: 0x0211,
  mistypedArgument: 0x0212,
  resourceLimitation: 0x0213,
  outOfResources: 0xa700,
  doesNotMatchClass: 0xa900,
  cannotUnderstand: 0xc000,
} as const

export type StatusCategory = 'stored' | 'refused' | 'rejected'
export interface StatusMeaning {
  readonly category: StatusCategory
  /** Short, lower case, without full stop. */
  readonly text: string
  readonly clause: string
}

type Row = readonly [from: number, to: number, category: StatusCategory, text: string, clause: string]

/** First match counts. */
const ROWS: readonly Row[] = [
  [0x0000, 0x0000, 'stored', 'success', 'PS3.7 C.1'],
  [0xb000, 0xb000, 'stored', 'stored, but elements were coerced', 'PS3.4 B.2.3'],
  [0xb006, 0xb006, 'stored', 'stored, but elements were discarded', 'PS3.4 B.2.3'],
  [0xb007, 0xb007, 'stored', 'stored, but the data set does not match its SOP class', 'PS3.4 B.2.3'],
  [0xb000, 0xbfff, 'stored', 'stored with a warning', 'PS3.7 C.4'],
  [0xa700, 0xa7ff, 'refused', 'out of resources', 'PS3.4 B.2.3'],
  [0x0110, 0x0110, 'refused', 'processing failure', 'PS3.7 C.5'],
  [0x0210, 0x0210, 'refused', 'duplicate invocation', 'PS3.7 C.5'],
  [0x0213, 0x0213, 'refused', 'resource limitation', 'PS3.7 C.5'],
  [0xa800, 0xa8ff, 'rejected', 'SOP class not supported', 'PS3.4 B.2.3, older editions'],
  [0xa900, 0xa9ff, 'rejected', 'the data set does not match its SOP class', 'PS3.4 B.2.3'],
  [0xc000, 0xcfff, 'rejected', 'the data set cannot be understood', 'PS3.4 B.2.3'],
  [0x0111, 0x0111, 'rejected', 'duplicate SOP instance', 'PS3.7 C.5'],
  [0x0117, 0x0117, 'rejected', 'invalid SOP instance UID', 'PS3.7 C.5'],
  [0x0122, 0x0122, 'rejected', 'SOP class not supported', 'PS3.7 C.5'],
  [0x0124, 0x0124, 'rejected', 'not authorized', 'PS3.7 C.5'],
  [0x0211, 0x0211, 'rejected', 'unrecognized operation', 'PS3.7 C.5'],
  [0x0212, 0x0212, 'rejected', 'mistyped argument', 'PS3.7 C.5'],
  [0x0000, 0xffff, 'rejected', 'a status the standard does not define here', 'PS3.7 C'],
]

/** @param status 0–65535. */
export function meaningOf(status: number): StatusMeaning {
  const row = ROWS.find(([from, to]) => status >= from && status <= to)
  if (row === undefined) throw new Error(`status ${status} is not a 16 bit number`)
  return { category: row[2], text: row[3], clause: row[4] }
}

/** `A700H` */
export const statusHex = (status: number): string => `${status.toString(16).toUpperCase().padStart(4, '0')}H`
