/**
 * Who may come in, and with what: the decisions over one A-ASSOCIATE-RQ.
 */
import fc from 'fast-check'
import t from 'tap'
import { configSchema } from '../../firmware/config/schema.ts'
import { STORAGE_CLASSES, VERIFICATION } from '../../firmware/dicom/sop-classes.ts'
import { TRANSFER_SYNTAXES } from '../../firmware/dicom/transfer-syntaxes.ts'
import type { AssociateRequest, ProposedContext } from '../../firmware/dicom/pdu.ts'
import { Peers, plainAddress } from '../../firmware/receive/peers.ts'
import { answerContexts, refuse, REJECT, type Caller, type Rules } from '../../firmware/receive/policy.ts'

const CT = '1.2.840.10008.5.1.4.1.1.2'
const IMPLICIT = '1.2.840.10008.1.2'
const EXPLICIT = '1.2.840.10008.1.2.1'
const JPEG = '1.2.840.10008.1.2.4.50'
const JPIP = '1.2.840.10008.1.2.4.94'

const request = (calledAe: string, callingAe: string, contexts: readonly ProposedContext[] = []): AssociateRequest => ({
  protocolVersion: 1, calledAe, callingAe, contexts, applicationContext: '1.2.840.10008.3.1.1.1', titles: Buffer.alloc(64),
  maximumLength: 16384, implementationClass: '', implementationVersion: '', roles: [], extended: [], commonExtended: [],
})
const rules = (some: Partial<Rules> = {}): Rules => ({
  aeTitles: ['*'], callers: ['*'], peers: new Peers(['*']), sopClasses: new Set(), transferSyntaxes: [], ...some,
})

t.test('refusals carry the source and reason of PS3.8 Table 9-21, and the gravest comes first', async (t) => {
  const lan = new Peers(['192.168.1.0/24', '10.0.0.7', 'fd00::/8', 'fe80::/10'])
  const strict = rules({ aeTitles: ['BOX', 'BOX2'], callers: ['CT1'], peers: lan, certificates: ['box-1'] })
  const box: Caller = { peer: '192.168.1.9', certificate: { commonName: 'box-1' } }
  const cases: [string, AssociateRequest, Rules, Caller, string | undefined, object?][] = [
    ['all as it should be', request('BOX', 'CT1'), strict, box, undefined],
    ['the second title', request('BOX2', 'CT1'), strict, box, undefined],
    ['another title', request('PACS', 'CT1'), strict, box, 'CALLED_AE_UNKNOWN', { result: 1, source: 1, reason: 7 }],
    ['titles are case-sensitive', request('box', 'CT1'), strict, box, 'CALLED_AE_UNKNOWN', REJECT.calledAe],
    ['another caller', request('BOX', 'CT2'), strict, box, 'CALLING_AE_UNKNOWN', { result: 1, source: 1, reason: 3 }],
    ['a caller called *', request('BOX', '*'), strict, box, 'CALLING_AE_UNKNOWN', REJECT.callingAe],
    ['another address, everything else wrong too', request('X', 'Y'), strict, { peer: '192.168.2.9' }, 'PEER_UNKNOWN', { result: 1, source: 1, reason: 1 }],
    ['another certificate', request('BOX', 'CT1'), strict, { ...box, certificate: { commonName: 'box-2' } }, 'CERTIFICATE_UNKNOWN', REJECT.noReason],
    ['no certificate where some are listed', request('BOX', 'CT1'), strict, { peer: box.peer }, 'CERTIFICATE_UNKNOWN', REJECT.noReason],
    ['an empty list lets nobody in', request('BOX', 'CT1'), { ...strict, certificates: [] }, box, 'CERTIFICATE_UNKNOWN', REJECT.noReason],
    ['no list: every valid certificate', request('A', 'B'), rules(), box, undefined],
    ['no list: no certificate', request('A', ''), rules(), { peer: '' }, undefined],
  ]
  for (const [label, rq, by, caller, code, reject] of cases) {
    const refusal = refuse(rq, by, caller)
    t.equal(refusal?.code, code, label)
    if (reject) t.same(refusal?.reject, reject, label)
  }
})

