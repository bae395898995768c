/**
 * Every transfer syntax of the standard (PS3.5 section 10 and Annex A, PS3.6 Table A-1), with
 * what is needed to walk a data set written in it. The pixels themselves are never looked at.
 */

export interface TransferSyntax {
  readonly uid: string
  readonly name: string
  readonly explicit: boolean
  readonly bigEndian: boolean
  /** The whole data set is one raw deflate stream (PS3.5 A.5, RFC 1951). */
  readonly deflated: boolean
  /** Pixel Data is a sequence of fragments (PS3.5 A.4). */
  readonly encapsulated: boolean
  /**
   * False where a stored object would not be whole: JPIP keeps the pixels on a server
   * (PS3.5 A.6), SMPTE ST 2110 is a live stream (PS3.22), MIME and XML were never data sets.
   */
  readonly storable: boolean
  readonly retired: boolean
}

type Shape = Omit<TransferSyntax, 'uid' | 'name' | 'retired'>

const EXPLICIT: Shape = { explicit: true, bigEndian: false, deflated: false, encapsulated: false, storable: true }
const IMPLICIT: Shape = { ...EXPLICIT, explicit: false }
const BIG: Shape = { ...EXPLICIT, bigEndian: true }
const DEFLATED: Shape = { ...EXPLICIT, deflated: true }
/** PS3.5 A.4: always Explicit VR Little Endian. */
const ENCAPSULATED: Shape = { ...EXPLICIT, encapsulated: true }
const REFERENCED: Shape = { ...EXPLICIT, storable: false }
const REFERENCED_DEFLATED: Shape = { ...DEFLATED, storable: false }
const LIVE: Shape = { ...EXPLICIT, storable: false }
const FOREIGN: Shape = { ...EXPLICIT, storable: false }
const RETIRED = true

const row = (uid: string, name: string, shape: Shape, retired = false): TransferSyntax => ({
  uid,
  name,
  ...shape,
  retired,
})

export const IMPLICIT_LITTLE_ENDIAN = '1.2.840.10008.1.2'
export const EXPLICIT_LITTLE_ENDIAN = '1.2.840.10008.1.2.1'
export const EXPLICIT_BIG_ENDIAN = '1.2.840.10008.1.2.2'
export const DEFLATED_LITTLE_ENDIAN = '1.2.840.10008.1.2.1.99'

