/**
 * What a value from another process may look like. Checks, not conversions: a value that passes is
 * used as it is, one that does not is not used at all.
 */
export type Check = (value: unknown) => boolean

/** @param most characters */
export const text = (most: number): Check => (value) => typeof value === 'string' && value.length <= most

export const passing = (is: (text: string) => boolean): Check => (value) => typeof value === 'string' && is(value)

export const oneOf = (words: readonly string[] | Readonly<Record<string, unknown>>): Check => {
  const known: ReadonlySet<unknown> = new Set(Array.isArray(words) ? words : Object.keys(words))
  return (value) => known.has(value)
}

/** A whole number from 0. */
export const count: Check = (value) => Number.isSafeInteger(value) && (value as number) >= 0

export const number: Check = (value) => Number.isFinite(value)

export const flag: Check = (value) => typeof value === 'boolean'

export const maybe = (check: Check): Check => (value) => value === undefined || check(value)

/** Values by name, of which only the number and the kind are known. */
export const fields = (most: number, check: Check): Check => (value) =>
  typeof value === 'object' && value !== null && Object.keys(value).length <= most && Object.values(value).every(check)

/** The names of `T`, each with its check. */
export type Checks<T> = { readonly [K in keyof Required<T>]: Check }

/** @returns the name of a field that is missing or wrong; undefined when all pass */
export function wrongField<T>(checks: Checks<T>, value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null) return 'all of it'
  for (const name in checks) if (!checks[name]((value as Record<string, unknown>)[name])) return name
  return undefined
}

/** Fields beyond those named are not looked at. */
export const shape = <T>(checks: Checks<T>): Check => (value) => wrongField(checks, value) === undefined
