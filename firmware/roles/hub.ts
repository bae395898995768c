/**
 * The hub at the reading site: the tenant is what the client certificate says, never an AE title
 * or a tag. A plain listener (a PACS sending back to a clinic) belongs to one tenant as a whole.
 */
import type { Role } from './role.ts'
import { tenantMissing } from './role.ts'

export const HUB: Role = {
  name: 'hub',
  tenantOf: (_settings, listener, certificate) =>
    listener.protocol === 'dicom-tls' ? (certificate?.tenant ?? tenantMissing()) : (listener.tenant ?? tenantMissing()),
}
