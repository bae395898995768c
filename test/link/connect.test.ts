/**
 * The way to a destination against real far sides: DCMTK, openssl, and ports that misbehave.
 * Every failure a clinic has met must come out with its own name.
 */
import t from 'tap'
import { Fault, type ErrorCode } from '../../firmware/domain/errors.ts'
import { stepOf } from '../../firmware/domain/link.ts'
import { connectDestination, type Connection, type ConnectOptions, type Target } from '../../firmware/link/connect.ts'
import { Names, takeTurns, type Address } from '../../firmware/link/names.ts'
import { judgeReach, reach } from '../../firmware/link/reach.ts'
import { diagnose } from '../../firmware/link/speech.ts'
import type { Identity } from '../../firmware/pki/identity.ts'
import { certificates, type Identity as Files } from '../peers/certificates.ts'
import { storescp } from '../peers/dcmtk.ts'
import { answersOn, freePort, start, until } from '../peers/process.ts'
import { openDoor, identityOf } from '../pki/door.ts'
import { blackHole, portThat } from './port.ts'

const DAY = 24 * 3_600_000
const set = certificates()
const box = await identityOf(set.box, set.ca)
const over = (port: number, identity: Identity = box, host = '127.0.0.1'): Target => ({ host, port, tls: { identity } })

/** How the connection ends, as the sender would learn it while it waits for A-ASSOCIATE-AC. */
function ending(connection: Connection): Promise<Fault | 'stays'> {
  const { socket, explain } = connection
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      resolve('stays')
      socket.destroy()
    }, 400)
    const end = (error?: Error) => {
      clearTimeout(timer)
      resolve(explain(error))
    }
    socket.once('error', end).once('close', () => end()).resume()
  })
}

/** The code of the fault, whenever it shows; `up` when the far side keeps us. */
async function outcome(target: Target, options: ConnectOptions = {}): Promise<{ code: ErrorCode | 'up'; fault?: Fault; connection?: Connection }> {
  const connected = await connectDestination(target, options)
  const result = connected instanceof Fault ? connected : await ending(connected)
  if (result === 'stays') return { code: 'up', ...(connected instanceof Fault ? {} : { connection: connected }) }
  return { code: result.code, fault: result }
}

async function sServer(files: Files, ...options: string[]): Promise<{ port: number; stop: () => Promise<unknown> }> {
  const port = await freePort()
  const peer = await start('openssl', ['s_server', '-accept', `127.0.0.1:${port}`, '-key', files.key, '-cert', files.cert, '-quiet', ...options], { ready: () => answersOn(port) })
  return { port, stop: () => peer.stop() }
}

const readable = (fault: Fault | undefined): boolean =>
  fault !== undefined && fault.message.length > 20 && fault.remedy.length > 5 && !/\{\w+\}|undefined/.test(fault.message + fault.remedy)

t.test('DCMTK over TLS: up, by address and by name, with whom and how', async (t) => {
  const scp = await storescp({ tls: { identity: set.hub, ca: set.ca.cert }, ignore: true })
  t.teardown(() => scp.stop())
  const { code, connection } = await outcome(over(scp.port))
  t.equal(code, 'up')
  t.match(connection, { address: '127.0.0.1', far: { subject: 'hub' }, protocol: /^TLSv1\.3 TLS_/ })
  t.equal((await outcome(over(scp.port, box, 'localhost'))).code, 'up')
  const named = { host: '127.0.0.1', port: scp.port, tls: { identity: box, serverName: 'hub.test' } }
  t.equal((await outcome(named)).code, 'up', 'the name in the certificate where it differs')
})

