/**
 * `sallyport config check`: every typical mistake is met with the line and one sentence in plain
 * words, never with the words of a library and never with a stack trace.
 */
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { FIRMWARE } from '../faults/processes.ts'
import { finish, scratch } from '../peers/process.ts'

const GOOD = `role: box
name: clinic-box
tenant: north
state: state
listeners:
  - name: lan
    port: 11112
destinations:
  - name: hub
    kind: dicom-tls
    host: hub.example
    port: 2762
    calledAe: HUB
routes:
  - listener: lan
    to: [hub]
`

/** What is changed in GOOD, the line that must be named, and what must be said. */
interface Mistake {
  readonly name: string
  readonly from?: string
  readonly to: string
  readonly line: number
  readonly says: RegExp
}

const MISTAKES: readonly Mistake[] = [
  { name: 'unknown setting', to: `${GOOD}lisstener: 1\n`, line: 17, says: /lisstener: there is no such setting/ },
  { name: 'text for a number', from: 'port: 11112', to: 'port: eleven', line: 7, says: /listeners\.lan\.port: must be a number, not "eleven"/ },
  { name: 'no value', from: 'port: 11112', to: 'port:', line: 7, says: /listeners\.lan\.port: has no value/ },
  { name: 'port too small', from: 'port: 11112', to: 'port: 0', line: 7, says: /must be at least 1, not 0/ },
  { name: 'port too large', from: 'port: 11112', to: 'port: 70000', line: 7, says: /must be at most 65535, not 70000/ },
  { name: 'missing tenant', from: 'tenant: north\n', to: '', line: 1, says: /a box must say whose images it carries/ },
  { name: 'missing host', from: '    host: hub.example\n', to: '', line: 9, says: /destinations\.hub\.host: must be given/ },
  { name: 'missing kind', from: '    kind: dicom-tls\n', to: '', line: 9, says: /destinations\.hub\.kind: must be given: dicom, dicom-tls or folder/ },
  { name: 'kind that does not exist', from: 'kind: dicom-tls', to: 'kind: ftp', line: 10, says: /must be dicom, dicom-tls or folder, not "ftp"/ },
  { name: 'role that does not exist', from: 'role: box', to: 'role: bax', line: 1, says: /role: must be box or hub, not "bax"/ },
  { name: 'route to nowhere', from: 'to: [hub]', to: 'to: [hubb]', line: 16, says: /routes\.#1\.to\.#1: no destination is named hubb/ },
  { name: 'no list', from: 'to: [hub]', to: 'to: hub', line: 16, says: /must be a list, such as \[hub\]/ },
  { name: 'empty list', from: '  - listener: lan\n    to: [hub]\n', to: '  []\n', line: 15, says: /routes: needs at least one entry/ },
  { name: 'name twice', from: 'routes:', to: '  - name: hub\n    kind: folder\n    path: x\nroutes:', line: 14, says: /the name hub is taken/ },
  { name: 'setting twice', to: `${GOOD}name: other\n`, line: 17, says: /is given twice/ },
  { name: 'port twice', from: 'destinations:', to: '  - name: two\n    port: 11112\ndestinations:', line: 9, says: /port 11112 is taken by the listener lan/ },
  { name: 'address that is none', from: 'port: 11112', to: 'port: 11112\n    address: nowhere', line: 8, says: /must be an IP address/ },
  { name: 'peer that is none', from: 'port: 11112', to: 'port: 11112\n    peers: [5]', line: 8, says: /must be text, not 5|must be an IP address/ },
  { name: 'bad indentation', from: '    port: 11112', to: '   port: 11112', line: 7, says: /indentation does not fit/ },
  { name: 'a tab', from: '    port: 11112', to: '\tport: 11112', line: 7, says: /tab/ },
  { name: 'open quote', from: 'name: lan', to: 'name: "lan', line: 17, says: /not closed/ },
  { name: 'an alias', from: 'name: clinic-box', to: 'name: &n clinic-box\nruntime: *n', line: 3, says: /write it out/ },
  { name: 'a limit out of range', to: `${GOOD}limits: { associations: -1 }\n`, line: 17, says: /must be at least 1, not -1/ },
  { name: 'one word', to: 'hello\n', line: 1, says: /must be settings/ },
  { name: 'nothing', to: '', line: 1, says: /it is empty/ },
]

/** What a library would say, and a person should not have to read. */
const FOREIGN = /Invalid|Too (small|big)|expected|received|undefined|discriminator|>=|<=|at line \d|\n\s+at /

t.test('config check', async (t) => {
  const folder = scratch('config')
  const check = (file: string) => finish(process.execPath, [FIRMWARE, 'config', 'check', file])
  const good = join(folder, 'good.yaml')
  writeFileSync(good, GOOD)
  const right = await check(good)
  t.equal(right.status, 0, right.output)
  t.match(right.output, /is right: a box named clinic-box, 1 listener, 1 destination, 1 route/)
  for (const [n, { name, from, to, line, says }] of MISTAKES.entries()) {
    const file = join(folder, `${n}.yaml`)
    writeFileSync(file, from === undefined ? to : GOOD.replace(from, to))
    const { status, output } = await check(file)
    t.equal(status, 2, `${name}: status`)
    t.match(output, says, name)
    t.ok(output.includes(`${n}.yaml:${line}: `), `${name}: line ${line} in ${output}`)
    t.notMatch(output, FOREIGN, `${name}: plain words`)
  }
  const absent = await check(join(folder, 'absent.yaml'))
  t.equal(absent.status, 2)
  t.match(absent.output, /absent\.yaml: does not exist/)
  mkdirSync(join(folder, 'folder'))
  t.match((await check(join(folder, 'folder'))).output, /is a folder, not a file/)
  if (process.getuid?.() === 0) t.pass('not shown as root: a file that may not be read')
  else {
    chmodSync(good, 0)
    t.match((await check(good)).output, /may not be read/)
  }
  // The firmware itself says the same, and does not start.
  const start = await finish(process.execPath, [FIRMWARE, 'box', '--config', join(folder, '1.yaml')])
  t.equal(start.status, 2)
  t.match(start.output, /1\.yaml:7: listeners\.lan\.port: must be a number/)
  t.notMatch(start.output, FOREIGN)
})
