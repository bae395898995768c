/**
 * The last two steps of a link test, association and C-ECHO, over a socket that is open.
 */
import { associate } from '../../dicom/requestor.ts'
import { VERIFICATION } from '../../dicom/sop-classes.ts'
import { statusHex } from '../../dicom/status.ts'
import { IMPLICIT_LITTLE_ENDIAN } from '../../dicom/transfer-syntaxes.ts'
import { Fault } from '../../domain/errors.ts'
import type { Limits } from '../../domain/limits.ts'
import type { OpenSocket } from './transport.ts'

export interface ProbedAssociation {
  readonly detail: string
  echo(): Promise<string>
  close(): Promise<void>
}

/** @throws Fault naming why there is no association */
export async function probeAssociation(
  opened: Pick<OpenSocket, 'socket' | 'explain'>,
  { calledAe, callingAe, limits }: { calledAe: string; callingAe: string; limits: Limits },
): Promise<ProbedAssociation> {
  const contexts = [{ abstractSyntax: VERIFICATION, transferSyntaxes: [IMPLICIT_LITTLE_ENDIAN] }]
  const association = await associate(opened.socket, { calledAe, callingAe, contexts }, limits).catch((error: unknown) => {
    throw opened.explain(error)
  })
  return {
    detail: `${calledAe}, ${association.implementation}`,
    echo: async () => {
      const { status } = await association.echo(limits.artimMillis)
      if (status !== 0) throw new Fault('ECHO_FAILED', { detail: statusHex(status) })
      return 'it answers'
    },
    close: async () => {
      await association.release()
    },
  }
}
