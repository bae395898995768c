/**
 * What is wrong with a configuration, in words of our own: the libraries that read and check it
 * speak of schemas and tokens, which tell the person with the file open nothing.
 */
import type { Document } from 'yaml'

export interface Complaint {
  /** From 1; 0 where the file as a whole is meant. */
  readonly line: number
  /** Such as `listeners.lan.port`; an entry without a name is `#1`, `#2` and so on. */
  readonly where: string
  readonly sentence: string
}

export type Path = readonly (string | number)[]

/** The parts of an issue of the schema that are used here. */
export interface Issue {
  readonly code: string
  readonly message: string
  readonly path: readonly PropertyKey[]
  readonly expected?: string
  readonly values?: readonly unknown[]
  readonly origin?: string
  readonly minimum?: number | bigint
  readonly maximum?: number | bigint
  readonly discriminator?: string
  readonly options?: readonly unknown[]
  readonly errors?: readonly (readonly Issue[])[]
}

const KINDS: Readonly<Record<string, string>> = {
  number: 'a number',
  int: 'a whole number',
  string: 'text',
  boolean: 'true or false',
  array: 'a list, such as [hub]',
  object: 'settings, one to a line as name: value',
}

/** Long enough to be recognised in the file. */
const VALUE_CHARS = 40
const shown = (value: unknown): string => {
  const text = JSON.stringify(value) ?? ''
  return text.length > VALUE_CHARS ? `${text.slice(0, VALUE_CHARS)}…` : text
}
const choice = (values: readonly unknown[]): string => {
  const texts = values.map(String)
  return texts.length < 2 ? texts.join('') : `${texts.slice(0, -1).join(', ')} or ${texts.at(-1)}`
}

/**
 * @param value what the file has at the path of the issue
 */
export function sentenceOf(issue: Issue, value: unknown): string {
  const options = issue.values ?? issue.options
  const wanted = options === undefined ? undefined : choice(options)
  if (value === undefined && issue.code !== 'custom') return wanted === undefined ? 'must be given' : `must be given: ${wanted}`
  if (value === null) return issue.path.length === 0 ? 'it is empty' : 'has no value'
  const not = `, not ${shown(value)}`
  switch (issue.code) {
    case 'invalid_type':
      return `must be ${KINDS[issue.expected ?? ''] ?? issue.expected}${not}`
    case 'invalid_value':
      return `must be ${wanted}${not}`
    case 'too_small':
      return tooSmall(issue, not)
    case 'too_big':
      return tooBig(issue, not)
    case 'invalid_union': {
      if (wanted !== undefined) return `must be ${wanted}${not}`
      // The last of the alternatives is the general one; the others are single words such as `*`.
      const inner = issue.errors?.at(-1)?.[0]
      return inner === undefined ? `is not understood${not}` : sentenceOf(inner, value)
    }
    // Written by us, in the schema.
    default:
      return issue.message
  }
}

function tooSmall({ origin, minimum }: Issue, not: string): string {
  if (origin === 'array') return Number(minimum) === 1 ? 'needs at least one entry' : `needs at least ${minimum} entries`
  if (origin === 'string') return 'must not be empty'
  return `must be at least ${minimum}${not}`
}
function tooBig({ origin, maximum }: Issue, not: string): string {
  if (origin === 'array') return `may have at most ${maximum} entries`
  if (origin === 'string') return `may have at most ${maximum} characters`
  return `must be at most ${maximum}${not}`
}

/** Of a file that is no YAML; by the reader's code, in its own words where they have no better. */
export function yamlSentence(code: string, message: string): string {
  // One code for two different slips.
  if (code === 'MISSING_CHAR' && message.startsWith('Sequence item')) return INDENTED
  const known = YAML[code]
  if (known !== undefined) return known
  // Its first line, without the place, which stands in front.
  return (message.split('\n')[0] ?? '').replace(/ at line \d+, column \d+:?$/, '')
}

const INDENTED = 'the indentation does not fit the lines around it: settings that belong together begin in the same column'
const YAML: Readonly<Record<string, string>> = {
  TAB_AS_INDENT: 'a tab stands where spaces belong: indent with spaces only',
  DUPLICATE_KEY: 'the setting that begins here is given twice',
  BAD_INDENT: INDENTED,
  MISSING_CHAR: 'a quotation mark or bracket was opened before and is not closed',
  BLOCK_AS_IMPLICIT_KEY: INDENTED,
  MULTILINE_IMPLICIT_KEY: 'a colon is missing, or the line is broken in the wrong place',
  MULTIPLE_DOCS: 'a line of --- begins a second configuration: a file holds one',
}

/** An entry of a list goes by its name where it has one. */
export function whereOf(document: Document, path: Path): string {
  return path.map((part, depth) => {
    if (typeof part !== 'number') return part
    const name: unknown = document.getIn([...path.slice(0, depth + 1), 'name'])
    return typeof name === 'string' && name !== '' ? name : `#${part + 1}`
  }).join('.')
}

/** Why a file cannot be read. */
export function unreadable(code: string | undefined): string {
  switch (code) {
    case 'ENOENT':
      return 'does not exist'
    case 'EISDIR':
      return 'is a folder, not a file'
    case 'EACCES':
      return 'may not be read by this user'
    default:
      return `cannot be read: ${code ?? 'for an unknown reason'}`
  }
}

export const complaintText = (file: string, complaint: Complaint): string =>
  `${file}${complaint.line > 0 ? `:${complaint.line}` : ''}: ${complaint.where ? `${complaint.where}: ` : ''}${complaint.sentence}`
