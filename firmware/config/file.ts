/**
 * Reads a configuration file (YAML 1.2, of which JSON is a part) and says what is wrong with the
 * line and a sentence.
 */
import fs from 'node:fs'
import path from 'node:path'
import { LineCounter, parseDocument, visit } from 'yaml'
import type { Document } from 'yaml'
import { LIMITS } from '../domain/limits.ts'
import type { Limits } from '../domain/limits.ts'
import { foldersOf } from '../platform/service.ts'
import { sentenceOf, unreadable, whereOf, yamlSentence } from './complaint.ts'
import type { Complaint, Issue, Path } from './complaint.ts'
import { configSchema } from './schema.ts'
import type { Config } from './schema.ts'

/** A configuration with every default filled in and every path absolute. */
export interface Settings extends Omit<Config, 'limits' | 'state' | 'runtime' | 'credentials'> {
  readonly file: string
  readonly state: string
  readonly runtime: string
  readonly credentials: string
  readonly limits: Limits
}

export type Loaded = { readonly settings: Settings } | { readonly complaints: readonly Complaint[] }

/** The environment contract of systemd (STATE_DIRECTORY and its sisters) fills what the file leaves out. */
export function loadConfig(file: string, environment: NodeJS.ProcessEnv): Loaded {
  let text: string
  try {
    if (fs.statSync(file).size > LIMITS.configBytes) return whole(`larger than ${LIMITS.configBytes} bytes`)
    text = fs.readFileSync(file, 'utf8')
  } catch (error) {
    return whole(unreadable((error as NodeJS.ErrnoException).code))
  }
  const parsed = parseConfig(text)
  if ('complaints' in parsed) return parsed
  const { config } = parsed
  const home = path.dirname(path.resolve(file))
  const place = (value: string) => path.resolve(home, value)
  if (config.state === undefined && !environment['STATE_DIRECTORY']) return whole('says no state directory, and $STATE_DIRECTORY is not set')
  const given = foldersOf(environment, config.state === undefined ? '' : place(config.state))
  const state = config.state === undefined ? given.state : place(config.state)
  return {
    settings: {
      ...config,
      file: path.resolve(file),
      state,
      runtime: config.runtime === undefined ? given.runtime : place(config.runtime),
      credentials: config.credentials === undefined ? given.credentials : place(config.credentials),
      destinations: config.destinations.map((d) => (d.kind === 'folder' ? { ...d, path: place(d.path) } : d)),
      limits: { ...LIMITS, ...defined(config.limits) },
    },
  }
}

function whole(sentence: string): { complaints: Complaint[] } {
  return { complaints: [{ line: 0, where: '', sentence }] }
}

function defined(limits: Config['limits']): Partial<Limits> {
  return Object.fromEntries(Object.entries(limits).filter(([, value]) => value !== undefined))
}

/** @returns the validated configuration, or everything that is wrong with it, in the order of lines. */
export function parseConfig(text: string): { config: Config } | { complaints: Complaint[] } {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, maxAliasCount: 0 } as object)
  const broken: Complaint[] = document.errors.map(({ code, message, linePos }) => ({
    line: linePos?.[0].line ?? 0, where: '', sentence: yamlSentence(code, message),
  }))
  if (broken.length === 0) broken.push(...aliases(document, lines))
  // One slip of the indentation makes several errors; the first is the cause.
  if (broken[0]) return { complaints: broken.slice(0, 1) }
  const given: unknown = document.toJS({ maxAliasCount: 0 })
  const result = configSchema.safeParse(given)
  if (result.success) return { config: result.data }
  const complaints = result.error.issues.flatMap((issue): Complaint[] => {
    const at = issue.path as Path
    if (issue.code !== 'unrecognized_keys') {
      const sentence = sentenceOf(issue as Issue, valueAt(given, at))
      return [{ line: lineOf(document, lines, at), where: whereOf(document, at), sentence }]
    }
    return issue.keys.map((key) => {
      const inside = [...at, key]
      return { line: lineOf(document, lines, inside), where: whereOf(document, inside), sentence: 'there is no such setting' }
    })
  })
  return { complaints: complaints.sort((a, b) => a.line - b.line) }
}

/** A few bytes of them could stand for gigabytes. */
function aliases(document: Document, lines: LineCounter): Complaint[] {
  const found: Complaint[] = []
  visit(document, {
    Alias: (_key, node) => {
      const line = node.range ? lines.linePos(node.range[0]).line : 0
      found.push({ line, where: '', sentence: `*${node.source} stands for something else in the file: write it out` })
    },
  })
  return found
}

const valueAt = (given: unknown, at: Path): unknown =>
  at.reduce<unknown>((value, part) => (value as Record<string | number, unknown> | null | undefined)?.[part], given)

/** The line of the innermost part of the path that the file really has. */
function lineOf(document: Document, lines: LineCounter, at: readonly (string | number)[]): number {
  for (let depth = at.length; depth >= 0; depth--) {
    const node = document.getIn(at.slice(0, depth), true) as { range?: [number, number, number] } | undefined
    if (node?.range) return lines.linePos(node.range[0]).line
  }
  return 1
}
