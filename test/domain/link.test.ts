/** The state of a link is what its inputs say, and nothing else. */
import fc from 'fast-check'
import t from 'tap'
import { ERRORS, causeOf, remedyOf } from '../../firmware/domain/errors.ts'
import {
  failed, LINK_CODES, LINK_STATES, LINK_STEPS, linkState, NOTHING_KNOWN, passed, stepOf,
  type LinkCode, type LinkInput, type LinkInputs, type LinkStep,
} from '../../firmware/domain/link.ts'

const CODES = Object.keys(LINK_CODES) as LinkCode[]
const since = fc.integer({ min: 1, max: 2 ** 42 })
const input = (step: LinkStep): fc.Arbitrary<LinkInput> =>
  fc.oneof(
    fc.constant({ kind: 'unknown' } as const),
    since.map((at) => ({ kind: 'ok', since: at }) as const),
    fc.tuple(since, fc.constantFrom(...CODES.filter((code) => LINK_CODES[code] === step))).map(([at, code]) => ({ kind: 'failed', since: at, code, fields: { host: 'hub' } }) as const),
  )
const inputs = fc.record(Object.fromEntries(LINK_STEPS.map((step) => [step, input(step)])) as Record<LinkStep, fc.Arbitrary<LinkInput>>) as fc.Arbitrary<LinkInputs>

t.test('the first input that failed names the state, whatever the rest says', (t) => {
  fc.assert(fc.property(inputs, inputs, (one, other) => {
    const first = LINK_STEPS.find((step) => one[step].kind === 'failed')
    const state = linkState(one)
    if (first === undefined) return LINK_STATES[state.state].blames === null && state.code === undefined && state.remedy === ''
    const cause = one[first]
    if (cause.kind !== 'failed') return false
    // Later inputs exchanged for others: nothing changes.
    const mixed = Object.fromEntries(LINK_STEPS.map((step, i) => [step, i > LINK_STEPS.indexOf(first) ? other[step] : one[step]])) as unknown as LinkInputs
    const same = linkState(mixed)
    return (
      LINK_STATES[state.state].blames === first && state.code === cause.code && state.since === cause.since &&
      state.sentence === causeOf(cause.code, { ...cause.fields }) && state.remedy === remedyOf(cause.code, { ...cause.fields }) &&
      JSON.stringify(same) === JSON.stringify(state)
    )
  }), { numRuns: 2000 })
  t.pass('held')
  t.end()
})

t.test('connected means an association, never less', (t) => {
  fc.assert(fc.property(inputs, (one) => {
    const none = LINK_STEPS.every((step) => one[step].kind !== 'failed')
    return (linkState(one).state === 'connected') === (none && one.association.kind === 'ok')
  }), { numRuns: 2000 })
  t.equal(linkState(NOTHING_KNOWN).state, 'unknown')
  t.equal(linkState(passed(NOTHING_KNOWN, 'tls', 5)).state, 'connecting')
  t.match(linkState(passed(NOTHING_KNOWN, 'association', 5)), { state: 'connected', since: 5, remedy: '' })
  t.end()
})

t.test('what happens to the inputs', (t) => {
  fc.assert(fc.property(inputs, fc.constantFrom(...LINK_STEPS), since, (one, step, at) => {
    const after = passed(one, step, at)
    const index = LINK_STEPS.indexOf(step)
    return LINK_STEPS.every((each, i) => (i > index ? after[each] === one[each] : after[each].kind === 'ok' && (one[each].kind !== 'ok' || after[each] === one[each])))
  }))
  fc.assert(fc.property(inputs, fc.constantFrom(...CODES), since, (one, code, at) => {
    const after = failed(one, code, { host: 'x' }, at)
    const again = failed(after, code, { host: 'x' }, at + 1000)
    const step = LINK_CODES[code]
    const index = LINK_STEPS.indexOf(step)
    const own = after[step]
    const held = one[step]
    return (
      own.kind === 'failed' && own.code === code && own.since === (held.kind === 'failed' && held.code === code ? held.since : at) &&
      LINK_STEPS.slice(index + 1).every((each) => after[each].kind === 'unknown') &&
      JSON.stringify(again[step]) === JSON.stringify(own) &&
      // Unless cable or address are at fault, the step that was met is the one that is blamed.
      (after.carrier.kind === 'failed' || after.address.kind === 'failed' || LINK_STATES[linkState(after).state].blames === step)
    )
  }))
  t.pass('held')
  t.end()
})

t.test('every code of the link names a step, and every step has a state', (t) => {
  for (const step of LINK_STEPS) t.ok(CODES.some((code) => LINK_CODES[code] === step), `${step} can fail with a code`)
  t.same(new Set(Object.values(LINK_STATES).flatMap(({ blames }) => blames ?? [])), new Set(LINK_STEPS))
  t.equal(stepOf('CONNECTION_REFUSED'), 'tcp')
  t.equal(stepOf('SPOOL_FULL'), undefined)
  for (const code of CODES) t.ok(ERRORS[code].remedy.length > 20, `${code} says what to do`)
  t.end()
})
