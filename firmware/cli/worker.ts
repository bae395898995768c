import { Fault } from '../domain/errors.ts'
import { liveWithSupervisor } from '../roles/worker.ts'
import { wrongCall } from './arguments.ts'
import { EXIT } from './commands.ts'

const HELP = `sallyport worker receive|forward

A worker process. The supervisor starts it; it is of no use by hand.
`

export async function run([kind]: string[]): Promise<number> {
  if (!process.send || (kind !== 'receive' && kind !== 'forward')) return wrongCall('a worker is started by the supervisor', HELP)
  liveWithSupervisor()
  try {
    if (kind === 'receive') {
      const { runReceiving } = await import('../roles/receiving.ts')
      await runReceiving()
    } else {
      const { runForwarding } = await import('../roles/forwarding.ts')
      await runForwarding()
    }
  } catch (error) {
    // Writing to the pipe failed before its end was seen.
    if (!(error instanceof Fault && error.code === 'SUPERVISOR_GONE')) throw error
  }
  process.disconnect?.()
  return EXIT.ok
}
