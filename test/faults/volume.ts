/**
 * A small disk of its own: an ext4 file system in a file, mounted through a loop device. It can
 * be filled, taken away, and put back as it stood at one instant: what only was in the page cache
 * then is lost, as in a power cut. Needs root.
 */
import { spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, openSync, closeSync, ftruncateSync, readSync, renameSync, rmSync, statfsSync } from 'node:fs'
import { join } from 'node:path'
import { scratch } from '../peers/process.ts'

const MEMORY = '/dev/shm'

const run = (command: string, ...args: string[]): string => {
  const { status, stderr, stdout, error } = spawnSync(command, args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${error?.message ?? stderr}`)
  return stdout
}

let possible: string | undefined
/** Why there can be none here; undefined where there can. */
export function whyNoVolume(): string | undefined {
  possible ??= tried()
  return possible === '' ? undefined : possible
}
function tried(): string {
  if (process.getuid?.() !== 0) return 'only root may mount a disk'
  try {
    new Volume(8).remove()
    return ''
  } catch (error) {
    return (error as Error).message
  }
}

const mounted = new Set<Volume>()
process.on('exit', () => {
  for (const volume of mounted) volume.remove()
})

const PIECE_BYTES = 4 * 1024 * 1024

export class Volume {
  /** Where it is mounted. */
  readonly path: string
  readonly #image: string
  #ballast = 0

  /** @param mebibytes of the disk; the file system takes some of it */
  constructor(mebibytes: number) {
    const folder = scratch('volume')
    this.path = join(folder, 'disk')
    // In memory, where that is possible: a flush is then no matter of a slow disk below.
    this.#image = existsSync(MEMORY) ? join(MEMORY, `sallyport-volume-${process.pid}-${folder.slice(-6)}`) : join(folder, 'image')
    mkdirSync(this.path)
    const fd = openSync(this.#image, 'w')
    ftruncateSync(fd, mebibytes * 1024 * 1024)
    closeSync(fd)
    mounted.add(this)
    // No space kept back for root: the firmware runs as root here, and must meet a full disk.
    run('mkfs.ext4', '-q', '-m', '0', '-E', 'lazy_itable_init=0,lazy_journal_init=0', this.#image)
    this.mount()
  }

  /** Metadata is written when somebody syncs, and hardly ever by itself. */
  mount(): void {
    run('mount', '-o', 'loop,commit=600', this.#image, this.path)
  }

  unmount(): void {
    run('umount', this.path)
  }

  get freeBytes(): number {
    const { bavail, bsize } = statfsSync(this.path)
    return bavail * bsize
  }

  /** Somebody else's files take everything but so much; 0: until the disk takes no byte more. */
  fill(leaving: number): void {
    // The maps of large files need room too: what is left by one is taken by smaller ones.
    for (let piece = this.freeBytes - leaving; piece >= 4096; ) {
      const { status } = spawnSync('fallocate', ['-l', String(piece), join(this.path, `ballast-${(this.#ballast += 1)}`)])
      if (status !== 0) piece = Math.floor(piece / 2)
      else piece = Math.min(piece, this.freeBytes - leaving)
    }
  }

  /** Takes it away again. */
  relieve(): void {
    run('sh', '-c', `rm -f "${this.path}"/ballast-*`)
  }

  /**
   * The disk as it is at one instant, in the middle of everything; whoever writes to it must stand
   * still meanwhile. Copied until nothing has changed while it was copied.
   */
  snapshot(): string {
    const copy = `${this.#image}.cut`
    for (let tries = 0; tries < 20; tries++) {
      copyFileSync(this.#image, copy)
      if (same(this.#image, copy)) return copy
    }
    throw new Error('the disk does not stand still')
  }

  /** Unmounted, replaced, mounted again: the journal is replayed. */
  replace(snapshot: string): void {
    this.unmount()
    renameSync(snapshot, this.#image)
    this.mount()
  }

  remove(): void {
    mounted.delete(this)
    spawnSync('umount', ['-l', this.path])
    rmSync(this.#image, { force: true })
    rmSync(`${this.#image}.cut`, { force: true })
  }
}

function same(one: string, other: string): boolean {
  const [a, b] = [openSync(one, 'r'), openSync(other, 'r')]
  const [left, right] = [Buffer.alloc(PIECE_BYTES), Buffer.alloc(PIECE_BYTES)]
  try {
    for (let at = 0; ; at += PIECE_BYTES) {
      const [x, y] = [readSync(a, left, 0, PIECE_BYTES, at), readSync(b, right, 0, PIECE_BYTES, at)]
      if (x !== y || left.compare(right, 0, y, 0, x) !== 0) return false
      if (x === 0) return true
    }
  } finally {
    closeSync(a)
    closeSync(b)
  }
}
