import { runRole } from '../roles/supervising.ts'
import { BOX } from '../roles/box.ts'

export const run = (args: string[]): Promise<number | undefined> => runRole(BOX, args)
