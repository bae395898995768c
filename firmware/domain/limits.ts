/**
 * Every bound of the firmware, by name. A configuration may lower or raise those that
 * `config.ts` lists; nothing else in the code carries a number that limits an input.
 *
 * Units are in the names: Bytes, Millis, or a plain count.
 */
export const LIMITS = {
  /** Largest variable field of a P-DATA-TF we accept; advertised as Maximum Length (PS3.8 D.1). */
  pduBytes: 256 * 1024,
  /** Largest variable field of a P-DATA-TF we send, also to a peer that sets no limit or a higher one. */
  pduSendBytes: 256 * 1024,
  /** A-ASSOCIATE-RQ/AC: 128 contexts with many syntaxes each fit well inside. */
  associatePduBytes: 256 * 1024,
  /** Presentation contexts in one association: odd ids 1..255 (PS3.8 9.3.2.2). */
  presentationContexts: 128,
  /** One DIMSE command set, all its fragments together (PS3.7 6.3.1). */
  commandBytes: 16 * 1024,

  /** A worker told to stop lets what it has in hand finish for so long; its supervisor kills it after 5 s. */
  finishMillis: 4_000,
  /** How long a worker waits for its port, which the worker before it may still hold. */
  portMillis: 3_000,
  /** Connections that have not asked for an association yet; the oldest gives way to the newest. */
  knocking: 512,
  /** Associations open at once in one role, all listeners together. */
  associations: 128,
  /** Associations open at once from one peer address. */
  associationsPerPeer: 32,
  /** ARTIM: from connection to A-ASSOCIATE-RQ, and from RJ/ABORT to close (PS3.8 9.1.5). */
  artimMillis: 30_000,
  /** Read and thrown away of a peer that was shown out, so that it hears why; then it is cut off. */
  discardBytes: 1024 * 1024,
  /** An association on which nothing at all arrives. */
  idleMillis: 10 * 60_000,
  /** A message that has begun must bring `slowBytes` in every `slowMillis`. */
  slowMillis: 60_000,
  slowBytes: 4 * 1024,

  /** Bytes of a data set scanned for identifiers before it counts as not understood. */
  headerBytes: 16 * 1024 * 1024,
  /**
   * The same of a deflated data set, in inflated bytes. Inflating blocks the process, and a few
   * kilobytes can be made to inflate to a thousand times as much: 1 MiB costs some milliseconds.
   */
  deflatedHeaderBytes: 1024 * 1024,
  /** Bytes of one attribute value that is kept while scanning (UI is 64, LO 64; generous). */
  headerValueBytes: 1024,
  /** Depth of nested sequences in a data set. */
  headerNesting: 64,
  /** File meta information of a Part 10 file (PS3.10 7.1): some hundred bytes, private data apart. */
  fileMetaBytes: 1024 * 1024,

  /** Plain bytes in one authenticated chunk of an object file. */
  chunkBytes: 64 * 1024,
  /** Bytes on their way to the disk per association before the socket is paused. */
  writeAheadBytes: 1024 * 1024,
  /** Bytes read ahead from the disk per association. */
  readAheadBytes: 1024 * 1024,
  /** Prepared empty object files per tenant. */
  slots: 16,
  /** Plain part of an object file before its first encrypted chunk; about 300 bytes are used. */
  preambleBytes: 4 * 1024,
  /** Header or trailer of an object file, encrypted; about 600 bytes are used. */
  envelopeBytes: 16 * 1024,
  /** Object files up to this size are read and verified whole before their first byte is handed out. */
  wholeBytes: 1024 * 1024 + 64 * 1024,
  /** Age at which the last measurement of the disk is repeated. */
  waterMillis: 1_000,
  /** Versions of one SOP Instance UID a new arrival is compared with, the newest: a device may give all its images one UID. */
  versions: 64,
  /** Longest time to the next attempt of one delivery; what is to wait longer was written under a wrong clock. */
  delayMillis: 5 * 60_000,
  /** Changes of the index written in one synchronised batch. */
  changesPerBatch: 256,
  /** Unlinked files whose mark in the index is removed together with the next ones. */
  graves: 64,
  /** Damaged indexes set aside; the oldest give way. */
  indexesSetAside: 2,

  /** Why a delivery waits or is held, as kept with it. */
  reasonChars: 200,
  /** What a stranger said, kept for the status. */
  strangerChars: 256,
  /** Rows one control answer lists. */
  listRows: 1000,
  /** Receipts looked at in one search. */
  searchedRows: 200_000,
  /** Slots one worker may hold, beside one for each association: two for each tenant. */
  slotsHeld: 4096,
  /** Leases one request is given. */
  leasesAtOnce: 128,
  /** Calls of one worker under way at once, beside those its associations and destinations need. */
  callsUnderWay: 1024,
  /** Knocks (refused callers) remembered for the status. */
  knocks: 100,
  /** Body of one request to the control socket. */
  controlBytes: 64 * 1024,
  /** One configuration file. */
  configBytes: 1024 * 1024,

  /** Refusals of one instance, while others passed, after which a person must look: some minutes. */
  refusalsOfOne: 8,
  /** Refused instances that a destination remembers, so as to tell. */
  refusedKept: 4096,

  /** One name resolution; a slower one is answered from the last good answer if there is one. */
  nameMillis: 5_000,
  /** One TCP connect: long, so that a slow satellite or mobile line still gets through. */
  connectMillis: 10_000,
  /** TCP connected to TLS handshake complete, either side. */
  handshakeMillis: 15_000,
  /** Head start of one address before the next is tried beside it (RFC 8305 5). */
  attemptDelayMillis: 250,
  /** Addresses of one name that are tried. */
  addresses: 8,
  /** TCP attempts of one destination that may be pending at once. */
  knocksPending: 6,
  /** While TCP is what fails, a new attempt begins after min..max, uniformly (mean 0.9 s). */
  knockMinMillis: 300,
  knockMaxMillis: 1_500,
  /** Failures above TCP: full jitter over base * 2^n up to the cap. */
  backoffBaseMillis: 1_000,
  backoffCapMillis: 60_000,
  /** A connected link on which nothing was sent is proven again after about this long. */
  linkIdleMillis: 5 * 60_000,
  /** An identity folder whose files do not fit together may be half written for this long. */
  identitySettleMillis: 5_000,
  /** Poll of an identity folder, where the file system tells of no changes. */
  identityPollMillis: 5_000,
  /** An image that arrives after this long without one makes a link that backs off try at once. */
  linkQuietMillis: 15_000,
  /** One whole attempt: name, TCP, TLS, association, C-ECHO. */
  dialMillis: 60_000,
  /** One file of an identity folder; a revocation list of 10,000 entries is 400 kB. */
  identityFileBytes: 4 * 1024 * 1024,
  /** Poll of cable and addresses. */
  networkPollMillis: 1_000,
} as const

/**
 * What a configuration may change, and how far: the bounds that meet strangers. The others belong
 * to formats and mechanisms, which would break.
 */
export const CONFIGURABLE = {
  pduBytes: [4 * 1024, 16 * 1024 * 1024],
  pduSendBytes: [4 * 1024, 16 * 1024 * 1024],
  associatePduBytes: [16 * 1024, 1024 * 1024],
  presentationContexts: [3, 128],
  commandBytes: [4 * 1024, 64 * 1024],
  knocking: [1, 65_536],
  associations: [1, 65_536],
  associationsPerPeer: [1, 65_536],
  artimMillis: [100, 600_000],
  idleMillis: [100, 86_400_000],
  slowMillis: [100, 3_600_000],
  slowBytes: [1, 1024 * 1024],
  headerBytes: [1024, 1024 * 1024 * 1024],
  headerNesting: [1, 1024],
  knocks: [1, 10_000],
} as const satisfies Partial<Record<keyof typeof LIMITS, readonly [least: number, most: number]>>

export type Limits = { readonly [name in keyof typeof LIMITS]: number }
