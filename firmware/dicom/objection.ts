/**
 * What is answered to a request before, or instead of, anybody being asked about it.
 */
import { isUid } from '../domain/identifier.ts'
import { COMMAND, type Command } from './command.ts'
import type { StoreAnswer } from './handlers.ts'
import { STATUS } from './status.ts'
import { VERIFICATION } from './sop-classes.ts'

/** PS3.7 9.1.1.1.9; in this order, so that the peer hears the gravest first. */
export function objectionTo(command: Command, abstractSyntax: string): StoreAnswer | undefined {
  if (command.sopClass !== abstractSyntax) {
    return { status: STATUS.classNotSupported, comment: 'SOP class is not that of the context' }
  }
  if (!isUid(command.sopInstance)) return { status: STATUS.invalidInstance, comment: 'SOP instance UID is not a UID' }
  if (!command.dataSet) return { status: STATUS.cannotUnderstand, comment: 'no data set' }
  return undefined
}

/** C-ECHO (PS3.7 9.3.5) here, anything else is not ours to do. */
export function answerOther(command: Command, abstractSyntax: string): StoreAnswer {
  if (command.field !== COMMAND.echoRq) return { status: STATUS.unrecognizedOperation }
  const known = command.sopClass === VERIFICATION && abstractSyntax === VERIFICATION
  return { status: known ? STATUS.success : STATUS.classNotSupported }
}
