/**
 * Images by number: each can be made again, byte for byte, from its name alone, so that a sender
 * can send it until it is taken, and whoever finds it can say whether it is the same.
 */
import { createHash, hash } from 'node:crypto'
import type { Chance } from './chance.ts'

export interface Image {
  readonly sopClass: string
  readonly sopInstance: string
  readonly study: string
  readonly series: string
  readonly transferSyntax: string
  /** Of the data set, SHA-256 hex. */
  readonly digest: string
  readonly bytes: number
  /** The data set, made anew. */
  make(): Buffer
}

const CLASSES = ['1.2.840.10008.5.1.4.1.1.2', '1.2.840.10008.5.1.4.1.1.4', '1.2.840.10008.5.1.4.1.1.1.1'] as const
export const EXPLICIT = '1.2.840.10008.1.2.1'
/** What a sender of these images proposes. */
export const CONTEXTS = CLASSES.map((abstractSyntax) => ({ abstractSyntax, transferSyntaxes: [EXPLICIT] }))

/** Noise, so that no piece of one image is a piece of another; 8 MiB, cut at any place. */
const NOISE_BYTES = 8 * 1024 * 1024
let noise: Buffer | undefined
function noiseAt(name: string, bytes: number): Buffer {
  noise ??= makeNoise()
  const at = createHash('sha256').update(name).digest().readUInt32BE(0) % (NOISE_BYTES - Math.min(bytes, NOISE_BYTES / 2))
  if (at + bytes <= NOISE_BYTES) return noise.subarray(at, at + bytes)
  return Buffer.concat(Array.from({ length: Math.ceil(bytes / NOISE_BYTES) }, () => noise as Buffer)).subarray(0, bytes)
}
function makeNoise(): Buffer {
  const blocks: Buffer[] = []
  for (let block = 0; block < NOISE_BYTES / 64; block++) blocks.push(createHash('sha512').update(`noise ${block}`).digest())
  return Buffer.concat(blocks)
}

const element = (group: number, number: number, vr: string, value: Buffer | string): Buffer => {
  const text = typeof value === 'string' ? Buffer.from(value, 'latin1') : value
  const body = text.length % 2 === 0 ? text : Buffer.concat([text, Buffer.from(vr === 'UI' ? '\0' : ' ')])
  const long = vr === 'OW'
  const head = Buffer.alloc(long ? 12 : 8)
  head.writeUInt16LE(group, 0)
  head.writeUInt16LE(number, 2)
  head.write(vr, 4, 'latin1')
  if (long) head.writeUInt32LE(body.length, 8)
  else head.writeUInt16LE(body.length, 6)
  return Buffer.concat([head, body])
}

/** @param root begins every UID of this run; ends with a dot @param pixels bytes of them, even */
export function image(root: string, number: number, pixels: number): Image {
  const sopClass = CLASSES[number % CLASSES.length] as string
  const study = `${root}${Math.floor(number / 20)}`
  const [series, sopInstance] = [`${study}.1`, `${study}.1.${number}`]
  const make = () =>
    Buffer.concat([
      element(0x0008, 0x0016, 'UI', sopClass),
      element(0x0008, 0x0018, 'UI', sopInstance),
      element(0x0010, 0x0010, 'PN', 'Nobody^At All'),
      element(0x0020, 0x000d, 'UI', study),
      element(0x0020, 0x000e, 'UI', series),
      element(0x7fe0, 0x0010, 'OW', noiseAt(sopInstance, pixels)),
    ])
  const bytes = make()
  return { sopClass, sopInstance, study, series, transferSyntax: EXPLICIT, digest: hash('sha256', bytes), bytes: bytes.length, make }
}

/** Mostly small, some as large as a CT image, a few of several megabytes. */
export const anySize = (chance: Chance): number =>
  2 * { small: chance.between(1, 16_000), middle: chance.between(50_000, 300_000), large: chance.between(1_000_000, 3_000_000) }[
    chance.weighted({ small: 86, middle: 11, large: 3 })
  ]

let runs = 0
/** A root no other run of this machine uses. */
export const newRoot = (): string => `1.2.826.0.1.3680043.8.${process.pid}.${Date.now()}.${(runs += 1)}.`
