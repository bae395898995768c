/**
 * `npm test [-- path…]`: installs what the tests need, then type check, lint and every test
 * file (or those under the paths given). The last line counts what was asserted, and alone
 * decides nothing: the exit status is 0 only if nothing failed.
 *
 * npm puts the project's own Node 24 first in the PATH. Node 20 cannot load this file at all
 * (ERR_UNKNOWN_FILE_EXTENSION): then it was not started by npm, or `npm ci` has not run.
 */
import { spawnSync } from 'node:child_process'
import { globSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { delimiter, join, relative, resolve } from 'node:path'
import { inspect } from 'node:util'
import { endAll, runFile, type Failure, type FileReport } from './run/file.ts'
import { provide, SEARCH } from './run/requirements.ts'

const ROOT = resolve(import.meta.dirname, '..')
const FILE_MILLIS = 10 * 60_000
/** Each file is bounded; this bounds them together, below the half hour a check may take. */
const SUITE_MILLIS = 24 * 60_000

const seconds = (millis: number) => `${(millis / 1000).toFixed(1)} s`
const indent = (text: string, by: string) => text.replace(/^(?=.)/gm, by)

function describe(failure: Failure): string {
  if (failure.diagnostics === undefined || failure.diagnostics === null) return `  FAILED  ${failure.name}`
  const { diff, source, stack, ...rest } = failure.diagnostics as Record<string, unknown>
  const lines = [`  FAILED  ${failure.name}`]
  if (typeof diff === 'string') lines.push(indent(diff.trimEnd(), '    '))
  if (Object.keys(rest).length > 0) lines.push(indent(inspect(rest, { depth: 6, breakLength: 110 }), '    '))
  if (typeof stack === 'string') lines.push(indent(stack.trimEnd(), '    at '))
  if (typeof source === 'string') lines.push(indent(source.trimEnd(), '    | '))
  return lines.join('\n')
}

function show(report: FileReport): void {
  const counts = [`${report.passed} passed`]
  if (report.failures.length > 0) counts.push(`${report.failures.length} failed`)
  if (report.skipped.length > 0) counts.push(`${report.skipped.length} skipped`)
  console.log(`${report.failures.length > 0 ? 'FAILED' : 'ok    '}  ${report.file}  ${counts.join(', ')}  (${seconds(report.millis)})`)
  for (const comment of report.comments) console.log(`  ${comment}`)
  for (const name of report.skipped) console.log(`  skipped  ${name}`)
  for (const failure of report.failures) console.log(describe(failure))
  if (report.failures.length > 0 && report.noise.trim() !== '') {
    console.log(`  output of the file:\n${indent(report.noise.trimEnd(), '  > ')}`)
  }
}

/** A tool whose exit status is the verdict; counts as one assertion. */
function tool(name: string, command: string, args: string[]): FileReport {
  const started = performance.now()
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd: ROOT, encoding: 'utf8', maxBuffer: 64 * 2 ** 20 })
  const ok = status === 0
  return {
    file: name,
    passed: ok ? 1 : 0,
    skipped: [],
    failures: ok ? [] : [{ name: `${command} ${args.join(' ')}`.trim() }],
    comments: [],
    noise: error === undefined ? stdout + stderr : error.message,
    millis: performance.now() - started,
  }
}

/** Test files at or under the paths given; all without any. */
function select(paths: string[]): string[] {
  const wanted = paths.map((path) => relative(ROOT, resolve(path)))
  return globSync('test/**/*.test.ts', { cwd: ROOT })
    .filter((file) => wanted.length === 0 || wanted.some((path) => file === path || file.startsWith(path === '' ? '' : `${path}/`)))
    .toSorted()
}

async function main(): Promise<number> {
  if (Number(process.versions.node.split('.')[0]) < 24) {
    console.log(`This is Node ${process.versions.node}; the tests need the Node 24 that \`npm ci\` brings along: use \`npm test\`.`)
    return 1
  }
  process.chdir(ROOT)
  process.env.PATH = [join(ROOT, 'node_modules', '.bin'), SEARCH].join(delimiter)
  const files = select(process.argv.slice(2))
  if (files.length === 0) {
    console.log(`No test file matches ${process.argv.slice(2).join(' ') || 'test/**/*.test.ts'}`)
    return 1
  }
  if (!provide()) return 1

  let passed = 0
  let failed = 0
  let skipped = 0
  const broken: string[] = []
  const add = (report: FileReport) => {
    show(report)
    passed += report.passed
    failed += report.failures.length
    skipped += report.skipped.length
    if (report.failures.length > 0) broken.push(report.file)
  }
  add(tool('type check', 'tsc', []))
  add(tool('lint', 'oxlint', ['--type-aware', '--deny-warnings', '--report-unused-disable-directives', '--format=unix']))

  const end = performance.now() + SUITE_MILLIS
  const waiting = [...files]
  const work = async () => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
      add(await runFile(file, Math.max(1000, Math.min(FILE_MILLIS, end - performance.now()))))
    }
  }
  await Promise.all(Array.from({ length: Math.min(2, availableParallelism()) }, work))

  if (broken.length > 0) console.log(`\nfailed in: ${broken.join(', ')}`)
  console.log(`\n${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`)
  return failed === 0 ? 0 : 1
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    endAll()
    process.exit(1)
  })
}
process.exitCode = await main()
