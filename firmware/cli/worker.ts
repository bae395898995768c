import { wrongCall } from './arguments.ts'
import { EXIT } from './commands.ts'

const HELP = `sallyport worker receive|forward

A worker process. The supervisor starts it; it is of no use by hand.
`

export async function run([kind]: string[]): Promise<number> {
  if (!process.send || (kind !== 'receive' && kind !== 'forward')) return wrongCall('a worker is started by the supervisor', HELP)
  if (kind === 'receive') {
    const { runReceiving } = await import('../roles/receiving.ts')
    await runReceiving()
  } else {
    const { runForwarding } = await import('../roles/forwarding.ts')
    await runForwarding()
  }
  process.disconnect?.()
  return EXIT.ok
}
