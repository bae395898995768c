/**
 * User information of an association (PS3.8 9.3.2.3, Annex D; PS3.7 D.3.3): what the two sides
 * tell about themselves beside the presentation contexts. Unknown sub-items are skipped by
 * their length, as PS3.8 9.3.1 asks.
 */
import { trimUid } from '../domain/identifier.ts'
import type { Cursor } from './malformed.ts'

export {
  IMPLEMENTATION_CLASS_UID as IMPLEMENTATION_CLASS,
  IMPLEMENTATION_VERSION_NAME as IMPLEMENTATION_VERSION,
} from './implementation.ts'

/** Operations outstanding (PS3.7 D.3.3.3); 0 = unlimited. */
export interface AsyncWindow {
  readonly invoked: number
  readonly performed: number
}
/** SCP/SCU role selection (PS3.7 D.3.3.4), from the requestor's point of view. */
export interface Role {
  readonly sopClass: string
  readonly scu: boolean
  readonly scp: boolean
}
/** SOP class extended negotiation (PS3.7 D.3.3.5); the bytes are the service class's own. */
export interface Extended {
  readonly sopClass: string
  readonly information: Buffer
}
/** SOP class common extended negotiation (PS3.7 D.3.3.6). */
export interface CommonExtended {
  readonly sopClass: string
  readonly serviceClass: string
  readonly related: readonly string[]
}
/** User identity (PS3.7 D.3.3.7). Both fields may be secrets or a person's name: never logged. */
export interface UserIdentity {
  readonly type: number
  readonly responseRequested: boolean
  readonly primary: Buffer
  readonly secondary: Buffer
}
export interface UserInformation {
  /** Largest variable field of a P-DATA-TF the sender of this will take; 0 = no limit (PS3.8 D.1). */
  readonly maximumLength: number
  readonly implementationClass: string
  readonly implementationVersion: string
  readonly asyncWindow?: AsyncWindow
  readonly roles: readonly Role[]
  readonly extended: readonly Extended[]
  readonly commonExtended: readonly CommonExtended[]
  readonly userIdentity?: UserIdentity
}

/**
 * PS3.8 D.1 makes the maximum length mandatory. To a peer that leaves it out we send what every
 * implementation takes, rather than "no limit".
 */
const MAXIMUM_LENGTH_UNSAID = 16 * 1024

const ITEM = {
  maximumLength: 0x51,
  implementationClass: 0x52,
  asyncWindow: 0x53,
  role: 0x54,
  implementationVersion: 0x55,
  extended: 0x56,
  commonExtended: 0x57,
  userIdentity: 0x58,
} as const

export function decodeUserInformation(from: Cursor): UserInformation {
  let maximumLength = MAXIMUM_LENGTH_UNSAID
  let implementationClass = ''
  let implementationVersion = ''
  let asyncWindow: AsyncWindow | undefined
  let userIdentity: UserIdentity | undefined
  const roles: Role[] = []
  const extended: Extended[] = []
  const commonExtended: CommonExtended[] = []
  while (from.left > 0) {
    const type = from.u8()
    from.skip(1)
    const value = from.part(from.u16(), `user information item ${type.toString(16)}H`)
    switch (type) {
      case ITEM.maximumLength:
        maximumLength = value.u32()
        break
      case ITEM.implementationClass:
        implementationClass = trimUid(value.text(value.left))
        break
      case ITEM.implementationVersion:
        implementationVersion = value.text(value.left).replace(/[\0 ]+$/, '')
        break
      case ITEM.asyncWindow:
        asyncWindow = { invoked: value.u16(), performed: value.u16() }
        break
      case ITEM.role:
        roles.push({ sopClass: uid(value), scu: value.u8() === 1, scp: value.u8() === 1 })
        break
      case ITEM.extended:
        extended.push({ sopClass: uid(value), information: Buffer.from(value.take(value.left)) })
        break
      case ITEM.commonExtended: {
        const sopClass = uid(value)
        const serviceClass = uid(value)
        const list = value.part(value.u16(), 'related general SOP classes')
        const related: string[] = []
        while (list.left > 0) related.push(uid(list))
        commonExtended.push({ sopClass, serviceClass, related })
        break
      }
      case ITEM.userIdentity:
        userIdentity = {
          type: value.u8(),
          responseRequested: value.u8() === 1,
          primary: Buffer.from(value.take(value.u16())),
          secondary: Buffer.from(value.take(value.u16())),
        }
        break
      default:
    }
  }
  return {
    maximumLength,
    implementationClass,
    implementationVersion,
    ...(asyncWindow && { asyncWindow }),
    roles,
    extended,
    commonExtended,
    ...(userIdentity && { userIdentity }),
  }
}

const uid = (from: Cursor): string => trimUid(from.text(from.u16()))

export function encodeUserInformation(of: UserInformation): Buffer {
  const items = [item(ITEM.maximumLength, u32(of.maximumLength)), item(ITEM.implementationClass, text(of.implementationClass))]
  if (of.asyncWindow) items.push(item(ITEM.asyncWindow, u16(of.asyncWindow.invoked), u16(of.asyncWindow.performed)))
  for (const role of of.roles) {
    items.push(item(ITEM.role, counted(text(role.sopClass)), Buffer.from([role.scu ? 1 : 0, role.scp ? 1 : 0])))
  }
  if (of.implementationVersion !== '') items.push(item(ITEM.implementationVersion, text(of.implementationVersion)))
  for (const one of of.extended) items.push(item(ITEM.extended, counted(text(one.sopClass)), one.information))
  for (const one of of.commonExtended) {
    const related = Buffer.concat(one.related.map((name) => counted(text(name))))
    items.push(item(ITEM.commonExtended, counted(text(one.sopClass)), counted(text(one.serviceClass)), counted(related)))
  }
  if (of.userIdentity) {
    const { type, responseRequested, primary, secondary } = of.userIdentity
    items.push(item(ITEM.userIdentity, Buffer.from([type, responseRequested ? 1 : 0]), counted(primary), counted(secondary)))
  }
  return Buffer.concat(items)
}

/** One item of an association PDU: type, reserved byte, 16 bit length, value (PS3.8 9.3.2). */
export function item(type: number, ...value: Buffer[]): Buffer {
  const length = value.reduce((sum, part) => sum + part.length, 0)
  if (length > 0xffff) throw new Error(`item ${type.toString(16)}H of ${length} bytes does not fit its length field`)
  return Buffer.concat([Buffer.from([type, 0]), u16(length), ...value])
}
export const text = (value: string): Buffer => Buffer.from(value, 'latin1')
const counted = (value: Buffer): Buffer => Buffer.concat([u16(value.length), value])
const u16 = (value: number): Buffer => {
  const bytes = Buffer.alloc(2)
  bytes.writeUInt16BE(value)
  return bytes
}
const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}
