/**
 * What our authority issues, judged by OpenSSL at its strictest and by its CRL check.
 */
import { readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { join } from 'node:path'
import t from 'tap'
import { createAuthority, loadAuthority, saveAuthority, saveIdentity } from '../../firmware/pki/authority.ts'
import { readCertificate, readChain } from '../../firmware/pki/certificate.ts'
import { isRevoked, readRevocationLists } from '../../firmware/pki/crl.ts'
import { loadIdentity } from '../../firmware/pki/identity.ts'
import { Fault } from '../../firmware/domain/errors.ts'
import { Authority as OpensslAuthority } from '../peers/certificates.ts'
import { finish, scratch } from '../peers/process.ts'

const HOUR = 3_600_000
const now = Date.now()
const at = (hours: number) => new Date(now + hours * HOUR)
const valid = { notBefore: at(-1), notAfter: at(24) }
const dates = { thisUpdate: at(-1), nextUpdate: at(24) }

const folder = scratch('authority')
const write = (name: string, text: string) => {
  writeFileSync(join(folder, name), text)
  return join(folder, name)
}
const openssl = (...args: string[]) => finish('openssl', args)

t.test('what it issues passes openssl at its strictest, for each use', async (t) => {
  const authority = await createAuthority('Praxis am Markt, “Süd” + Co.')
  const ca = write('ca.pem', authority.cert)
  const crl = write('crl.pem', await authority.revocationList([], dates))
  for (const usage of ['client', 'server', 'both'] as const) {
    const request = { commonName: `unit ${usage}`, tenant: 'north', dnsNames: ['hub.test'], ipAddresses: ['192.0.2.7', '2001:db8::7'], usage, ...valid }
    const issued = await authority.issue(request)
    const cert = write(`${usage}.pem`, issued.cert)
    for (const purpose of usage === 'both' ? ['sslclient', 'sslserver'] : [usage === 'client' ? 'sslclient' : 'sslserver']) {
      const { status, output } = await openssl('verify', '-x509_strict', '-crl_check_all', '-CRLfile', crl, '-CAfile', ca, '-purpose', purpose, cert)
      t.equal(status, 0, `${usage} as ${purpose}: ${output}`)
    }
    if (usage !== 'both') {
      const { status } = await openssl('verify', '-CAfile', ca, '-purpose', usage === 'client' ? 'sslserver' : 'sslclient', cert)
      t.not(status, 0, `${usage} cannot be used as the other`)
    }
    const facts = readCertificate(issued.cert)
    t.match(facts, { subject: `unit ${usage}`, tenant: 'north', serial: issued.serial, dnsNames: ['hub.test'] })
    t.same(facts.ipAddresses, ['192.0.2.7', '2001:DB8:0:0:0:0:0:7'])
    t.ok(new X509Certificate(issued.cert).checkPrivateKey(createPrivateKey(issued.key)))
    t.match(issued.key, /^-----BEGIN PRIVATE KEY-----/, 'PKCS#8')
    const text = (await openssl('x509', '-in', cert, '-noout', '-text')).output
    for (const critical of [/Basic Constraints: critical\s+CA:FALSE/, /Key Usage: critical\s+Digital Signature\n/]) t.match(text, critical)
    t.match(text, /Subject Key Identifier/)
    t.match(text, /Authority Key Identifier/)
  }
  const own = (await openssl('x509', '-in', ca, '-noout', '-text')).output
  t.match(own, /Basic Constraints: critical\s+CA:TRUE, pathlen:0/)
  t.match(own, /Key Usage: critical\s+Certificate Sign, CRL Sign\n/)
})

t.test('an issued certificate cannot issue, and a name that is no tenant is not issued', async (t) => {
  const authority = await createAuthority('A')
  for (const tenant of ['', 'North', 'a b', '-a', 'a\nb', 'a,URI:urn:sallyport:tenant:b', 'x'.repeat(33)])
    await t.rejects(authority.issue({ commonName: 'x', tenant, usage: 'client', ...valid }), /tenant/, JSON.stringify(tenant))
})

t.test('serials are random, 128 bits, positive, never alike', async (t) => {
  const authority = await createAuthority('A')
  const serials = new Set<string>()
  for (let i = 0; i < 40; i += 1) serials.add((await authority.issue({ commonName: 'x', usage: 'client', ...valid })).serial)
  t.equal(serials.size, 40)
  for (const serial of serials) t.match(serial, /^[4-7][0-9A-F]{31}$/)
})

t.test('revocation: openssl and we agree', async (t) => {
  const authority = await createAuthority('A')
  const ca = write('ca-r.pem', authority.cert)
  const [good, bad] = await Promise.all([0, 1].map(() => authority.issue({ commonName: 'x', usage: 'both', ...valid })))
  if (!good || !bad) throw new Error('not issued')
  const older = await authority.revocationList([], dates)
  const newer = await authority.revocationList([{ serial: bad.serial, revokedAt: at(0) }], { ...dates, thisUpdate: at(0) })
  const crl = write('crl-r.pem', newer)
  t.equal((await openssl('verify', '-x509_strict', '-crl_check', '-CRLfile', crl, '-CAfile', ca, write('good.pem', good.cert))).status, 0)
  t.match((await openssl('verify', '-x509_strict', '-crl_check', '-CRLfile', crl, '-CAfile', ca, write('bad.pem', bad.cert))).output, /certificate revoked/)
  const number = async (pem: string) => BigInt((await openssl('crl', '-in', write('n.pem', pem), '-noout', '-crlnumber')).output.trim().split('=')[1] ?? '')
  t.ok((await number(newer)) > (await number(older)), 'the number grows')
  const lists = await readRevocationLists(older + newer, readChain(authority.cert))
  t.equal(isRevoked(lists, readCertificate(bad.cert)), true)
  t.equal(isRevoked(lists, readCertificate(good.cert)), false)
})

t.test('a list counts only under the authority that signed it', async (t) => {
  const [authority, namesake] = await Promise.all([createAuthority('Same Name'), createAuthority('Same Name')])
  const issued = await authority.issue({ commonName: 'x', usage: 'both', ...valid })
  const forged = await namesake.revocationList([{ serial: issued.serial, revokedAt: at(0) }], dates)
  await t.rejects(readRevocationLists(forged, readChain(authority.cert)), /not signed/)
  await t.rejects(readRevocationLists('', readChain(authority.cert)), /no revocation list/)
  for (const keys of ['ec', 'rsa'] as const) {
    const other = new OpensslAuthority('By openssl', keys)
    const revoked = other.issue('gone')
    other.revoke(revoked)
    const lists = await readRevocationLists(other.crlPem, [...readChain(authority.cert), ...readChain(other.certPem)])
    t.equal(isRevoked(lists, readCertificate(revoked.certPem)), true, `${keys}: a list made by openssl`)
    t.equal(isRevoked(lists, { ...readCertificate(revoked.certPem), issuerName: 'CN=Other' }), false, 'the same serial of another authority')
  }
})

t.test('on disk: whole, the key for its owner only, and the same after loading', async (t) => {
  const home = join(folder, 'home')
  const authority = await createAuthority('A')
  await saveAuthority(authority, home)
  t.equal(statSync(join(home, 'ca-key.pem')).mode & 0o777, 0o600)
  t.same(readdirSync(home).sort(), ['ca-key.pem', 'ca.pem'], 'no part is left')
  const loaded = await loadAuthority(home)
  t.equal(loaded.cert, authority.cert)
  const issued = await loaded.issue({ commonName: 'x', usage: 'client', ...valid })
  t.equal((await openssl('verify', '-x509_strict', '-CAfile', join(home, 'ca.pem'), write('x.pem', issued.cert))).status, 0)
  const target = join(folder, 'identity')
  await saveIdentity(target, { cert: issued.cert, key: issued.key, ca: loaded.cert })
  t.equal(statSync(join(target, 'key.pem')).mode & 0o777, 0o600)
  t.equal(readFileSync(join(target, 'key.pem'), 'utf8'), issued.key)
  const identity = await loadIdentity(target)
  t.notOk(identity instanceof Fault, 'what we save we can load')
  await t.rejects(loadAuthority(join(folder, 'nowhere')))
})
