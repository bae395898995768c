/**
 * The faults themselves: each does what it says to a plain byte stream, and to real DICOM peers.
 */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { echoscu, storescp } from '../peers/dcmtk.ts'
import { scratch, until } from '../peers/process.ts'
import { inspect, startTree } from './processes.ts'
import { Proxy } from './proxy.ts'

/** A server that echoes, and remembers how each connection ended. */
async function echoServer() {
  const ends: string[] = []
  const seen: Buffer[] = []
  const server = createServer((socket) => {
    socket.on('data', (data) => {
      seen.push(data)
      socket.write(data)
    })
    socket.on('end', () => ends.push('fin'))
    socket.on('error', (error: NodeJS.ErrnoException) => ends.push(error.code ?? 'error'))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { port: (server.address() as AddressInfo).port, ends, got: () => Buffer.concat(seen), close: () => server.close() }
}

function dial(port: number) {
  const socket: Socket = connect(port, '127.0.0.1')
  const parts: Buffer[] = []
  let end = ''
  socket.on('data', (data) => parts.push(data))
  socket.on('end', () => (end ||= 'fin'))
  socket.on('error', (error: NodeJS.ErrnoException) => (end = error.code ?? 'error'))
  return { socket, got: () => Buffer.concat(parts), end: () => end }
}

t.test('plain bytes', async (t) => {
  const server = await echoServer()
  const proxy = await Proxy.open(server)
  t.teardown(async () => {
    await proxy.close()
    server.close()
  })

  const payload = randomBytes(3_000_000)
  const whole = dial(proxy.port)
  whole.socket.end(payload)
  await until('the end', () => whole.end())
  t.ok(whole.got().equals(payload), 'unchanged, in order, and the FIN behind it')
  t.equal(proxy.bytes.toServer, payload.length)
  t.equal(proxy.bytes.toClient, payload.length)
  await until('all closed', () => proxy.open === 0)

  proxy.delay(200)
  const far = dial(proxy.port)
  const asked = performance.now()
  far.socket.write('ping')
  await until('the echo', () => far.got().length === 4)
  t.ok(performance.now() - asked >= 199, 'a round trip takes at least what was asked')
  await proxy.reopen()

  proxy.limit(1_000_000)
  const slow = dial(proxy.port)
  const began = performance.now()
  slow.socket.end(payload.subarray(0, 300_000))
  await until('the slow end', () => slow.end())
  t.ok(performance.now() - began >= 299, 'no faster than the link')
  t.ok(slow.got().equals(payload.subarray(0, 300_000)))
  await proxy.reopen()

  for (const [how, sign] of [['fin', 'fin'], ['reset', 'ECONNRESET']] as const) {
    const cut = dial(proxy.port)
    cut.socket.write('x')
    await until('the echo', () => cut.got().length === 1)
    server.ends.length = 0
    proxy.cut(how)
    await until('the cut', () => cut.end() && server.ends.includes(sign))
    t.equal(cut.end(), sign, `${how} at the client, and at the server`)
  }

  const before = server.got().length
  const torn = dial(proxy.port)
  const fired = proxy.cutAfter('toServer', 100_001)
  torn.socket.write(payload)
  await fired
  await until('the reset', () => torn.end())
  await sleep(50)
  t.ok(server.got().length - before <= 100_001, 'not one byte more arrives')
  const back = dial(proxy.port)
  const answered = proxy.cutAfter('toClient', 7, 'fin')
  back.socket.write('0123456789')
  await answered
  await until('the fin', () => back.end())
  t.equal(back.got().toString(), '0123456', 'exact to the byte')
})

t.test('silence, lost answers, refusal', async (t) => {
  const server = await echoServer()
  const proxy = await Proxy.open(server)
  t.teardown(async () => {
    await proxy.close()
    server.close()
  })

  const held = dial(proxy.port)
  held.socket.write('a')
  await until('the echo', () => held.got().length === 1)
  proxy.blackHole()
  held.socket.write('b')
  const late = dial(proxy.port)
  await once(late.socket, 'connect')
  late.socket.write('c')
  await sleep(100)
  t.equal(held.got().toString() + late.got().toString() + held.end() + late.end(), 'a', 'connected, and silent')
  await proxy.reopen()
  await until('both go on', () => held.got().toString() === 'ab' && late.got().toString() === 'c')
  t.equal(proxy.accepted, 2)


  const lost = proxy.swallow(4, 'reset')
  held.socket.write('12')
  await until('before the last byte answers pass', () => held.got().toString() === 'ab12')
  held.socket.write('34')
  await lost
  await until('the reset', () => held.end() === 'ECONNRESET')
  t.equal(held.got().toString(), 'ab12', 'the answer is gone')
  t.ok(server.got().toString().endsWith('34'), 'the request was served')

  const mute = proxy.swallow(0, 'silent')
  late.socket.write('5')
  await mute
  await sleep(30)
  t.equal(late.got().toString() + late.end(), 'c', 'or nothing is said at all')
  await proxy.reopen()
  await until('a stream that lost bytes does not go on', () => late.end() === 'ECONNRESET')

  await proxy.refuse()
  const refused = dial(proxy.port)
  await until('the refusal', () => refused.end() === 'ECONNREFUSED')
  await proxy.reopen()
  const again = dial(proxy.port)
  again.socket.end('back')
  await until('the same port serves again', () => again.got().toString() === 'back')
})

t.test('DCMTK through the proxy', async (t) => {
  const scp = await storescp()
  const proxy = await Proxy.open(scp)
  t.teardown(() => Promise.all([proxy.close(), scp.stop()]))
  const echo = () => echoscu({ port: proxy.port, options: ['-to', '2', '-ta', '1', '-td', '1'] })
  t.equal((await echo()).status, 0)
  proxy.blackHole()
  t.not((await echo()).status, 0, 'black hole')
  await proxy.reopen()
  t.equal((await echo()).status, 0, 'reopened')
  const cut = proxy.cutAfter('toServer', 50)
  t.not((await echo()).status, 0, 'cut inside the A-ASSOCIATE-RQ')
  await cut
  await proxy.refuse()
  t.not((await echo()).status, 0, 'refused')
})

t.test('a tree of processes', async (t) => {
  const folder = scratch('tree')
  const script = join(folder, 'parent.mjs')
  const control = join(folder, 'control.sock')
  writeFileSync(
    script,
    `import { spawn } from 'node:child_process'
     import { createServer } from 'node:http'
     if (process.argv[2] === 'worker') {
       globalThis.kept = process.argv[3] === 'big' ? Buffer.alloc(200 * 2 ** 20, 1) : undefined
       console.log('worker up')
       setInterval(() => {}, 1000)
     } else {
       for (const size of ['small', 'big']) spawn(process.execPath, [process.argv[1], 'worker', size], { stdio: 'inherit' })
       createServer((request, response) => {
         if (request.url === '/no') response.writeHead(400).end('{"code":"NO"}')
         else response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ url: request.url }))
       }).listen(${JSON.stringify(control)})
     }`,
  )
  const tree = await startTree({ command: [script], ready: /worker up[^]*worker up/, control })
  t.teardown(() => tree.stop())
  const memory = tree.watchMemory(20)
  t.equal(tree.members().length, 3)
  t.equal(tree.workers(/worker small/).length, 1)
  t.same(await tree.ask('GET', '/status'), { url: '/status' })
  await t.rejects(tree.ask('POST', '/no', { id: 1 }), { message: /400 .*NO/ })

  const [big] = tree.workers(/worker big/)
  t.ok((big?.peakKiB ?? 0) > 200 * 1024, 'peak memory of a worker')
  tree.freeze(big?.pid ?? 0)
  const state = () => /^State:\s+(\w)/m.exec(readFileSync(`/proc/${big?.pid}/status`, 'utf8'))?.[1]
  await until('frozen', () => state() === 'T')
  tree.thaw(big?.pid ?? 0)
  await until('thawed', () => state() !== 'T')
  await tree.kill(big?.pid ?? 0)
  t.equal(tree.members().length, 2, 'one worker less, the rest lives')
  const peaks = [...memory.stop()]
  t.ok(peaks.some(([command, kib]) => /worker big/.test(command) && kib > 200 * 1024), 'the dead are remembered')

  const all = tree.members()
  await tree.killAll()
  t.same(all.map(({ pid }) => inspect(pid)), [undefined, undefined])
  await t.rejects(tree.ask('GET', '/status'), 'nobody answers')
})
