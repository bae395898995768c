/**
 * Our door against real clients, openssl and DCMTK: who comes in, and what is said of those who
 * do not. The other direction is in test/link/connect.test.ts.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import t from 'tap'
import { Fault, type ErrorCode } from '../../firmware/domain/errors.ts'
import { assemble } from '../../firmware/pki/identity.ts'
import { clientOptions } from '../../firmware/pki/profile.ts'
import { certificates, type Identity as Files } from '../peers/certificates.ts'
import { echoscu } from '../peers/dcmtk.ts'
import { finish, scratch, start, until } from '../peers/process.ts'
import { openDoor, identityOf, plain, type Door, type DoorOptions } from './door.ts'

const DAY = 24 * 3_600_000
const set = certificates()
const rsa = certificates('north', 'rsa')
const hub = await identityOf(set.hub, set.ca)
const folder = scratch('verdict')

/** One handshake by openssl; it stays connected until it is told to go or thrown out. */
const sClient = (port: number, files: Files | undefined, ...options: string[]) =>
  finish('openssl', ['s_client', '-connect', `127.0.0.1:${port}`, '-quiet', '-no_ign_eof', ...(files ? ['-cert', files.cert, '-key', files.key] : []), ...options], { millis: 10_000, input: '' })

async function withDoor<T>(use: (door: Door) => Promise<T>, options: DoorOptions = {}, identity = hub): Promise<T> {
  const opened = await openDoor(identity, options)
  try {
    return await use(opened)
  } finally {
    await opened.close()
  }
}

const codeOf = (verdict: unknown): ErrorCode | 'let in' => (verdict instanceof Fault ? verdict.code : 'let in')

t.test('clients by openssl, TLS 1.2 and 1.3: let in, or refused for the right reason', async (t) => {
  const both = set.ca.issue('server-only', { tenant: 'north', use: 'server' })
  const cases: [string, Files | undefined, ErrorCode | 'let in'][] = [
    ['a good one', set.box, 'let in'],
    ['one without tenant: who it is is known, which data it may touch is asked later', set.tenantless, 'let in'],
    ['no certificate', undefined, 'FAR_CERTIFICATE_MISSING'],
    ['expired', set.expired, 'FAR_CERTIFICATE_EXPIRED'],
    ['not yet valid', set.notYetValid, 'FAR_CERTIFICATE_EARLY'],
    ['revoked', set.revoked, 'FAR_CERTIFICATE_REVOKED'],
    ['from an authority of the same name', set.foreign, 'FAR_CA_UNKNOWN'],
    ['made for servers', both, 'FAR_CERTIFICATE_PURPOSE'],
  ]
  for (const version of ['-tls1_2', '-tls1_3'])
    for (const [label, files, expected] of cases)
      await withDoor(async (door) => {
        const client = sClient(door.port, files, version)
        const verdict = await door.next()
        t.equal(codeOf(verdict), expected, `${version} ${label}`)
        if (verdict instanceof Fault) t.ok(verdict.message.length > 20 && verdict.remedy.length > 20 && !/\{\w+\}/.test(verdict.message + verdict.remedy), verdict.message)
        await client
      })
})

t.test('who came in is known by name and tenant', (t) =>
  withDoor(async (door) => {
    const client = sClient(door.port, set.other)
    t.match(await door.next(), { subject: 'other', tenant: 'north-2', issuer: 'Test Hub CA' })
    await client
  }))

t.test('several things wrong at once: the one that makes the others meaningless is named', async (t) => {
  const strangerExpired = set.wrongCa.issue('box', { use: 'client', from: new Date(Date.now() - 9 * DAY), to: new Date(Date.now() - DAY) })
  const revokedExpired = set.ca.issue('both', { use: 'client', from: new Date(Date.now() - 9 * DAY), to: new Date(Date.now() - DAY) })
  set.ca.revoke(revokedExpired)
  const identity = await identityOf(set.hub, set.ca)
  for (const [files, code] of [[strangerExpired, 'FAR_CA_UNKNOWN'], [revokedExpired, 'FAR_CERTIFICATE_REVOKED']] as const)
    await withDoor(async (door) => {
      const client = sClient(door.port, files)
      t.equal(codeOf(await door.next()), code)
      await client
    }, {}, identity)
})

