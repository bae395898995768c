/** The walk of the way, as a person sees it, against a real far side and each way to miss it. */
import t from 'tap'
import { associate } from '../../firmware/dicom/requestor.ts'
import { VERIFICATION } from '../../firmware/dicom/sop-classes.ts'
import { IMPLICIT_LITTLE_ENDIAN } from '../../firmware/dicom/transfer-syntaxes.ts'
import { Fault } from '../../firmware/domain/errors.ts'
import { LIMITS } from '../../firmware/domain/limits.ts'
import type { Target } from '../../firmware/link/connect.ts'
import { testLink, type Probe, type ProbeStep } from '../../firmware/link/probe.ts'
import { certificates } from '../peers/certificates.ts'
import { storescp } from '../peers/dcmtk.ts'
import { freePort } from '../peers/process.ts'
import { openDoor, identityOf } from '../pki/door.ts'
import { portThat } from './port.ts'

const set = certificates()
const identity = await identityOf(set.box, set.ca)

/** The wire as the forwarding room has it. */
const wire: Probe['associate'] = async ({ socket, explain }) => {
  try {
    const contexts = [{ abstractSyntax: VERIFICATION, transferSyntaxes: [IMPLICIT_LITTLE_ENDIAN] }]
    const association = await associate(socket, { calledAe: 'STORESCP', callingAe: 'BOX', contexts }, { ...LIMITS, artimMillis: 3000 })
    return { detail: association.implementation, echo: async () => 'C-ECHO answered', close: () => association.release().then(() => {}, () => {}) }
  } catch (error) {
    throw explain(error)
  }
}

async function walk(target: Target, more: Partial<Probe> = {}): Promise<ProbeStep[]> {
  const steps: ProbeStep[] = []
  for await (const step of testLink({ target, associate: wire, ...more }, { handshakeMillis: 1000, connectMillis: 1000 })) steps.push(step)
  return steps
}
const last = (steps: ProbeStep[]) => steps.at(-1)
const names = (steps: ProbeStep[]) => steps.map(({ step }) => step)

t.test('all the way, plain and over TLS', async (t) => {
  const plain = await storescp({ ignore: true })
  const secure = await storescp({ ignore: true, tls: { identity: set.hub, ca: set.ca.cert } })
  t.teardown(() => Promise.all([plain.stop(), secure.stop()]))
  const overPlain = await walk({ host: '127.0.0.1', port: plain.port })
  t.same(names(overPlain), ['carrier', 'address', 'name', 'tcp', 'association', 'echo'])
  const overTls = await walk({ host: 'localhost', port: secure.port, tls: { identity } })
  t.same(names(overTls), ['carrier', 'address', 'name', 'tcp', 'tls', 'association', 'echo'])
  for (const step of [...overPlain, ...overTls]) {
    t.ok(step.ok && step.millis >= 0 && step.code === undefined && step.remedy === undefined, `${step.step}: ${step.detail}`)
  }
  t.match(overTls.find(({ step }) => step === 'tls')?.detail, /TLSv1\.3 TLS_\w+, hub until \d{4}-\d\d-\d\d/)
  t.match(last(overTls)?.detail, 'C-ECHO')
})

t.test('the first step that fails ends it, with what to do', async (t) => {
  const plain = await storescp({ ignore: true })
  const secure = await storescp({ ignore: true, tls: { identity: set.hub, ca: set.ca.cert } })
  const hub = await openDoor(await identityOf(set.hub, set.ca))
  const aborter = await openDoor(await identityOf(set.hub, set.ca))
  aborter.server.removeAllListeners('secureConnection').on('secureConnection', (socket) => socket.once('data', () => socket.end(Buffer.from('07000000000400000201', 'hex'))))
  const mute = await portThat((socket) => socket.resume())
  t.teardown(() => Promise.all([plain.stop(), secure.stop(), hub.close(), aborter.close(), mute.close()]))
  const closed = await freePort()
  const tls = { identity }
  const noCable = () => new Fault('CABLE_UNPLUGGED', { interface: 'eth0' })
  const noAddress = () => new Fault('ADDRESS_MISSING')
  const cases: [string, Target, Partial<Probe>, string, string][] = [
    ['no cable', { host: '127.0.0.1', port: closed }, { network: noCable }, 'carrier', 'CABLE_UNPLUGGED'],
    ['no address', { host: '127.0.0.1', port: closed }, { network: noAddress }, 'address', 'ADDRESS_MISSING'],
    ['no such name', { host: 'nosuch.invalid', port: closed }, {}, 'name', 'NAME_UNKNOWN'],
    ['nobody there', { host: '127.0.0.1', port: closed }, {}, 'tcp', 'CONNECTION_REFUSED'],
    ['TLS to a plain port', { host: '127.0.0.1', port: plain.port, tls }, {}, 'tls', 'FAR_SPEAKS_PLAIN'],
    ['plain to a TLS port', { host: '127.0.0.1', port: secure.port }, {}, 'association', 'FAR_SPEAKS_TLS'],
    ['another name', { host: '127.0.0.1', port: secure.port, tls: { identity, serverName: 'other.test' } }, {}, 'tls', 'FAR_NAME_MISMATCH'],
    ['revoked there, told after the handshake', { host: '127.0.0.1', port: hub.port, tls: { identity: await identityOf(set.revoked, set.ca, false) } }, {}, 'tls', 'REFUSED_SILENTLY'],
    ['an A-ABORT is no word on our certificate', { host: '127.0.0.1', port: aborter.port, tls }, {}, 'association', 'ASSOCIATION_BROKEN'],
    ['takes the connection and keeps silent', { host: '127.0.0.1', port: mute.port }, {}, 'association', 'ASSOCIATION_SILENT'],
  ]
  for (const [label, target, more, step, code] of cases) {
    const steps = await walk(target, more)
    t.match(last(steps), { ok: false, step, code }, `${label}: ${last(steps)?.detail ?? ''}`)
    t.ok((last(steps)?.remedy?.length ?? 0) > 20)
    t.ok(steps.slice(0, -1).every(({ ok }) => ok))
  }
})

t.test('an echo that fails is told, and the association is still released', async (t) => {
  const plain = await storescp({ ignore: true })
  t.teardown(() => plain.stop())
  let closed = 0
  const steps = await walk({ host: '127.0.0.1', port: plain.port }, {
    associate: async (connection) => {
      const association = await wire(connection)
      return {
        ...association,
        echo: () => Promise.reject(new Fault('ECHO_FAILED', { detail: 'status 0122H' })),
        close: () => ((closed += 1), association.close()),
      }
    },
  })
  t.match(last(steps), { step: 'echo', ok: false, code: 'ECHO_FAILED' })
  t.equal(closed, 1)
})
