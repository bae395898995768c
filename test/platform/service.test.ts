/** What we say to the service manager, heard on a real notification socket; disk and processor. */
import { join } from 'node:path'
import t from 'tap'
import { chooseCipher, describeHost } from '../../firmware/platform/host.ts'
import { diskSpace, freeBytes } from '../../firmware/platform/disk.ts'
import { foldersOf, openService } from '../../firmware/platform/service.ts'
import { finish, scratch, start, until } from '../peers/process.ts'

/** systemd's end of the contract: a datagram socket, each message on a line. */
const LISTENER = `
use Socket; $| = 1;
socket(S, PF_UNIX, SOCK_DGRAM, 0) or die; bind(S, pack_sockaddr_un($ARGV[0])) or die; print "listening\n";
while (defined recv(S, my $m, 4096, 0)) { $m =~ s/\n/|/g; print "heard $m\n"; }
`

t.test('ready, status, alive, stopping: heard by who listens', async (t) => {
  const path = join(scratch('notify'), 'socket')
  const manager = await start('perl', ['-e', LISTENER, path], { ready: /listening/ })
  t.teardown(() => manager.stop())
  const service = openService({ PATH: process.env['PATH'], NOTIFY_SOCKET: path, WATCHDOG_USEC: '150000', WATCHDOG_PID: String(process.pid) })
  t.equal(service.watched, true)
  await service.ready('All is well:\nnothing waits.')
  await until('ready', () => /heard .*READY=1/.test(manager.output()))
  t.match(manager.output(), /STATUS=All is well: nothing waits\./, 'one line, whatever the sentence')
  let alive = true
  service.watchdog(() => alive)
  await until('two strokes', () => (manager.output().match(/WATCHDOG=1/g) ?? []).length >= 2)
  alive = false
  await new Promise((resolve) => setTimeout(resolve, 200))
  const strokes = (manager.output().match(/WATCHDOG=1/g) ?? []).length
  await new Promise((resolve) => setTimeout(resolve, 300))
  t.equal((manager.output().match(/WATCHDOG=1/g) ?? []).length, strokes, 'who is not alive does not say so')
  await service.stopping()
  await until('stopping', () => manager.output().includes('STOPPING=1'))
})

t.test('nobody listens: nothing is said, nothing fails', async (t) => {
  const service = openService({})
  t.equal(service.watched, false)
  await service.ready('x')
  await service.stopping()
  service.watchdog(() => true)
  const deaf = openService({ PATH: process.env['PATH'], NOTIFY_SOCKET: '/nonexistent/socket', WATCHDOG_USEC: '1000', WATCHDOG_PID: '1' })
  await deaf.ready()
  let asked = 0
  deaf.watchdog(() => (asked += 1) > 0)
  await new Promise((resolve) => setTimeout(resolve, 30))
  t.equal(asked, 0, 'the watchdog of another process is not ours')
  await openService({ PATH: '/nonexistent', NOTIFY_SOCKET: '/nonexistent/socket' }).ready()
  t.pass('a manager that is gone kills no service')
})

t.test('folders: systemd before our own', (t) => {
  t.same(foldersOf({}, '/var/x'), { state: '/var/x', runtime: '/var/x/run', credentials: '/var/x/credentials' })
  t.same(foldersOf({ STATE_DIRECTORY: '/s:/other', RUNTIME_DIRECTORY: '/r', CREDENTIALS_DIRECTORY: '/c' }, '/var/x'), { state: '/s', runtime: '/r', credentials: '/c' })
  t.same(foldersOf({ STATE_DIRECTORY: '' }, '/var/x').state, '/var/x')
  t.end()
})

t.test('the disk agrees with df', async (t) => {
  const folder = scratch('disk')
  const { output } = await finish('df', ['-B1', '--output=avail,pcent', folder])
  const [available = '', percent = ''] = (output.trim().split('\n').at(-1) ?? '').trim().split(/\s+/)
  const space = await diskSpace(folder)
  t.ok(Math.abs(space.freeBytes - Number(available)) < 2 ** 30, `${space.freeBytes} against ${available}`)
  t.ok(Math.abs(space.usedPercent - Number.parseInt(percent, 10)) <= 2, `${space.usedPercent} against ${percent}`)
  t.ok(space.freeFiles > 0 && space.totalBytes > space.freeBytes && (await freeBytes(folder)) > 0)
  await t.rejects(diskSpace(join(folder, 'nowhere')), { code: 'ENOENT' })
})

t.test('the cipher follows the processor', async (t) => {
  t.equal(chooseCipher('processor\t: 0\nflags\t\t: fpu vme aes avx\n'), 'aes-256-gcm', 'x86 with AES')
  t.equal(chooseCipher('flags\t\t: fpu vme vaes avx\n'), 'chacha20-poly1305', 'another word that ends alike')
  t.equal(chooseCipher('Features\t: fp asimd aes pmull sha1\n'), 'aes-256-gcm', 'Raspberry Pi 5')
  t.equal(chooseCipher('Features\t: fp asimd evtstrm crc32 cpuid\n'), 'chacha20-poly1305', 'Raspberry Pi 4')
  t.equal(chooseCipher('model name\t: aes\n'), 'chacha20-poly1305', 'only the flags count')
  t.ok(['aes-256-gcm', 'chacha20-poly1305'].includes(chooseCipher()))
  const host = await describeHost()
  t.ok(host.cores >= 1 && host.memoryBytes > 0 && host.system !== '')
})