t.test('what is wrong with the far side', async (t) => {
  const names = { dns: ['localhost'], ip: ['127.0.0.1'] }
  const revoked = set.ca.issue('revoked-hub', { ...names, use: 'server' })
  set.ca.revoke(revoked)
  const mine = await identityOf(set.box, set.ca)
  const cases: [string, Files, ErrorCode][] = [
    ['expired', set.ca.issue('a', { ...names, from: new Date(Date.now() - 9 * DAY), to: new Date(Date.now() - DAY) }), 'FAR_CERTIFICATE_EXPIRED'],
    ['not yet valid', set.ca.issue('b', { ...names, from: new Date(Date.now() + DAY), to: new Date(Date.now() + 9 * DAY) }), 'FAR_CERTIFICATE_EARLY'],
    ['revoked', revoked, 'FAR_CERTIFICATE_REVOKED'],
    ['by another authority of the same name', set.wrongCa.issue('c', names), 'FAR_CA_UNKNOWN'],
    ['made for clients', set.ca.issue('d', { ...names, use: 'client' }), 'FAR_CERTIFICATE_PURPOSE'],
    ['of another name', set.ca.issue('e', { dns: ['elsewhere.test'], ip: ['192.0.2.1'] }), 'FAR_NAME_MISMATCH'],
    ['a name that only begins alike', set.ca.issue('127.0.0.1.evil.test', { dns: ['localhost.evil.test'] }), 'FAR_NAME_MISMATCH'],
  ]
  for (const version of ['-tls1_2', '-tls1_3'])
    for (const [label, files, code] of cases) {
      const server = await sServer(files, version)
      const { code: got, fault } = await outcome(over(server.port, mine))
      t.equal(got, code, `${version} ${label}: ${fault?.message ?? ''}`)
      t.ok(readable(fault) && stepOf(code) === 'tls')
      await server.stop()
    }
})

t.test('the far side refuses us: in TLS 1.3 the word comes after the handshake', async (t) => {
  const own = async (files: Files) => identityOf(files, set.ca)
  const demand = (ca: string, ...more: string[]) => ['-Verify', '2', '-verify_return_error', '-CAfile', ca, ...more]
  const revokedHere = ['-crl_check', '-CRL', set.ca.crl]
  const cases: [string, Identity, string[], ErrorCode][] = [
    ['it does not know our authority', box, demand(set.wrongCa.cert), 'REFUSED_BAD'],
    ['ours has expired', await own(set.expired), demand(set.ca.cert), 'OWN_CERTIFICATE_EXPIRED'],
    ['ours is not valid yet', await own(set.notYetValid), demand(set.ca.cert), 'OWN_CERTIFICATE_EARLY'],
    ['ours is revoked, and our list says so', await own(set.revoked), demand(set.ca.cert, ...revokedHere), 'OWN_CERTIFICATE_REVOKED'],
    ['ours is revoked, and we did not know', await identityOf(set.revoked, set.ca, false), demand(set.ca.cert, ...revokedHere), 'REFUSED_REVOKED'],
  ]
  for (const version of ['-tls1_2', '-tls1_3'])
    for (const [label, identity, options, code] of cases) {
      const server = await sServer(set.hub, version, ...options)
      const { code: got, fault } = await outcome(over(server.port, identity))
      // An authority of the same name but another key is a bad signature to openssl, not an unknown one.
      const also: string[] = code === 'REFUSED_BAD' ? ['REFUSED_CA_UNKNOWN', code] : [code]
      t.ok(also.includes(got), `${version} ${label}: ${got} ${fault?.message ?? ''}`)
      if (fault) t.ok(readable(fault) && stepOf(fault.code) === 'tls', fault.message)
      await server.stop()
    }
  const scp = await storescp({ tls: { identity: set.hub, ca: set.wrongCa.cert }, ignore: true })
  t.ok(['REFUSED_BAD', 'REFUSED_CA_UNKNOWN'].includes((await outcome(over(scp.port))).code), 'DCMTK with another authority')
  await scp.stop()
  const strict = await storescp({ tls: { identity: set.hub, ca: set.ca.cert, crl: set.ca.crl }, ignore: true })
  t.equal((await outcome(over(strict.port, await identityOf(set.revoked, set.ca, false)))).code, 'REFUSED_REVOKED', 'DCMTK with a list')
  await strict.stop()
})

