/**
 * DCMTK's programs say in their log when they did what, to the millisecond, in a file of their
 * own: so nobody has to read along while the clock runs. At the level `info` they would print a
 * dot for every PDU, which costs more than the PDU.
 */
import { closeSync, existsSync, openSync, readFileSync, readSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { scratch } from '../peers/process.ts'

let made = 0

export class DcmtkLog {
  readonly #file: string
  readonly #config: string
  #offset = 0
  #rest = ''
  /** Times of each line searched for, milliseconds since 1970. */
  readonly #times = new Map<string, number[]>()

  /** @param words beginnings of the lines whose times are wanted */
  constructor(...words: string[]) {
    const folder = scratch('dcmtk-log')
    this.#file = join(folder, 'log')
    this.#config = join(folder, 'config')
    made += 1
    const name = `f${made}`
    writeFileSync(this.#config, [
      `log4cplus.rootLogger = INFO, ${name}`,
      'log4cplus.logger.dcmtk.apps = DEBUG',
      `log4cplus.appender.${name} = log4cplus::FileAppender`,
      `log4cplus.appender.${name}.File = ${this.#file}`,
      `log4cplus.appender.${name}.Append = true`,
      `log4cplus.appender.${name}.ImmediateFlush = true`,
      `log4cplus.appender.${name}.Threshold = INFO`,
      `log4cplus.appender.${name}.layout = log4cplus::PatternLayout`,
      `log4cplus.appender.${name}.layout.ConversionPattern = %D{%s.%q} %m%n`,
      '',
    ].join('\n'))
    for (const word of words) this.#times.set(word, [])
  }

  get options(): string[] {
    return ['--log-config', this.#config]
  }

  /** In the order of the file; reads what was written since the last call. */
  times(word: string): readonly number[] {
    this.#read()
    return this.#times.get(word) ?? []
  }

  get text(): string {
    return existsSync(this.#file) ? readFileSync(this.#file, 'utf8') : ''
  }

  #read(): void {
    if (!existsSync(this.#file)) return
    const fd = openSync(this.#file, 'r')
    const buffer = Buffer.alloc(256 * 1024)
    for (let count = readSync(fd, buffer, 0, buffer.length, this.#offset); count > 0; count = readSync(fd, buffer, 0, buffer.length, this.#offset)) {
      this.#offset += count
      const lines = (this.#rest + buffer.toString('latin1', 0, count)).split('\n')
      this.#rest = lines.pop() ?? ''
      for (const line of lines) this.#take(line)
    }
    closeSync(fd)
  }

  #take(line: string): void {
    const space = line.indexOf(' ')
    for (const [word, times] of this.#times) if (line.startsWith(word, space + 1)) times.push(Number(line.slice(0, space)) * 1000)
  }
}
