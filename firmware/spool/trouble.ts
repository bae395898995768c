/**
 * What an error of LevelDB means: it says the reason in words only.
 */
import { Fault } from '../domain/errors.ts'
import { LIMITS } from '../domain/limits.ts'
import { IndexDamaged } from './view.ts'

/** Text of an error and of its causes. */
function textOf(error: unknown): string {
  const texts: string[] = []
  for (let one = error; one instanceof Error; one = one.cause) texts.push(`${(one as NodeJS.ErrnoException).code ?? ''} ${one.message}`)
  return texts.join('; ')
}

/** `Invalid argument` is what mmap(2) says of a table that was cut to nothing. */
export const isCorruption = (error: unknown): boolean =>
  error instanceof IndexDamaged || /LEVEL_CORRUPTION|Corruption|does not exist \(create_if_missing|No such file|\.ldb: Invalid argument/.test(textOf(error))

/** Of a database that is only being read: a sector that is gone is as good as a wrong one. */
export const isUnreadable = (error: unknown): boolean => isCorruption(error) || /Input\/output error|EIO/.test(textOf(error))

export function faultOf(error: unknown): Fault {
  if (error instanceof Fault) return error
  const text = textOf(error)
  if (/No space left|quota|ENOSPC|EDQUOT/i.test(text)) return new Fault('SPOOL_FULL', { percent: 100 }, { cause: error })
  return new Fault('DISK_FAILED', { detail: `index: ${text.slice(0, LIMITS.reasonChars)}` }, { cause: error })
}

/** An error of database or disk, as opposed to a defect of ours (Node's own codes begin with ERR_). */
export function isOfDisk(error: unknown): boolean {
  if (error instanceof IndexDamaged || error instanceof Fault) return true
  const { code } = error as NodeJS.ErrnoException
  return typeof code === 'string' && !code.startsWith('ERR_')
}
