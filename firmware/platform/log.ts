/**
 * The log: one JSON object a line on stderr, which systemd's journal takes as it is. Bounded
 * lines; fields that could carry patient data are never passed in (see domain/log.ts).
 */
import type { Log, LogFields } from '../domain/log.ts'

/** One field's value; a hostile AE title or error text cannot flood the journal. */
const FIELD_CHARS = 300

export function makeLog(who: string): Log {
  const write = (level: string, event: string, fields: LogFields = {}) => {
    const line: Record<string, unknown> = { at: new Date().toISOString(), level, who, event }
    for (const [key, value] of Object.entries(fields)) line[key] = typeof value === 'string' ? value.slice(0, FIELD_CHARS) : value
    process.stderr.write(JSON.stringify(line) + '\n')
  }
  return {
    info: (event, fields) => write('info', event, fields),
    warn: (event, fields) => write('warn', event, fields),
  }
}