const ROWS: readonly TransferSyntax[] = [
  row('1.2.840.10008.1.2', 'Implicit VR Little Endian', IMPLICIT),
  row('1.2.840.10008.1.2.1', 'Explicit VR Little Endian', EXPLICIT),
  row('1.2.840.10008.1.2.1.98', 'Encapsulated Uncompressed Explicit VR Little Endian', ENCAPSULATED),
  row('1.2.840.10008.1.2.1.99', 'Deflated Explicit VR Little Endian', DEFLATED),
  row('1.2.840.10008.1.2.2', 'Explicit VR Big Endian', BIG, RETIRED),
  row('1.2.840.10008.1.2.4.50', 'JPEG Baseline (Process 1)', ENCAPSULATED),
  row('1.2.840.10008.1.2.4.51', 'JPEG Extended (Process 2 and 4)', ENCAPSULATED),
  row('1.2.840.10008.1.2.4.52', 'JPEG Extended (Process 3 and 5)', ENCAPSULATED, RETIRED),
  row('1.2.840.10008.1.2.4.53', 'JPEG Spectral Selection, Non-Hierarchical (Process 6 and 8)', ENCAPSULATED, RETIRED),
  row('1.2.840.10008.1.2.4.54', 'JPEG Spectral Selection, Non-Hierarchical (Process 7 and 9)', ENCAPSULATED, RETIRED),
  row('1.2.840.10008.1.2.4.55', 'JPEG Full Progression, Non-Hierarchical (Process 10 and 12)', ENCAPSULATED, RETIRED),
  row('1.2.840.10008.1.2.4.56', 'JPEG Full Progression, Non-Hierarchical (Process 11 and 13)', ENCAPSULATED, RETIRED),
  row('1.2.840.10008.1.2.4.57', 'JPEG Lossless, Non-Hierarchical (Process 14)', ENCAPSULATED),
  row('1.2.840.10008.1.2.4.58', 'JPEG Lossless, Non-Hierarchical (Process 15)', ENCAPSULATED, RETIRED),
  row('1.2.840.10008.1.2.4.59', 'JPEG Extended, Hierarchical (Process 16 and 18)', ENCAPSULATED, RETIRED),
  row('1.2.840.10008.1.2.4.60', 'JPEG Extended, Hierarchical (Process 17 and 19)', ENCAPSULATED, RETIRED),
  row('1.2.840.10008.1.2.4.61', 'JPEG Spectral Selection, Hierarchical (Process 20 and 22)', ENCAPSULATED, RETIRED),
  row('1.2.840.10008.1.2.4.62', 'JPEG Spectral Selection, Hierarchical (Process 21 and 23)', ENCAPSULATED, RETIRED),
  row('1.2.840.10008.1.2.4.63', 'JPEG Full Progression, Hierarchical (Process 24 and 26)', ENCAPSULATED, RETIRED),
  row('1.2.840.10008.1.2.4.64', 'JPEG Full Progression, Hierarchical (Process 25 and 27)', ENCAPSULATED, RETIRED),
  row('1.2.840.10008.1.2.4.65', 'JPEG Lossless, Hierarchical (Process 28)', ENCAPSULATED, RETIRED),
  row('1.2.840.10008.1.2.4.66', 'JPEG Lossless, Hierarchical (Process 29)', ENCAPSULATED, RETIRED),
  row('1.2.840.10008.1.2.4.70', 'JPEG Lossless, Non-Hierarchical, First-Order Prediction (Process 14 [Selection Value 1])', ENCAPSULATED),
  row('1.2.840.10008.1.2.4.80', 'JPEG-LS Lossless Image Compression', ENCAPSULATED),
  row('1.2.840.10008.1.2.4.81', 'JPEG-LS Lossy (Near-Lossless) Image Compression', ENCAPSULATED),
  row('1.2.840.10008.1.2.4.90', 'JPEG 2000 Image Compression (Lossless Only)', ENCAPSULATED),
  row('1.2.840.10008.1.2.4.91', 'JPEG 2000 Image Compression', ENCAPSULATED),
  row('1.2.840.10008.1.2.4.92', 'JPEG 2000 Part 2 Multi-component Image Compression (Lossless Only)', ENCAPSULATED),
  row('1.2.840.10008.1.2.4.93', 'JPEG 2000 Part 2 Multi-component Image Compression', ENCAPSULATED),
  row('1.2.840.10008.1.2.4.94', 'JPIP Referenced', REFERENCED),
  row('1.2.840.10008.1.2.4.95', 'JPIP Referenced Deflate', REFERENCED_DEFLATED),
  row('1.2.840.10008.1.2.4.100', 'MPEG2 Main Profile / Main Level', ENCAPSULATED),
  row('1.2.840.10008.1.2.4.100.1', 'Fragmentable MPEG2 Main Profile / Main Level', ENCAPSULATED),
  row('1.2.840.10008.1.2.4.101', 'MPEG2 Main Profile / High Level', ENCAPSULATED),
  row('1.2.840.10008.1.2.4.101.1', 'Fragmentable MPEG2 Main Profile / High Level', ENCAPSULATED),
  row('1.2.840.10008.1.2.4.102', 'MPEG-4 AVC/H.264 High Profile / Level 4.1', ENCAPSULATED),
  row('1.2.840.10008.1.2.4.102.1', 'Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.1', ENCAPSULATED),
  row('1.2.840.10008.1.2.4.103', 'MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1', ENCAPSULATED),
  row('1.2.840.10008.1.2.4.103.1', 'Fragmentable MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1', ENCAPSULATED),
  row('1.2.840.10008.1.2.4.104', 'MPEG-4 AVC/H.264 High Profile / Level 4.2 For 2D Video', ENCAPSULATED),
  row('1.2.840.10008.1.2.4.104.1', 'Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.2 For 2D Video', ENCAPSULATED),
  row('1.2.840.10008.1.2.4.105', 'MPEG-4 AVC/H.264 High Profile / Level 4.2 For 3D Video', ENCAPSULATED),
  row('1.2.840.10008.1.2.4.105.1', 'Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.2 For 3D Video', ENCAPSULATED),
  row('1.2.840.10008.1.2.4.106', 'MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2', ENCAPSULATED),
  row('1.2.840.10008.1.2.4.106.1', 'Fragmentable MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2', ENCAPSULATED),
  row('1.2.840.10008.1.2.4.107', 'HEVC/H.265 Main Profile / Level 5.1', ENCAPSULATED),
  row('1.2.840.10008.1.2.4.108', 'HEVC/H.265 Main 10 Profile / Level 5.1', ENCAPSULATED),
  row('1.2.840.10008.1.2.4.110', 'JPEG XL Lossless', ENCAPSULATED),
  row('1.2.840.10008.1.2.4.111', 'JPEG XL JPEG Recompression', ENCAPSULATED),
  row('1.2.840.10008.1.2.4.112', 'JPEG XL', ENCAPSULATED),
  row('1.2.840.10008.1.2.4.201', 'High-Throughput JPEG 2000 Image Compression (Lossless Only)', ENCAPSULATED),
  row('1.2.840.10008.1.2.4.202', 'High-Throughput JPEG 2000 with RPCL Options Image Compression (Lossless Only)', ENCAPSULATED),
  row('1.2.840.10008.1.2.4.203', 'High-Throughput JPEG 2000 Image Compression', ENCAPSULATED),
  row('1.2.840.10008.1.2.4.204', 'JPIP HTJ2K Referenced', REFERENCED),
  row('1.2.840.10008.1.2.4.205', 'JPIP HTJ2K Referenced Deflate', REFERENCED_DEFLATED),
  row('1.2.840.10008.1.2.5', 'RLE Lossless', ENCAPSULATED),
  row('1.2.840.10008.1.2.6.1', 'RFC 2557 MIME encapsulation', FOREIGN, RETIRED),
  row('1.2.840.10008.1.2.6.2', 'XML Encoding', FOREIGN, RETIRED),
  row('1.2.840.10008.1.2.7.1', 'SMPTE ST 2110-20 Uncompressed Progressive Active Video', LIVE),
  row('1.2.840.10008.1.2.7.2', 'SMPTE ST 2110-20 Uncompressed Interlaced Active Video', LIVE),
  row('1.2.840.10008.1.2.7.3', 'SMPTE ST 2110-30 PCM Digital Audio', LIVE),
  row('1.2.840.10008.1.2.8.1', 'Deflated Image Frame Compression', ENCAPSULATED),
  row('1.2.840.10008.1.20', 'Papyrus 3 Implicit VR Little Endian', IMPLICIT, RETIRED),
]