t.test('addresses: IPv4, IPv6, through each other, with a scope, and none', async (t) => {
  const peers = new Peers(['192.168.1.0/24', '10.0.0.7', 'fd00::/8', 'fe80::/10', '2001:db8::1'])
  for (const peer of ['192.168.1.1', '10.0.0.7', 'fd12::1', 'fe80::1%eth0', 'fe80::1', '2001:db8::1', plainAddress('::ffff:10.0.0.7')]) t.ok(peers.admits(peer), peer)
  for (const peer of ['192.168.2.1', '10.0.0.8', '2001:db8::2', '2001:db8::1:1%eth0', '', 'nonsense', '10.0.0.7 ']) t.notOk(peers.admits(peer), `not ${peer}`)
  t.ok(new Peers(['*', '10.0.0.1']).admits(''), '* is everybody')

  const part = fc.integer({ min: 0, max: 255 })
  fc.assert(fc.property(fc.tuple(part, part, part, part), fc.integer({ min: 0, max: 32 }), fc.tuple(part, part, part, part), (network, prefix, address) => {
    const number = (four: readonly number[]): bigint => four.reduce((sum, each) => sum * 256n + BigInt(each), 0n)
    const inside = number(network) >> BigInt(32 - prefix) === number(address) >> BigInt(32 - prefix)
    return new Peers([`${network.join('.')}/${prefix}`]).admits(address.join('.')) === inside
  }))
})

t.test('what Peers would choke on is refused by the configuration, with its place', async (t) => {
  const config = (listener: object) => ({
    role: 'box', name: 'box', tenant: 'clinic',
    listeners: [{ name: 'lan', port: 104, ...listener }],
    destinations: [{ name: 'out', kind: 'folder', path: 'out' }],
    routes: [{ to: ['out'] }],
  })
  const good = ['*', '10.0.0.1', '10.0.0.0/0', '10.0.0.0/32', 'fd00::/8', '::1', '::/128', '2001:db8::1']
  const parsed = configSchema.safeParse(config({ peers: good }))
  t.ok(parsed.success)
  t.doesNotThrow(() => new Peers(good))
  for (const peer of ['10.0.0', '999.1.1.1', '10.0.0.1/33', 'fd00::/129', '1.2.3.4/', '/8', '::1::', 'fe80::1%eth0', '10.0.0.0/8/8', '10.0.0.1/-1', 'example.org']) {
    const { error } = configSchema.safeParse(config({ peers: [peer] }))
    t.match(error?.issues[0]?.path, ['listeners', 0, 'peers', 0], peer)
  }
  const { error } = configSchema.safeParse(config({ certificates: ['box-1'] }))
  t.match(error?.issues[0]?.path, ['listeners', 0, 'certificates'], 'a plain listener can judge no certificates')
})

t.test('each context is answered on its own', async (t) => {
  const answered = (abstractSyntax: string, transferSyntaxes: readonly string[], by = rules()) =>
    answerContexts(request('A', 'B', [{ id: 7, abstractSyntax, transferSyntaxes }]), by)[0]
  t.same(answered(CT, [JPEG, EXPLICIT]), { id: 7, result: 0, transferSyntax: JPEG }, 'the first that can be kept')
  t.same(answered(CT, [IMPLICIT, EXPLICIT]), { id: 7, result: 0, transferSyntax: EXPLICIT }, 'explicit before implicit')
  t.same(answered(CT, [IMPLICIT, JPEG]), { id: 7, result: 0, transferSyntax: IMPLICIT })
  t.same(answered(CT, [JPIP, IMPLICIT]), { id: 7, result: 0, transferSyntax: IMPLICIT }, 'what would not be whole is passed over')
  t.match(answered(CT, [JPIP]), { id: 7, result: 4 })
  t.match(answered(CT, ['1.2.3']), { id: 7, result: 4 })
  t.match(answered(CT, ['1.2.3'], rules({ transferSyntaxes: ['1.2.3'] })), { result: 0, transferSyntax: '1.2.3' }, 'a private one by configuration')
  t.match(answered('1.2.3', [EXPLICIT]), { id: 7, result: 3 })
  t.match(answered('1.2.3', [EXPLICIT], rules({ sopClasses: new Set(['1.2.3']) })), { result: 0 }, 'likewise')
  t.match(answered(VERIFICATION, [IMPLICIT]), { result: 0 })
  for (const uid of STORAGE_CLASSES.keys()) t.equal(answered(uid, [EXPLICIT])?.result, 0, uid)

  const proposed = fc.array(fc.record({
    abstractSyntax: fc.constantFrom(CT, VERIFICATION, '1.2.3', ...STORAGE_CLASSES.keys()),
    transferSyntaxes: fc.array(fc.constantFrom('1.2.3', ...TRANSFER_SYNTAXES.keys()), { minLength: 1, maxLength: 6 }),
  }), { minLength: 1, maxLength: 128 })
  fc.assert(fc.property(proposed, (wishes) => {
    const contexts = wishes.map((wish, n) => ({ id: 255 - 2 * n, ...wish }))
    const answers = answerContexts(request('A', 'B', contexts), rules())
    return answers.length === contexts.length && answers.every(({ id, result, transferSyntax }, n) => {
      const context = contexts[n]
      return context?.id === id && (result !== 0 || context.transferSyntaxes.includes(transferSyntax))
    })
  }))
})
