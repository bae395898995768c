/**
 * The rules of dependence in firmware/ARCHITECTURE.md, held against the imports as they are.
 * `.oxlintrc.json` says the same while one writes; this says it for good, and says more.
 */
import { existsSync, globSync, readFileSync } from 'node:fs'
import { builtinModules } from 'node:module'
import { dirname, join, normalize, resolve } from 'node:path'
import t from 'tap'
import { LIMITS } from '../firmware/domain/limits.ts'

const ROOT = resolve(import.meta.dirname, '..')

const STAGES = ['receive', 'spool', 'link', 'reconcile', 'forward', 'confirm', 'remove', 'enrolment', 'update']
const SHARED = ['dicom', 'pki', 'platform']
/** Rooms that put others together; only they may import a stage. `''` is main.ts. */
const COMPOSITION = ['', 'roles', 'cli', 'supervisor']

/** Rooms each room may import besides itself; whoever composes may import any. */
const ALLOWED = new Map<string, readonly string[]>([
  ['domain', []],
  ...SHARED.map((room) => [room, ['domain']] as const),
  ...[...STAGES, 'health', 'audit', 'config'].map((room) => [room, ['domain', ...SHARED]] as const),
])

/** Every package the firmware uses, and the rooms that may name it. */
const IMPORTERS: Readonly<Record<string, readonly string[]>> = {
  level: ['spool'],
  'classic-level': ['spool'],
  'abstract-level': ['spool'],
  dcmjs: ['dicom'],
  'dcmjs-dimse': ['dicom'],
  '@peculiar/x509': ['pki'],
  'reflect-metadata': ['pki'],
  systeminformation: ['platform', 'supervisor'],
  'node:child_process': ['platform', 'supervisor', 'cli'],
  // The demo writes the configuration that config/ reads.
  yaml: ['config', 'cli'],
  zod: ['config'],
}

/** Longer than 300 lines, and why that is right. */
const LONG: Readonly<Record<string, string>> = {
  'firmware/dicom/acceptor.ts': 'one association as SCP: its private state is read and written by every step, and what could stand alone does',
  'firmware/dicom/requestor.ts': 'one association as SCU, likewise',
  'firmware/forward/dispatch.ts': 'one destination: its invariants hold over leases, carriers and pauses together',
  'firmware/domain/errors.ts': 'one table of every error, so that a code is looked up in one place',
}

/** Of the tests: comes with tap, in the version that tap pins. */
const WITH_TAP = ['tap-parser']

interface Import {
  readonly file: string
  readonly from: string
}

