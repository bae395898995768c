/**
 * `npm start`, `sample` and `send` as the README has them, and what goes wrong at a start: each is
 * one clear line, an exit status as documented, and no stack trace.
 */
import { spawn } from 'node:child_process'
import { createServer } from 'node:net'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { dicomFiles } from '../pair.ts'
import { FIRMWARE, inspect } from '../faults/processes.ts'
import { part10 } from '../peers/dataset.ts'
import { descendants, finish, freePort, scratch, start, until, type Finished } from '../peers/process.ts'

const TRACE = /\n\s+at |node:internal/
const cli = (cwd: string, ...args: string[]): Promise<Finished> => finish(process.execPath, [FIRMWARE, ...args], { cwd })

/** The demo's ports are derived from one; all of them must be free. */
async function freeFirst(): Promise<number> {
  for (;;) {
    const first = await freePort()
    if (first < 58_000) return first
  }
}

const begin = (cwd: string, first: number) =>
  start(process.execPath, [FIRMWARE, 'demo', '--port', String(first)], { cwd, ready: /hub: Connected/, readyMillis: 60_000 })

/** Ctrl-C reaches the demo alone here; its sides are in groups of their own in any case. */
async function interrupt(demo: Awaited<ReturnType<typeof begin>>): Promise<number | null> {
  const family = descendants(demo.pid)
  process.kill(demo.pid, 'SIGINT')
  const { code } = await demo.exited
  await until('the sides to end', () => family.every((pid) => inspect(pid) === undefined))
  return code
}

t.test('start, sample, send, Ctrl-C, start again', async (t) => {
  const cwd = scratch('demo')
  const first = await freeFirst()
  const demo = await begin(cwd, first)
  t.teardown(() => demo.stop())
  t.match(demo.output(), new RegExp(`port ${first}\\b`))
  t.match(demo.output(), new RegExp(`npx sallyport send var/sample --to 127.0.0.1:${first}`), 'what it says to try works')

  const sample = await cli(cwd, 'sample', 'var/sample', '--instances', '6')
  t.equal(sample.status, 0, sample.output)
  const files = dicomFiles(join(cwd, 'var/sample'))
  t.equal(files.length, 6)
  const sent = await cli(cwd, 'send', 'var/sample', '--to', `127.0.0.1:${first}`)
  t.equal(sent.status, 0, sent.output)
  t.match(sent.output, /6 of 6 stored/)
  const delivered = join(cwd, 'var/demo/hub/delivered')
  await until('the images to arrive', () => dicomFiles(delivered).length === 6)
  const bytesOf = (list: readonly string[]) => list.map((file) => part10(readFileSync(file)).dataSet.toString('hex')).sort()
  t.ok(bytesOf(dicomFiles(delivered)).every((bytes, n) => bytes === bytesOf(files)[n]), 'bit for bit')

  const second = await cli(cwd, 'demo', '--port', String(first))
  t.equal(second.status, 1)
  t.match(second.output, /a demo runs already in .*demo/)
  t.notMatch(second.output, TRACE)
  const status = await cli(cwd, 'status')
  t.equal(status.status, 0)
  t.match(status.output, /All is well/, 'the first goes on')
  t.match(status.output, /received 6 /)

  const config = readFileSync(join(cwd, 'var/demo/box/sallyport.yaml'), 'utf8')
  t.equal(await interrupt(demo), 0)
  t.equal((await cli(cwd, 'status')).status, 3, 'nobody answers')
  const again = await begin(cwd, first)
  t.teardown(() => again.stop())
  t.equal(readFileSync(join(cwd, 'var/demo/box/sallyport.yaml'), 'utf8'), config, 'everything as it was')
  t.equal(dicomFiles(delivered).length, 6)
  t.match((await cli(cwd, 'send', 'var/sample', '--to', `127.0.0.1:${first}`)).output, /6 of 6 stored/)
  t.match((await cli(cwd, 'status')).output, /6 seen before/, 'it knows the images of before')
  t.equal(await interrupt(again), 0)
})

