/**
 * The box beside the modality: everything on it belongs to the one tenant it was paired for,
 * whether it came from a modality on the LAN or from the hub on its way back.
 */
import type { Role } from './role.ts'
import { tenantMissing } from './role.ts'

export const BOX: Role = {
  name: 'box',
  tenantOf: (settings) => settings.tenant ?? tenantMissing(),
}
