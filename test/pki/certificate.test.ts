/** What is read from a certificate; above all the tenant, on which the separation of data hangs. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { isName } from '../../firmware/domain/identifier.ts'
import { plainSerial, readCertificate, readChain } from '../../firmware/pki/certificate.ts'
import { Authority, certificates } from '../peers/certificates.ts'
import { finish, scratch } from '../peers/process.ts'

const folder = scratch('certificate')

/** A self-signed certificate with these alternative names, as openssl writes them into one. */
async function withNames(names: readonly string[]): Promise<string> {
  const config = join(folder, 'names.conf')
  const lines = names.map((name, i) => `${name.slice(0, name.indexOf('='))}.${i}=${name.slice(name.indexOf('=') + 1)}`)
  writeFileSync(config, `[req]\ndistinguished_name=dn\nx509_extensions=x\nprompt=no\nutf8=yes\nstring_mask=utf8only\n[dn]\nCN=names\n[x]\nsubjectAltName=@alt\n[alt]\n${lines.join('\n')}\n`)
  const out = join(folder, 'names.pem')
  const { status, output } = await finish('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', '/dev/null', '-config', config, '-out', out])
  if (status !== 0) throw new Error(output)
  return readFileSync(out, 'utf8')
}

const TENANT = 'urn:sallyport:tenant:'

t.test('the tenant: exactly one, well written, in a URI, or none at all', async (t) => {
  const cases: [string, readonly string[], string | undefined][] = [
    ['one', [`URI=${TENANT}north`], 'north'],
    ['one beside other names', ['DNS=box.test', `URI=${TENANT}north`, 'IP=192.0.2.1', 'URI=https://x.test/a', 'email=a@b.test'], 'north'],
    ['none', ['DNS=box.test'], undefined],
    ['two', [`URI=${TENANT}north`, `URI=${TENANT}south`], undefined],
    ['twice the same', [`URI=${TENANT}north`, `URI=${TENANT}north`], undefined],
    ['a good and a bad one', [`URI=${TENANT}north`, `URI=${TENANT}No Good`], undefined],
    ['in another case beside a good one', [`URI=${TENANT}north`, `URI=URN:Sallyport:Tenant:south`], undefined],
    ['only in another case', ['URI=URN:SALLYPORT:TENANT:north'], undefined],
    ['upper case name', [`URI=${TENANT}North`], undefined],
    ['empty', [`URI=${TENANT}`], undefined],
    ['with more behind it', [`URI=${TENANT}north/../south`], undefined],
    ['as a DNS name', [`DNS=${TENANT}north`], undefined],
    ['as mail', [`email=${TENANT}north`], undefined],
    // CVE-2021-44532: one name made to look like two.
    ['hidden in a DNS name', [`DNS=a, URI:${TENANT}south`], undefined],
    ['hidden in a DNS name beside a good one', [`DNS=a, URI:${TENANT}south`, `URI=${TENANT}north`], 'north'],
    ['hidden in a URI', [`URI=https://x, URI:${TENANT}south`], undefined],
    ['hidden behind a quote', [`DNS=a", URI:${TENANT}south`, `URI=${TENANT}north`], 'north'],
    ['in an other name', [`otherName=1.3.6.1.4.1.311.20.2.3;UTF8:x, URI:${TENANT}south`, `URI=${TENANT}north`], 'north'],
  ]
  for (const [label, names, tenant] of cases) t.equal(readCertificate(await withNames(names)).tenant, tenant, label)
  const hidden = readCertificate(await withNames([`DNS=a, URI:${TENANT}south`]))
  t.same([hidden.dnsNames, hidden.uris], [[`a, URI:${TENANT}south`], []], 'the trap above was really set')
})

t.test('whatever the names, a tenant is only what one URI says', async (t) => {
  const piece = fc.constantFrom('a', 'north', 'South', ', ', 'URI:', 'DNS:', '"', '\\\\', TENANT, '-', '/', '.', "'")
  const name = fc.tuple(fc.constantFrom('URI', 'DNS', 'email'), fc.array(piece, { minLength: 1, maxLength: 5 }).map((parts) => parts.join('')))
  await fc.assert(
    fc.asyncProperty(fc.array(name, { minLength: 1, maxLength: 3 }), async (names) => {
      let pem: string
      try {
        pem = await withNames(names.map(([kind, value]) => `${kind}=${value}`))
      } catch {
        return // not a name openssl would write
      }
      const claims = names.flatMap(([kind, raw]) => {
        const value = raw.replaceAll('\\\\', '\\').replaceAll('"', '').trim()
        return kind === 'URI' && value.toLowerCase().startsWith(TENANT) ? [value] : []
      })
      const tenant = readCertificate(pem).tenant
      if (tenant === undefined) return
      t.ok(isName(tenant) && claims.length === 1 && claims[0] === TENANT + tenant, JSON.stringify({ names, tenant }))
    }),
    { numRuns: 60 },
  )
  t.pass('held')
})

t.test('facts of certificates that openssl made', async (t) => {
  const set = certificates()
  const hub = readCertificate(set.hub.certPem)
  t.match(hub, { subject: 'hub', issuer: 'Test Hub CA', issuerName: 'CN=Test Hub CA', tenant: undefined, dnsNames: ['localhost', 'hub.test'] })
  t.equal(readCertificate(set.box.certPem).tenant, 'north')
  t.equal(readCertificate(set.tenantless.certPem).tenant, undefined)
  const { output } = await finish('openssl', ['x509', '-in', set.hub.cert, '-noout', '-fingerprint', '-sha256', '-serial'])
  t.match(output, hub.fingerprint.toUpperCase().match(/../g)?.join(':') ?? 'none')
  t.match(output, `serial=${hub.serial}`)
  t.equal(readChain(set.hub.certPem + set.ca.certPem).length, 2)
  t.throws(() => readCertificate('nothing'))
})

t.test('a subject cannot write into our log', async (t) => {
  const out = join(folder, 'subject.pem')
  const subject = `/O=Praxis/CN=a\n{"event":"forged"}\u001b[2J${'b'.repeat(30)}`
  await finish('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-utf8', '-keyout', '/dev/null', '-subj', subject, '-out', out])
  const facts = readCertificate(readFileSync(out))
  t.match(facts.subject, /forged/)
  t.notMatch(facts.subject, /[\n\u001b]/)
  t.equal(readCertificate(new Authority('x').issue('a'.repeat(64)).certPem).subject.length, 64)
  t.equal(plainSerial('00aF'), 'AF')
  t.equal(plainSerial('0'), '0')
})