/** Static, re-exported, dynamic and type imports alike: a type ties two rooms together as well. */
function importsIn(text: string): string[] {
  const code = text.replace(/^\s*(\/\/|\/?\*).*$/gm, '')
  const found = [
    ...code.matchAll(/^(?:import|export)\s[^'"]*?\bfrom\s+['"]([^'"]+)['"]/gm),
    ...code.matchAll(/^import\s+['"]([^'"]+)['"]/gm),
    ...code.matchAll(/\b(?:import|require|getBuiltinModule)\(\s*['"`]([^'"`]+)['"`]/g),
  ]
  return [...new Set(found.map((match) => match[1] ?? ''))]
}

const list = (...patterns: string[]) =>
  globSync(patterns, { cwd: ROOT, exclude: (path) => /(^|\/)(node_modules|var|\.git|\.tap)$/.test(path) }).toSorted()
const read = (file: string) => readFileSync(join(ROOT, file), 'utf8')
const firmware = list('firmware/**/*.ts')
const imports = (files: readonly string[]): Import[] => files.flatMap((file) => importsIn(read(file)).map((from) => ({ file, from })))

/** `firmware/spool/object/seal.ts` → `spool`; main.ts → ``. */
const roomOf = (file: string): string => {
  const parts = file.split('/')
  return parts.length > 2 ? (parts[1] ?? '') : ''
}
const packageOf = (from: string): string => (from.startsWith('@') ? from.split('/', 2).join('/') : (from.split('/', 1)[0] ?? from))
const isBuiltin = (from: string) => from.startsWith('node:') || builtinModules.includes(packageOf(from))
const isRelative = (from: string) => from.startsWith('.')

t.test('the reading of imports itself', async (t) => {
  const text = [
    "import a from 'one'",
    "import type { B,\n  C } from './two.ts'",
    "import 'three'",
    "export { d } from '../four/e.ts'",
    "const late = await import('node:net')",
    "type F = import('./six.ts').F",
    "// import x from 'no'",
    " * import y from 'no'",
    "const s = Array.from('no')",
    "export const from = 'no'",
  ]
  t.same(importsIn(text.join('\n')).toSorted(), ['../four/e.ts', './six.ts', './two.ts', 'node:net', 'one', 'three'])
  t.ok(firmware.length > 0 && imports(firmware).length > 0, `${firmware.length} files of the firmware`)
})

t.test('who may import whom', async (t) => {
  const wrong: string[] = []
  for (const { file, from } of imports(firmware)) {
    if (!isRelative(from)) continue
    const target = normalize(join(dirname(file), from))
    const [room, other] = [roomOf(file), roomOf(target)]
    if (!existsSync(join(ROOT, target))) wrong.push(`${file}: ${from} does not exist`)
    if (!target.startsWith('firmware/') && target !== 'package.json') wrong.push(`${file}: ${from} is outside the firmware`)
    if (room === other || !target.startsWith('firmware/')) continue
    if (COMPOSITION.includes(room)) continue
    const allowed = ALLOWED.get(room)
    if (allowed === undefined) wrong.push(`${file}: room ${room} is not in this test's table; give it its place there`)
    else if (!allowed.includes(other)) wrong.push(`${file}: ${room} imports ${other === '' ? 'the entry' : other}`)
  }
  t.same(wrong, [])

  const domain = imports(firmware.filter((file) => roomOf(file) === 'domain'))
  t.same(domain.filter(({ from }) => !from.startsWith('./')), [], 'domain imports nothing but itself')
  const effects = /\b(?:process\.|Date\.now|new Date\(\)|Math\.random|performance\.|setTimeout|setInterval|fetch\(|console\.)/
  const impure = firmware.filter((file) => roomOf(file) === 'domain' && effects.test(read(file).replace(/^\s*(\/\/|\/?\*).*$/gm, '')))
  t.same(impure, [], 'domain reads no clock, draws no lots, prints nothing')
})

t.test('one importer per library', async (t) => {
  const wrong = imports(firmware).filter(({ file, from }) => {
    const rooms = IMPORTERS[isBuiltin(from) ? `node:${from.replace(/^node:/, '')}` : packageOf(from)]
    return rooms !== undefined && !rooms.includes(roomOf(file))
  })
  t.same(wrong, [])
})

t.test('every package is declared, with one exact version', async (t) => {
  const declared = JSON.parse(read('package.json')) as Record<'dependencies' | 'devDependencies' | 'optionalDependencies', Record<string, string>>
  const lock = JSON.parse(read('package-lock.json')) as { packages: Record<string, { version?: string; dependencies?: Record<string, string>; devDependencies?: Record<string, string> }> }
  const runtime = Object.keys(declared.dependencies)
  const all = [...runtime, ...Object.keys(declared.devDependencies)]
  const foreign = (files: readonly string[]) => imports(files).filter(({ from }) => !isRelative(from) && !isBuiltin(from))
  t.same(foreign(firmware).filter(({ from }) => !runtime.includes(packageOf(from))), [], 'of the firmware')
  const tests = foreign(list('test/**/*.ts'))
  t.same(tests.filter(({ from }) => !all.includes(packageOf(from)) && !WITH_TAP.includes(from)), [], 'of the tests')
  const unplaced = foreign(firmware).filter(({ from }) => IMPORTERS[packageOf(from)] === undefined)
  t.same(unplaced, [], 'each has its room in this test\'s table')

  for (const kind of ['dependencies', 'devDependencies', 'optionalDependencies'] as const) {
    const loose = Object.entries(declared[kind]).filter(([, version]) => !/^\d+\.\d+\.\d+$/.test(version))
    t.same(loose, [], kind)
    const other = Object.entries(declared[kind]).filter(([name, version]) => lock.packages[`node_modules/${name}`]?.version !== version)
    t.same(other, [], `${kind}: package-lock.json says the same`)
  }
})

t.test('names and sizes', async (t) => {
  const files = list('*', '.ci/*', 'firmware/**/*', 'test/**/*', 'web-admin/**/*', 'image-build/**/*', 'hardware/**/*')
  const vague = /(^|\/)(utils?|helpers?|common|misc|lib|managers?|[\w-]+-(?:utils?|helpers?|manager))(\/|\.[a-z]+$|$)/
  t.same(files.filter((file) => vague.test(file)), [], 'every name says what is inside')

  const text = files.filter((file) => /(\.(ts|md|json|ya?ml|sh|conf|html|css|lua|service)|\.ci\/run)$/.test(file) && file !== 'package-lock.json')
  t.ok(text.length > 20)
  const local = /(?<![\w.-])\/(?:work|farm|home|Users)\/\w|bash[_]jobs/
  t.same(text.filter((file) => local.test(read(file))), [], 'no path of one machine')

  const long = firmware.filter((file) => read(file).split('\n').length > 301)
  t.same(long.filter((file) => LONG[file] === undefined), [], 'no file above 300 lines without a reason')
  t.same(Object.keys(LONG).filter((file) => !long.includes(file)), [], 'no reason left without its file')
})

t.test('every limit limits something', async (t) => {
  const rest = firmware.filter((file) => file !== 'firmware/domain/limits.ts').map(read).join('\n')
  const idle = Object.keys(LIMITS).filter((name) => !new RegExp(`\\b${name}\\b`).test(rest))
  if (list('firmware/roles/*.ts').length === 0) return t.comment(`not used yet: ${idle.join(', ')}`)
  t.same(idle, [])
})