t.test('an alert that comes while nobody listens ends no process, and is remembered', async (t) => {
  const strict = await storescp({ tls: { identity: set.hub, ca: set.ca.cert, crl: set.ca.crl }, ignore: true })
  t.teardown(() => strict.stop())
  const connected = await connectDestination(over(strict.port, await identityOf(set.revoked, set.ca, false)))
  if (connected instanceof Fault) throw connected
  connected.socket.resume()
  await until('it is over', () => connected.socket.destroyed)
  t.equal(connected.explain().code, 'REFUSED_REVOKED')
  t.equal(connected.explain(new Fault('ASSOCIATION_BROKEN', { detail: 'x' })).code, 'REFUSED_REVOKED', 'it says more than "broke off"')
  t.equal(connected.explain(new Fault('ASSOCIATION_REFUSED', { detail: 'x' })).code, 'ASSOCIATION_REFUSED', 'what says enough stays')
})

t.test('a hub of ours closes without a word; what we know of ourselves says why', async (t) => {
  const hub = await openDoor(await identityOf(set.hub, set.ca))
  t.teardown(() => hub.close())
  t.equal((await outcome(over(hub.port))).code, 'up')
  t.equal((await outcome(over(hub.port, await identityOf(set.expired, set.ca)))).code, 'OWN_CERTIFICATE_EXPIRED')
  const { code, fault } = await outcome(over(hub.port, await identityOf(set.revoked, set.ca, false)))
  t.equal(code, 'REFUSED_SILENTLY')
  t.match(fault?.fields, { subject: 'revoked' })
})

t.test('no version, no suite in common', async (t) => {
  for (const [options, code] of [
    [['-tls1_1', '-cipher', 'ALL:@SECLEVEL=0'], 'TLS_VERSION'],
    [['-tls1', '-cipher', 'ALL:@SECLEVEL=0'], 'TLS_VERSION'],
    [['-tls1_2', '-cipher', 'ECDHE-ECDSA-AES128-SHA256'], 'TLS_CIPHER'],
    [['-tls1_3', '-groups', 'P-521'], 'TLS_CIPHER'],
  ] as const) {
    const server = await sServer(set.hub, ...options)
    const { code: got, fault } = await outcome(over(server.port))
    t.equal(got, code, `${options.join(' ')}: ${fault?.message ?? ''}`)
    await server.stop()
  }
})

