/** What every room may say: an event word, and fields without patient data. */
export interface Log {
  info(event: string, fields?: LogFields): void
  warn(event: string, fields?: LogFields): void
}
export type LogFields = Readonly<Record<string, string | number | boolean>>
