/**
 * Real DICOM files that tests read where they are and never copy: the folder named by
 * SALLYPORT_CORPUS, or `corpus` in the folder `shared` beside the project.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { part10, type Part10 } from './dataset.ts'

const FOLDER = process.env.SALLYPORT_CORPUS ?? resolve(import.meta.dirname, '../../../shared/corpus')

export interface CorpusFile extends Part10 {
  readonly path: string
  readonly name: string
}

export interface Corpus {
  readonly present: boolean
  /** What to say in a test that has to do without. */
  readonly sentence: string
  /** Some are broken on purpose. */
  readonly mixed: readonly string[]
  readonly series: readonly string[]
}

const list = (folder: string): string[] => {
  const path = join(FOLDER, folder)
  return existsSync(path) ? readdirSync(path).sort().map((name) => join(path, name)) : []
}

export function corpus(): Corpus {
  const mixed = list('mixed')
  const series = list('mr-series')
  const present = mixed.length > 0 && series.length > 0
  const sentence = present ? `${mixed.length} + ${series.length} files` : 'corpus absent: set SALLYPORT_CORPUS to its folder'
  return { present, sentence, mixed, series }
}

/** Those of `paths` that are Part 10 and name class, instance and transfer syntax: what a sender could offer. */
export function readable(paths: readonly string[]): CorpusFile[] {
  return paths.flatMap((path) => {
    try {
      const file = part10(readFileSync(path))
      const whole = file.sopClass !== '' && file.sopInstance !== '' && file.transferSyntax !== ''
      return whole ? [{ ...file, path, name: path.slice(path.lastIndexOf('/') + 1) }] : []
    } catch {
      return []
    }
  })
}