t.test('a port that speaks something else: the fault, and what asking it finds', async (t) => {
  const plainScp = await storescp({ ignore: true })
  t.teardown(() => plainScp.stop())
  const abort = Buffer.from('07000000000400000200', 'hex')
  const ports: [string, Awaited<ReturnType<typeof portThat>> | { port: number }, ErrorCode, ErrorCode][] = [
    ['plain DICOM that closes (DCMTK)', plainScp, 'TLS_CLOSED', 'FAR_SPEAKS_PLAIN'],
    ['plain DICOM that answers A-ABORT', await portThat((s) => s.once('data', () => s.end(abort))), 'FAR_SPEAKS_PLAIN', 'FAR_SPEAKS_PLAIN'],
    ['plain DICOM that waits for the rest', await portThat((s) => s.once('data', (d) => d[0] === 1 && s.end(Buffer.concat([Buffer.from('02000000', 'hex'), Buffer.alloc(8)])))), 'TLS_SILENT', 'FAR_SPEAKS_PLAIN'],
    ['a web server', await portThat((s) => s.once('data', () => s.end('HTTP/1.1 400 Bad Request\r\n\r\n'))), 'FAR_SPEAKS_PLAIN', 'FAR_SPEAKS_OTHER'],
    ['SSH, which speaks first', await portThat((s) => s.write('SSH-2.0-OpenSSH_9.2\r\n')), 'FAR_SPEAKS_PLAIN', 'FAR_SPEAKS_OTHER'],
    ['closes at once', await portThat((s) => s.end()), 'TLS_CLOSED', 'TLS_CLOSED'],
    ['resets', await portThat((s) => s.once('data', () => s.resetAndDestroy())), 'TLS_CLOSED', 'TLS_CLOSED'],
  ]
  for (const [label, port, first, found] of ports) {
    const { code, fault } = await outcome(over(port.port), { handshakeMillis: 500 })
    t.equal(code, first, label)
    const better = await diagnose(fault as Fault, over(port.port))
    t.equal(better.code, found, `${label}: ${better.message}`)
    t.ok(readable(better))
    if ('close' in port) await port.close()
  }
  const tlsScp = await storescp({ tls: { identity: set.hub, ca: set.ca.cert }, ignore: true })
  t.teardown(() => tlsScp.stop())
  const broken = new Fault('ASSOCIATION_BROKEN', { detail: 'it closed the connection' })
  t.equal((await diagnose(broken, { host: '127.0.0.1', port: tlsScp.port })).code, 'FAR_SPEAKS_TLS', 'we plain, it TLS')
  t.equal(await diagnose(broken, { host: '127.0.0.1', port: plainScp.port }), broken, 'both plain: something else')
  const sure = new Fault('FAR_CA_UNKNOWN')
  t.equal(await diagnose(sure, over(1)), sure, 'what is certain is not asked about')
})

t.test('below TLS: refused, dropped, reset, no way, no name', async (t) => {
  const hole = await blackHole()
  t.teardown(() => hole.stop())
  const closed = await freePort()
  const cases: [string, Target, ErrorCode, 'name' | 'tcp'][] = [
    ['nobody listens', over(closed), 'CONNECTION_REFUSED', 'tcp'],
    ['a firewall drops it', over(hole.port), 'CONNECTION_TIMEOUT', 'tcp'],
    ['no such name', over(closed, box, 'nosuch.invalid'), 'NAME_UNKNOWN', 'name'],
    ['where TCP cannot go (multicast)', over(closed, box, '224.0.0.1'), 'HOST_UNREACHABLE', 'tcp'],
  ]
  for (const [label, target, code, step] of cases) {
    const { code: got, fault } = await outcome(target, { connectMillis: 500 })
    t.equal(got, code, `${label}: ${fault?.message ?? ''}`)
    t.ok(readable(fault))
    t.equal(stepOf(got as ErrorCode), step)
  }
})

t.test('several addresses: the first that answers, and one fault for all', async (t) => {
  const scp = await storescp({ ignore: true })
  const hole = await blackHole()
  t.teardown(() => Promise.all([scp.stop(), hole.stop()]))
  // Addresses of nobody: 2001:db8::/32 and 192.0.2.0/24 are for documentation (RFC 3849, RFC 5737).
  const many = (...addresses: [string, 4 | 6][]): Address[] => addresses.map(([address, family]) => ({ address, family }))
  const lookups: Address[][] = [
    many(['::1', 6], ['127.0.0.1', 4]), // storescp listens on IPv4 only: refused, then taken
    many(['2001:db8::1', 6], ['127.0.0.1', 4]), // no route, or silence
    many(['192.0.2.254', 4], ['127.0.0.1', 4]),
  ]
  for (const addresses of lookups) {
    const connected = await connectDestination({ host: 'two.test', port: scp.port }, { names: new Names({ lookup: async () => addresses }) })
    if (connected instanceof Fault) throw connected
    t.equal(connected.address, '127.0.0.1', addresses[0]?.address ?? '')
    connected.socket.destroy()
  }
  const port = await freePort()
  const refused = await reach(many(['::1', 6], ['127.0.0.1', 4]), { host: 'x', port })
  t.equal((refused as Fault).code, 'CONNECTION_REFUSED')
  const coded = (...codes: string[]) => codes.map((code) => Object.assign(new Error(code), { code }))
  const worst = (...codes: string[]) => judgeReach(coded(...codes), { host: 'x', port: 1, seconds: 1 }).code
  t.equal(worst('ENETUNREACH', 'ECONNREFUSED'), 'CONNECTION_REFUSED', 'the most telling one counts')
  t.equal(worst('ECONNREFUSED', 'ENETUNREACH'), 'CONNECTION_REFUSED')
  t.equal(worst('ENETUNREACH', 'ETIMEDOUT'), 'CONNECTION_TIMEOUT')
  t.equal(worst('ECONNRESET'), 'CONNECTION_RESET')
  t.equal(worst('EHOSTUNREACH'), 'HOST_UNREACHABLE')
  t.equal(worst('EPERM'), 'CONNECTION_FORBIDDEN')
  t.equal(worst('EMFILE'), 'CONNECTION_FAILED')
  t.same(takeTurns(many(['a', 6], ['b', 6], ['c', 6], ['d', 4])).map(({ address }) => address), ['a', 'd', 'b', 'c'])
  t.same(takeTurns(many(['a', 4], ['b', 6], ['c', 6])).map(({ address }) => address), ['a', 'b', 'c'])
  t.same(takeTurns([]), [])
})

