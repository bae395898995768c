/**
 * What is sent: CT images of 512 × 512, 525 KB each, as Part 10 files in memory where the system
 * has a memory file system, so that reading them costs no disk.
 *
 * A receiver recognises what it has seen, so every measurement needs images that are new to it:
 * `renew` gives all of them other UIDs in place.
 */
import { accessSync, constants, mkdtempSync, openSync, closeSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { syntheticSeries } from '../../firmware/cli/synthetic.ts'
import { fileMeta } from '../../firmware/dicom/file-meta.ts'

/** Last digits of a UID that are rewritten: seven for the run, five for the instance. */
const DIGITS = 12

/** Where a UID's last digits stand in a file. */
interface Place {
  readonly at: number
  readonly instance: number
}

const memory = (): string => {
  try {
    accessSync('/dev/shm', constants.W_OK)
    return '/dev/shm'
  } catch {
    return tmpdir()
  }
}

export class Series {
  readonly folder: string
  readonly files: readonly string[]
  /** Bytes of one data set. */
  readonly bytesEach: number
  readonly #places: readonly (readonly Place[])[]

  private constructor(folder: string, files: string[], bytesEach: number, places: Place[][]) {
    this.folder = folder
    this.files = files
    this.bytesEach = bytesEach
    this.#places = places
  }

  static write(instances: number): Series {
    const folder = mkdtempSync(join(memory(), 'sallyport-series-'))
    process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
    const files: string[] = []
    const places: Place[][] = []
    let bytesEach = 0
    for (const object of syntheticSeries(instances)) {
      const file = join(folder, `ct-${String(files.length + 1).padStart(5, '0')}.dcm`)
      const whole = Buffer.concat([fileMeta(object), object.bytes])
      writeFileSync(file, whole)
      places.push([...ends(whole, object.sopInstance, files.length + 1), ...ends(whole, object.study, 0)])
      files.push(file)
      bytesEach = object.bytes.length
    }
    return new Series(folder, files, bytesEach, places)
  }

  renew(): void {
    const run = Math.floor(Math.random() * 1e7)
    for (const [index, file] of this.files.entries()) {
      const fd = openSync(file, 'r+')
      for (const { at, instance } of this.#places[index] ?? []) {
        writeSync(fd, String(run).padStart(7, '0') + String(instance).padStart(DIGITS - 7, '0'), at)
      }
      closeSync(fd)
    }
  }
}

/** The UID's tail, wherever it stands before the pixels. */
function ends(whole: Buffer, uid: string, instance: number): Place[] {
  const head = whole.subarray(0, 4096)
  const places: Place[] = []
  for (let at = head.indexOf(uid); at >= 0; at = head.indexOf(uid, at + 1)) places.push({ at: at + uid.length - DIGITS, instance })
  return places
}
