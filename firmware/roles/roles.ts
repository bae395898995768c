/** Both roles, by their word in the configuration. */
import { BOX } from './box.ts'
import { HUB } from './hub.ts'

export const ROLES = { box: BOX, hub: HUB } as const
