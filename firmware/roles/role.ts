/**
 * What makes a role: everything else is the same firmware.
 */
import type { ListenerConfig } from '../config/schema.ts'
import type { Settings } from '../config/file.ts'
import type { CertificateFacts } from '../pki/certificate.ts'
import { REJECT } from '../receive/policy.ts'
import type { Refusal } from '../receive/policy.ts'

export interface Role {
  readonly name: 'box' | 'hub'
  /** Whose images come in at this listener, from this caller; a Refusal where nothing says so. */
  readonly tenantOf: (settings: Settings, listener: ListenerConfig, certificate: CertificateFacts | undefined) => string | Refusal
}

export const tenantMissing = (): Refusal => ({ code: 'TENANT_MISSING', fields: {}, reject: REJECT.noReason })
