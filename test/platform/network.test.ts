/**
 * Cable and addresses, in a network of our own (a namespace with a virtual cable) where root may
 * make one; the judgement itself on networks as data.
 */
import { join } from 'node:path'
import t from 'tap'
import { interfaceFor, judgeNetwork, NetworkWatch, readNetwork, type Interface, type Network } from '../../firmware/platform/network.ts'
import { finish } from '../peers/process.ts'

const eth = (name: string, more: Partial<Interface> = {}): Interface => ({ name, carrier: true, physical: true, addresses: ['192.0.2.2'], ...more })
const lo: Interface = { name: 'lo', carrier: undefined, physical: false, addresses: [] }
const routes = [
  { interface: 'eth0', to: '0.0.0.0/0', metric: 100 },
  { interface: 'wlan0', to: '0.0.0.0/0', metric: 600 },
  { interface: 'eth0', to: '192.0.2.0/24', metric: 0 },
  { interface: 'tun0', to: '10.8.0.0/16', metric: 50 },
  { interface: 'eth1', to: '10.8.7.0/24', metric: 900 },
  { interface: 'eth0', to: '2001:db8::/32', metric: 0 },
  { interface: 'eth0', to: '::/0', metric: 1024 },
]

t.test('which interface leads where: the longest prefix, then the smallest metric', (t) => {
  for (const [address, name] of [
    [undefined, 'eth0'], ['198.51.100.1', 'eth0'], ['10.8.1.1', 'tun0'], ['10.8.7.9', 'eth1'], ['2001:db8::1', 'eth0'],
    ['2a00::1', 'eth0'], ['127.0.0.1', 'lo'], ['127.9.9.9', 'lo'], ['::1', 'lo'],
  ] as const) t.equal(interfaceFor(routes, address), name, address ?? 'the internet')
  t.equal(interfaceFor([], '198.51.100.1'), undefined)
  t.end()
})

t.test('what is wrong, and what is not claimed', (t) => {
  const network = (interfaces: Interface[], table = routes): Network => ({ interfaces: [...interfaces, lo], routes: table })
  const cases: [string, Network, string | undefined, string | undefined][] = [
    ['all is well', network([eth('eth0')]), undefined, undefined],
    ['the cable is out, the route still there', network([eth('eth0', { carrier: false })]), undefined, 'CABLE_UNPLUGGED'],
    ['the cable is out, the route gone with it', network([eth('eth0', { carrier: false, addresses: [] })], []), undefined, 'CABLE_UNPLUGGED'],
    ['another cable is out than the one we need', network([eth('eth0'), eth('eth1', { carrier: false, addresses: [] })]), undefined, undefined],
    ['the LAN is fine, but the way out is on the other', network([eth('eth0', { carrier: false }), eth('eth1')]), '198.51.100.1', 'CABLE_UNPLUGGED'],
    ['a cable, and no address', network([eth('eth0', { addresses: [] })], []), undefined, 'ADDRESS_MISSING'],
    ['an address, and no route: TCP will say', network([eth('eth0')], []), '198.51.100.1', undefined],
    ['everything out, but the far side is this machine', network([eth('eth0', { carrier: false, addresses: [] })]), '127.0.0.1', undefined],
    ['software interfaces are no cables', network([eth('ifb0', { carrier: false, physical: false }), eth('eth0')]), undefined, undefined],
    ['not Linux: nothing known', { interfaces: [], routes: [] }, undefined, undefined],
  ]
  for (const [label, each, address, code] of cases) t.equal(judgeNetwork(each, address)?.code, code, label)
  t.end()
})

t.test('this machine', (t) => {
  const network = readNetwork()
  if (network.interfaces.length === 0) t.pass('not Linux: nothing is known here')
  else {
    t.ok(network.interfaces.some(({ name }) => name === 'lo'))
    t.equal(judgeNetwork(network, '127.0.0.1'), undefined)
  }
  t.end()
})

/** Run inside the namespace: tells each change of what the watch sees. */
const CHILD = `
import { NetworkWatch } from ${JSON.stringify(join(import.meta.dirname, '../../firmware/platform/network.ts'))}
import { execFileSync } from 'node:child_process'
setTimeout(() => process.exit(9), 20_000) // the watch alone keeps no process alive
const ip = (line) => execFileSync('ip', line.split(' '))
const seen = []
const say = () => { const code = watch.fault('198.51.100.9')?.code ?? 'fine'; if (seen.at(-1) !== code) seen.push(code) }
let changed = () => {}
const watch = new NetworkWatch(() => { say(); changed() }, 20)
const change = async (...lines) => { const told = new Promise((resolve) => { changed = resolve }); for (const line of lines) ip(line); await told; await new Promise((resolve) => setTimeout(resolve, 300)) }
ip('link set lo up')
await change('link add here type veth peer name there')
await change('link set here up', 'link set there up')
await change('addr add 192.0.2.2/24 dev here', 'route add default via 192.0.2.1')
await change('link set there down')
await change('link set there up')
console.log(JSON.stringify(seen))
watch.close()
process.exit(0)
`

t.test('a cable that is pulled and plugged in again, in a network of our own', async (t) => {
  // /sys shows the network it was mounted in, so it is mounted anew.
  const script = 'mount -t sysfs sysfs /sys && exec "$@"'
  const { status, output } = await finish('unshare', ['-n', '-m', 'sh', '-c', script, 'sh', process.execPath, '--input-type=module', '-e', CHILD], { millis: 30_000 })
  if (/unshare failed|not permitted|permission denied/i.test(output)) return t.pass('not root: no network namespace can be made here')
  t.equal(status, 0, output)
  const seen = JSON.parse(output.trim().split('\n').at(-1) ?? '[]') as string[]
  t.same(seen.slice(-3), ['fine', 'CABLE_UNPLUGGED', 'fine'], seen.join(' → '))
  return undefined
})

t.test('the watch alone keeps no process alive and says nothing without a change', async (t) => {
  let told = 0
  const watch = new NetworkWatch(() => (told += 1), 5)
  await new Promise((resolve) => setTimeout(resolve, 60))
  watch.close()
  t.ok(told <= 1, 'an idle network is quiet')
})