t.test('our own list or clock is what is wrong, and we say so', async (t) => {
  const stale = set.ca.writeCrl(join(folder, 'stale.pem'), new Date(Date.now() - DAY))
  const parts = { cert: set.hub.certPem, key: set.hub.keyPem, ca: set.ca.certPem }
  const outdated = await assemble({ ...parts, crl: readFileSync(stale, 'utf8') })
  const foreignList = await assemble({ ...parts, ca: set.ca.certPem + set.wrongCa.certPem, crl: set.wrongCa.crlPem })
  const unlisted = await assemble(parts)
  const cases: [string, typeof hub, number, Files, ErrorCode | 'let in'][] = [
    ['the list has ended', outdated, Date.now(), set.box, 'REVOCATION_LIST_EXPIRED'],
    ['no list of that authority', foreignList, Date.now(), set.box, 'REVOCATION_LIST_MISSING'],
    ['no list at all is a choice', unlisted, Date.now(), set.box, 'let in'],
    ['a revoked one is stopped even by a list that has ended', outdated, Date.now(), set.revoked, 'FAR_CERTIFICATE_REVOKED'],
    ['our clock stands before the making of our own list', hub, Date.now() - 40 * DAY, set.box, 'CLOCK_BEHIND'],
    ['our clock stands after everything', unlisted, Date.now() + 900 * DAY, set.box, 'CLOCK_AHEAD'],
  ]
  for (const [label, identity, now, files, code] of cases)
    await withDoor(async (door) => {
      const client = sClient(door.port, files)
      const verdict = await door.next()
      t.equal(codeOf(verdict), code, `${label}: ${verdict instanceof Fault ? verdict.message : ''}`)
      await client
    }, { now }, identity)
})

t.test('RSA and elliptic curves, and only the suites of BCP 195', async (t) => {
  const rsaHub = await identityOf(rsa.hub, rsa.ca)
  const suites = [
    ['-tls1_2', '-cipher', 'ECDHE-ECDSA-AES256-GCM-SHA384', hub, set.box, true],
    ['-tls1_2', '-cipher', 'ECDHE-ECDSA-AES128-GCM-SHA256', hub, set.box, true],
    ['-tls1_2', '-cipher', 'ECDHE-RSA-AES256-GCM-SHA384', rsaHub, rsa.box, true],
    ['-tls1_2', '-cipher', 'ECDHE-RSA-AES128-GCM-SHA256', rsaHub, rsa.box, true],
    ['-tls1_3', '-ciphersuites', 'TLS_AES_128_GCM_SHA256', hub, set.box, true],
    ['-tls1_3', '-ciphersuites', 'TLS_CHACHA20_POLY1305_SHA256', rsaHub, rsa.box, true],
    ['-tls1_2', '-cipher', 'AES256-GCM-SHA384', rsaHub, rsa.box, false],
    ['-tls1_2', '-cipher', 'DHE-RSA-AES256-GCM-SHA384', rsaHub, rsa.box, false],
    ['-tls1_2', '-cipher', 'ECDHE-RSA-AES256-SHA384', rsaHub, rsa.box, false],
    ['-tls1_2', '-cipher', 'ECDHE-ECDSA-CHACHA20-POLY1305', hub, set.box, false],
  ] as const
  for (const [version, option, suite, identity, files, accepted] of suites)
    await withDoor(async (door) => {
      const client = sClient(door.port, files, version, option, suite)
      t.equal(codeOf(await door.next()), accepted ? 'let in' : 'TLS_CIPHER', `${version} ${suite}`)
      await client
    }, {}, identity)
  for (const [algorithm, accepted] of [['ECDSA+SHA256', true], ['ECDSA+SHA224', false]] as const)
    await withDoor(async (door) => {
      const client = sClient(door.port, set.box, '-tls1_2', '-sigalgs', algorithm)
      t.equal(codeOf(await door.next()), accepted ? 'let in' : 'TLS_CIPHER', `signed with ${algorithm}`)
      await client
    })
  for (const version of ['-tls1', '-tls1_1'])
    await withDoor(async (door) => {
      const client = sClient(door.port, set.box, version, '-cipher', 'ALL:@SECLEVEL=0')
      t.equal(codeOf(await door.next()), 'TLS_VERSION', version)
      await client
    })
})

