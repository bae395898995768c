import { runRole } from '../roles/supervising.ts'
import { HUB } from '../roles/hub.ts'

export const run = (args: string[]): Promise<number | undefined> => runRole(HUB, args)