/**
 * Private ones whose encoding is known and differs from what PS3.5 A.4 lets us assume. They
 * are accepted only where the configuration names them.
 */
const PRIVATE: readonly TransferSyntax[] = [
  row('1.2.840.113619.5.2', 'GE Private Implicit VR Little Endian with Big Endian Pixel Data', IMPLICIT),
]

export const TRANSFER_SYNTAXES: ReadonlyMap<string, TransferSyntax> = new Map(ROWS.map((each) => [each.uid, each]))

const KNOWN: ReadonlyMap<string, TransferSyntax> = new Map([...ROWS, ...PRIVATE].map((each) => [each.uid, each]))

/**
 * How a data set in this transfer syntax is written. What is in no table is taken as
 * encapsulated Explicit VR Little Endian, the only encoding PS3.5 A.4 leaves to new and private
 * compressions.
 */
export const transferSyntaxOf = (uid: string): TransferSyntax => KNOWN.get(uid) ?? row(uid, uid, ENCAPSULATED)

/** Not compressed, whole data set readable by anyone: the four that transcode.ts converts. */
export function isUncompressed(uid: string): boolean {
  return uid === IMPLICIT_LITTLE_ENDIAN || uid === EXPLICIT_LITTLE_ENDIAN || uid === EXPLICIT_BIG_ENDIAN || uid === DEFLATED_LITTLE_ENDIAN
}

/**
 * The SCP's rule: every standard transfer syntax in which an object is whole, and the private
 * ones that the configuration names.
 */
export const isAcceptable = (uid: string, configured: readonly string[] = []): boolean =>
  TRANSFER_SYNTAXES.get(uid)?.storable ?? configured.includes(uid)