t.test('what is not TLS at our door has a name', async (t) => {
  const associate = Buffer.concat([Buffer.from('0100000000d00001', 'hex'), Buffer.alloc(206, 0x20)])
  for (const [label, bytes, code] of [
    ['plain DICOM', associate, 'FAR_SPEAKS_PLAIN'],
    ['HTTP', 'GET / HTTP/1.1\r\nHost: x\r\n\r\n', 'FAR_SPEAKS_OTHER'],
    ['noise', Buffer.alloc(64, 0xa5), 'FAR_SPEAKS_PLAIN'],
  ] as const)
    await withDoor(async (door) => {
      plain(door.port, bytes)
      const verdict = await door.next()
      t.equal(codeOf(verdict), code, `${label}: ${(verdict as Fault).message}`)
    })
  await withDoor(async (door) => {
    plain(door.port, '')
    t.equal(codeOf(await door.next()), 'TLS_SILENT', 'silence')
  }, { handshakeMillis: 300 })
})

t.test('a client that does not trust us says why, and we repeat it', async (t) => {
  for (const [label, ca, code] of [['it knows another authority', set.wrongCa, 'REFUSED_BAD'], ['it knows none of the name', rsa.ca, 'REFUSED_BAD']] as const)
    await withDoor(async (door) => {
      const client = sClient(door.port, set.box, '-CAfile', ca.cert, '-verify_return_error', '-tls1_2')
      const verdict = await door.next()
      t.ok(['REFUSED_CA_UNKNOWN', code].includes(codeOf(verdict)), `${label}: ${(verdict as Fault).message}`)
      await client
    })
})

t.test('DCMTK: echoscu comes in with a certificate, and not without', async (t) => {
  await withDoor(async (door) => {
    // Our door echoes; DCMTK gets its own request back and gives up, after the handshake.
    const client = echoscu({ port: door.port, tls: { identity: set.box, ca: set.ca.cert }, millis: 10_000 })
    t.match(await door.next(), { subject: 'box', tenant: 'north' })
    await client
    const anonymous = echoscu({ port: door.port, tls: { ca: set.ca.cert }, millis: 10_000 })
    t.equal(codeOf(await door.next()), 'FAR_CERTIFICATE_MISSING')
    await anonymous
  })
})

t.test('no session is resumed, so none outlives a revocation', async (t) => {
  for (const version of ['-tls1_2', '-tls1_3'])
    await withDoor(async (door) => {
      const session = join(folder, `session${version}.pem`)
      const client = (...options: string[]) =>
        start('openssl', ['s_client', '-connect', `127.0.0.1:${door.port}`, version, '-ign_eof', ...options], { input: 'hello\n', ready: /Verification|error|errno/ })
      // TLS 1.3 gives its tickets after the handshake: the echo comes behind them.
      const first = await client('-cert', set.box.cert, '-key', set.box.key, '-sess_out', session)
      t.match(await door.next(), { subject: 'box' })
      await until('the echo', () => /^hello$/m.test(first.output()))
      await first.stop()
      t.match(first.output(), /New, TLSv1/)
      if (!existsSync(session)) return t.pass(`${version}: the door gave nothing to resume with`)
      const again = finish('openssl', ['s_client', '-connect', `127.0.0.1:${door.port}`, version, '-ign_eof', '-sess_in', session], { input: 'hello\n', millis: 10_000 })
      t.equal(codeOf(await door.next()), 'FAR_CERTIFICATE_MISSING', `${version}: the session alone opens nothing`)
      const { output } = await again
      t.match(output, /New, TLSv1/, version)
      return t.notMatch(output, /Reused, TLSv1/, `${version}: not resumed`)
    })
})

t.test('a client of ours that brings a session is judged anew', (t) =>
  withDoor(async (door) => {
    const client = await identityOf(set.box, set.ca)
    const sessions: Buffer[] = []
    const reused = (session?: Buffer) =>
      new Promise<boolean>((resolve, reject) => {
        const socket = connectTls({ ...clientOptions(client, 'localhost'), host: '127.0.0.1', port: door.port, ...(session ? { session } : {}) })
        socket.on('session', (given) => sessions.push(given)).on('error', reject)
        socket.once('data', () => {
          resolve(socket.isSessionReused())
          socket.destroy()
        })
        socket.write('x')
      })
    t.equal(await reused(), false)
    t.match(await door.next(), { subject: 'box' })
    const session = sessions.at(-1)
    if (session === undefined) return t.pass('the door gave no session at all')
    t.equal(await reused(session), false, 'the door does not know the session any more')
    return t.match(await door.next(), { subject: 'box' })
  }))