t.test('names: one question at a time, the last good answer when nobody answers, forgotten when gone', async (t) => {
  let answer: () => Promise<readonly Address[]> = async () => [{ address: '192.0.2.1', family: 4 }]
  let asked = 0
  const names = new Names({ millis: 100, lookup: () => ((asked += 1), answer()) })
  const fails = (code: string) => async () => Promise.reject(Object.assign(new Error(code), { code }))
  await Promise.all([1, 2, 3].map(() => names.resolve('hub.test')))
  t.equal(asked, 1)
  t.same(names.known('hub.test'), [{ address: '192.0.2.1', family: 4 }])
  answer = fails('EAI_AGAIN')
  t.same(await names.resolve('hub.test'), [{ address: '192.0.2.1', family: 4 }], 'no name server: the last good answer')
  answer = () => new Promise(() => {})
  t.same(await names.resolve('hub.test'), [{ address: '192.0.2.1', family: 4 }], 'a name server that keeps silent')
  t.match(await names.resolve('other.test'), { code: 'NAME_SERVER_SILENT' })
  const fresh = new Names({ millis: 100, lookup: fails('EAI_AGAIN') })
  t.match(await fresh.resolve('hub.test'), { code: 'NAME_SERVER_SILENT' })
  t.match(await new Names({ lookup: async () => [] }).resolve('hub.test'), { code: 'NAME_UNKNOWN' })
  const gone = new Names({ lookup: () => answer() })
  answer = async () => [{ address: '192.0.2.1', family: 4 }]
  await gone.resolve('hub.test')
  answer = fails('ENOTFOUND')
  t.match(await gone.resolve('hub.test'), { code: 'NAME_UNKNOWN' })
  t.same(gone.known('hub.test'), [], 'a name that is gone is not remembered')
  t.same(await gone.resolve('::1'), [{ address: '::1', family: 6 }], 'an address is not asked for')
})

t.test('given up by the caller: nothing stays open', async (t) => {
  const mute = await portThat((socket) => socket.resume())
  const hole = await blackHole()
  t.teardown(() => Promise.all([mute.close(), hole.stop()]))
  for (const port of [hole.port, mute.port]) {
    const giveUp = new AbortController()
    const attempt = connectDestination(over(port), { signal: giveUp.signal })
    setTimeout(() => giveUp.abort(), 100)
    await t.rejects(attempt, { name: 'AbortError' })
  }
  await t.rejects(connectDestination(over(mute.port), { signal: AbortSignal.abort() }), { name: 'AbortError' })
  t.ok(await until('what had connected is closed', () => mute.taken() === 1 && mute.open() === 0))
})
