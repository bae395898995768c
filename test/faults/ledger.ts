/**
 * What a sender was told is safe, against what has arrived: the one question of every test here.
 */
import { hash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { dicomFiles } from '../pair.ts'
import { part10 } from '../peers/dataset.ts'
import type { Image } from './images.ts'

/** Names of images, none of them where all is well. */
export interface Findings {
  /** Acknowledged, and not there. */
  readonly lost: string[]
  /** There, and not what was sent; or nobody sent it. */
  readonly altered: string[]
  /** A second file under one UID. */
  readonly twice: string[]
}

export class Ledger {
  readonly #sent = new Map<string, Image>()
  readonly #acknowledged = new Set<string>()
  /** Files found right before, by path. */
  readonly #known = new Map<string, string>()
  bytes = 0

  /** Written down before the first byte leaves: it may arrive even if the answer does not. */
  send(image: Image): void {
    this.#sent.set(image.sopInstance, image)
  }

  acknowledge(image: Image): void {
    if (this.#acknowledged.has(image.sopInstance)) return
    this.#acknowledged.add(image.sopInstance)
    this.bytes += image.bytes
  }

  get acknowledged(): number {
    return this.#acknowledged.size
  }

  get images(): readonly Image[] {
    return [...this.#sent.values()]
  }

  has(sopInstance: string): boolean {
    return this.#acknowledged.has(sopInstance)
  }

  /** Every file is read each time, unless `again` is false: then only those not yet found right. */
  compare(folder: string, again = true): Findings {
    const findings: Findings = { lost: [], altered: [], twice: [] }
    const there = new Set<string>()
    for (const path of dicomFiles(folder)) {
      const name = basename(path, '.dcm')
      const known = again ? undefined : this.#known.get(path)
      if (known === undefined && !this.#isSound(path)) findings.altered.push(path)
      const sopInstance = known ?? this.#known.get(path) ?? name
      if (sopInstance !== name || there.has(sopInstance)) findings.twice.push(path)
      there.add(sopInstance)
    }
    for (const sopInstance of this.#acknowledged) if (!there.has(sopInstance)) findings.lost.push(sopInstance)
    return findings
  }

  #isSound(path: string): boolean {
    try {
      const found = part10(readFileSync(path))
      const image = this.#sent.get(found.sopInstance)
      if (image === undefined || hash('sha256', found.dataSet) !== image.digest) return false
      if (found.sopClass !== image.sopClass || found.transferSyntax !== image.transferSyntax) return false
      this.#known.set(path, found.sopInstance)
      return true
    } catch {
      return false
    }
  }

  /** Forgets those that are acknowledged and were found: a long run would fill memory and disk. */
  forget(): string[] {
    const paths = [...this.#known].filter(([, sopInstance]) => this.#acknowledged.has(sopInstance))
    for (const [path, sopInstance] of paths) {
      this.#known.delete(path)
      this.#sent.delete(sopInstance)
      this.#acknowledged.delete(sopInstance)
    }
    return paths.map(([path]) => path)
  }
}