t.test('what goes wrong at a start', async (t) => {
  const cwd = scratch('demo')
  const port = await freeFirst()
  const other = createServer().listen(port, '::')
  t.teardown(() => other.close())
  const taken = await cli(cwd, 'demo', '--port', String(port))
  t.equal(taken.status, 1)
  t.match(taken.output, new RegExp(`sallyport: Port ${port} is taken by another program`))
  t.notMatch(taken.output, TRACE)

  writeFileSync(join(cwd, 'file'), '')
  const unusable = await cli(cwd, 'demo', '--directory', 'file/demo')
  t.equal(unusable.status, 1)
  t.match(unusable.output, /^sallyport: file\/demo cannot be used: a part of its path is a file, not a folder\n$/)
  t.match((await cli(cwd, 'sample', 'file/sample')).output, /^sallyport: file\/sample cannot be written: a part of its path/)
  for (const args of [['demo', '--port', 'many'], ['demo', 'here'], ['nonsense'], ['send'], ['send', '--bogus', 'x'], ['sample'], ['queue'], ['link'], ['spool'], ['config']]) {
    const { status, output } = await cli(cwd, ...args)
    t.equal(status, 2, args.join(' '))
    t.match(output, /^sallyport: [^\n]+\n/)
    t.notMatch(output, TRACE)
  }
  t.match((await cli(scratch('nothing'), 'status')).output, /there is no demo here/)
  mkdirSync(join(cwd, 'empty'))
  for (const [path, why] of [['absent', 'it does not exist'], ['empty', '']] as const) {
    const { status, output } = await cli(cwd, 'send', path)
    t.equal(status, 1)
    t.match(output, /there is nothing to send/)
    if (why) t.match(output, `passed over absent: ${why}`)
  }
})

t.test('a port below 1024 without the right to it', async (t) => {
  const lowest = Number(readFileSync('/proc/sys/net/ipv4/ip_unprivileged_port_start', 'utf8'))
  if (lowest <= 104 || process.getuid?.() !== 0) {
    t.pass('not shown: this needs root, to become a user without the right')
    return
  }
  const cwd = scratch('low')
  const config = join(cwd, 'box.yaml')
  writeFileSync(config, `role: box\nname: b\ntenant: t\nstate: /tmp/sallyport-low-${process.pid}\nlisteners: [{ name: lan, port: 104 }]\ndestinations: [{ name: f, kind: folder, path: /tmp/none }]\nroutes: [{ to: [f] }]\n`)
  const nobody = ['--reuid=65534', '--regid=65534', '--clear-groups']
  await finish('chmod', ['-R', 'a+rX', cwd])
  const { status, output } = await finish('setpriv', [...nobody, process.execPath, FIRMWARE, 'box', '--config', config])
  await finish('rm', ['-rf', `/tmp/sallyport-low-${process.pid}`])
  t.equal(status, 1, output)
  t.match(output, /sallyport: This user may not listen on port 104\./)
  t.notMatch(output, TRACE)
})

t.test('every command has a help worth reading', async (t) => {
  const cwd = scratch('help')
  const overview = await cli(cwd, '--help')
  t.equal(overview.status, 0)
  t.match(overview.output, /Exit status: 0/)
  const names = [...overview.output.matchAll(/^ {2}([a-z]+) {2,}/gm)].map(([, name = '']) => name)
  t.ok(names.length >= 10, names.join(' '))
  for (const name of names) {
    const { status, output } = await cli(cwd, name, '--help')
    t.equal(status, 0, name)
    t.match(output, new RegExp(`^sallyport ${name}`))
    t.ok(output.split('\n').length > 4 && output.split('\n').every((line) => line.length <= 100), `${name}: some lines, none too long`)
  }
  t.ok(readdirSync(cwd).length === 0, 'and asking leaves nothing behind')
})

/** What a person at a terminal sees: `script` gives the command one. */
t.test('on a terminal', async (t) => {
  const cwd = scratch('terminal')
  await cli(cwd, 'sample', 'var/sample', '--instances', '3')
  const port = await freePort()
  const child = spawn('script', ['-qec', `${process.execPath} ${FIRMWARE} send var/sample --to 127.0.0.1:${port}`, '/dev/null'], { cwd, stdio: ['ignore', 'pipe', 'inherit'] })
  let seen = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (seen += text))
  const code = await new Promise((resolve) => child.once('close', resolve))
  t.equal(code, 1)
  t.match(seen, /FAILED {2}var\/sample\/ct-/)
  t.match(seen, /0 of 3 stored, 3 failed/)
  t.match(seen, /nothing takes connections on port/)
})
