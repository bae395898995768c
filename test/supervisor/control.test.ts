/**
 * The control socket against clients that behave badly: none of them may end the supervisor.
 */
import { statSync } from 'node:fs'
import { request } from 'node:http'
import type { Server } from 'node:http'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { Fault } from '../../firmware/domain/errors.ts'
import { LIMITS } from '../../firmware/domain/limits.ts'
import { openControl } from '../../firmware/supervisor/control.ts'
import { scratch, until } from '../peers/process.ts'

let told = 0
let ended = 0
const path = join(scratch('control'), 'run', 'control.sock')
const line = 'x'.repeat(10_000)
let server: Server

t.before(async () => {
  const umask = process.umask(0)
  server = await openControl(path, {
    'GET /status': () => ({ well: true }),
    'POST /echo': ({ body }) => body,
    'GET /queue/*': ({ rest }) => ({ rest }),
    'GET /fault': () => Promise.reject(new Fault('SPOOL_FULL', { percent: 90 })),
    'GET /broken': async function* () {
      yield { line }
      throw new Fault('WORKER_DIED')
    },
    'GET /endless': async function* () {
      try {
        for (;;) {
          told += 1
          yield { line }
          await new Promise((resolve) => setImmediate(resolve))
        }
      } finally {
        ended += 1
      }
    },
  })
  t.equal(process.umask(umask), 0, 'the umask is what it was')
})
t.teardown(() => {
  server.close()
  server.closeAllConnections()
})

function ask(method: string, url: string, body?: string): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath: path, method, path: url, agent: false }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (part: string) => (text += part)).once('error', () => resolve({ status: response.statusCode ?? 0, text }))
      response.once('end', () => resolve({ status: response.statusCode ?? 0, text }))
    })
    asked.once('error', reject)
    asked.end(body)
  })
}

const raw = (text: string): Promise<Socket> =>
  new Promise((resolve) => {
    const socket = connect(path, () => socket.write(text, () => resolve(socket)))
    socket.on('error', () => undefined)
  })

void t.test('answers', async (t) => {
  t.equal(statSync(path).mode & 0o777, 0o600)
  t.same(await ask('GET', '/status'), { status: 200, text: '{"well":true}\n' })
  t.same(await ask('GET', '/queue/abc'), { status: 200, text: '{"rest":"abc"}\n' })
  t.same(await ask('POST', '/echo', '{"a":1}'), { status: 200, text: '{"a":1}\n' })
  t.match(await ask('GET', '/fault'), { status: 400, text: /"code":"SPOOL_FULL","sentence":".*90 %/ })
  t.match(await ask('GET', '/nothing'), { status: 404 })
  t.match(await ask('POST', '/echo', '[1]'), { status: 400 })
  t.match(await ask('POST', '/echo', 'x'.repeat(LIMITS.controlBytes + 1)), { status: 413 })
})

void t.test('a bad address, a body that stops, a stream that breaks', async (t) => {
  t.match(await ask('GET', '//'), { status: 404 })
  t.match(await ask('GET', '/%'), { status: 404 })
  ;(await raw('POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"a"')).destroy()
  ;(await raw('\0\0\0\r\n\r\n')).destroy()
  t.match(await ask('GET', '/broken').then(({ text }) => text, () => ''), /^(|\{"line".*)/s)
  t.match(await ask('GET', '/status'), { status: 200 }, 'it still serves')
})

void t.test('a client that does not read holds a stream back; one that goes ends it', async (t) => {
  const socket = await raw('GET /endless HTTP/1.1\r\nHost: x\r\n\r\n')
  socket.pause()
  let before = -1
  await until('the stream stands', async () => {
    const stands = told === before && told > 0
    before = told
    await new Promise((resolve) => setTimeout(resolve, 100))
    return stands
  })
  t.ok(told < 1000, `${told} lines of 10 kB were made`)
  t.equal(ended, 0)
  socket.destroy()
  await until('it ended', () => ended === 1)
})
