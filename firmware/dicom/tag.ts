/**
 * Tags as unsigned 32-bit numbers, group high: (0008,0018) = 00080018H.
 */
export const SOP_CLASS_UID = 0x00080016
export const SOP_INSTANCE_UID = 0x00080018
export const STUDY_INSTANCE_UID = 0x0020000d
export const SERIES_INSTANCE_UID = 0x0020000e
export const PIXEL_DATA = 0x7fe00010

/** Item, Item Delimitation and Sequence Delimitation (PS3.5 7.5). */
export const ITEM = 0xfffee000
export const ITEM_END = 0xfffee00d
export const SEQUENCE_END = 0xfffee0dd

/** Length field of a value that ends by delimitation (PS3.5 7.1.1). */
export const UNDEFINED_LENGTH = 0xffffffff

const hex = (value: number): string => value.toString(16).toUpperCase().padStart(4, '0')

/** `(0008,0018)`. */
export const tagText = (tag: number): string => `(${hex(tag >>> 16)},${hex(tag & 0xffff)})`
