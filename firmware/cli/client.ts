/**
 * The command line's side of the control API.
 */
import fs from 'node:fs'
import http from 'node:http'
import path from 'node:path'
import readline from 'node:readline'
import { complaintText } from '../config/complaint.ts'
import { loadConfig } from '../config/file.ts'
import type { Settings } from '../config/file.ts'
import { EXIT } from './commands.ts'

export const socketOf = (runtime: string): string => path.join(runtime, 'control.sock')

/** Where `npm start` keeps its pair. */
export const DEMO_DIRECTORY = path.join('var', 'demo')

/** Loads a configuration or says what is wrong with it on stderr. */
export function settingsOf(file: string): Settings | undefined {
  const loaded = loadConfig(file, process.env)
  if ('settings' in loaded) return loaded.settings
  for (const complaint of loaded.complaints) process.stderr.write(complaintText(file, complaint) + '\n')
  return undefined
}

export interface Place {
  /** The configuration file. */
  readonly file: string
  readonly settings: Settings
  readonly socket: string
}

/**
 * Which firmware is meant: the configuration named, else the demo pair's box and hub where
 * they are. @returns the exit status when there is none.
 */
export function placesOf(config: string | undefined): Place[] | number {
  const files = config === undefined
    ? ['box', 'hub'].map((role) => path.join(DEMO_DIRECTORY, role, 'sallyport.yaml')).filter((file) => fs.existsSync(file))
    : [config]
  if (files.length === 0) {
    process.stderr.write('sallyport: no --config FILE was named, and there is no demo here (npm start makes one)\n')
    return EXIT.usage
  }
  const places: Place[] = []
  for (const file of files) {
    const settings = settingsOf(file)
    if (!settings) return EXIT.usage
    places.push({ file, settings, socket: socketOf(settings.runtime) })
  }
  return places
}

/** The firmware answered, but not with what was asked for. */
export class Refused extends Error {
  readonly code: string
  constructor(message: string, code = '') {
    super(message)
    this.code = code
  }
}
/** Nobody listens on the control socket. */
export class Absent extends Error {}

/** @throws Refused with a sentence, Absent */
export async function ask<T>(socket: string, method: 'GET' | 'POST', url: string, body?: object): Promise<T> {
  const response = await open(socket, method, url, body)
  const parts: Buffer[] = []
  for await (const part of response as AsyncIterable<Buffer>) parts.push(part)
  const value = JSON.parse(Buffer.concat(parts).toString('utf8')) as T & { code?: string; sentence?: string; remedy?: string }
  if (response.statusCode !== 200) throw new Refused([value.sentence, value.remedy].filter(Boolean).join(' '), value.code)
  return value
}

/** One value a line. */
export async function* follow<T>(socket: string, url: string): AsyncGenerator<T> {
  const response = await open(socket, 'GET', url)
  if (response.statusCode !== 200) {
    const parts: Buffer[] = []
    for await (const part of response as AsyncIterable<Buffer>) parts.push(part)
    throw new Refused((JSON.parse(Buffer.concat(parts).toString('utf8')) as { sentence: string }).sentence)
  }
  for await (const line of readline.createInterface({ input: response })) yield JSON.parse(line) as T
}

function open(socketPath: string, method: string, url: string, body?: object): Promise<http.IncomingMessage> {
  return new Promise((resolve, reject) => {
    const request = http.request({ socketPath, method, path: url, agent: false }, resolve)
    request.once('error', (error: NodeJS.ErrnoException) => {
      const absent = error.code === 'ENOENT' || error.code === 'ECONNREFUSED' || error.code === 'EACCES' || error.code === 'ECONNRESET'
      reject(absent ? new Absent(`nothing answers at ${socketPath} (${error.code}); is it running?`) : error)
    })
    request.end(body === undefined ? undefined : JSON.stringify(body))
  })
}

/** Runs a command's body; turns what went wrong into a message and an exit status. */
export async function saying(body: () => Promise<number>): Promise<number> {
  try {
    return await body()
  } catch (error) {
    if (error instanceof Absent || error instanceof Refused) {
      process.stderr.write(`sallyport: ${error.message}\n`)
      if (error instanceof Absent) return EXIT.absent
      return error.code === 'BAD_CALL' ? EXIT.usage : EXIT.failed
    }
    throw error
  }
}
