/**
 * The control API: HTTP over a Unix socket that only this user may open. The command line and
 * the admin page come through here; there is no second way in.
 *
 *   GET  /status                      what is so
 *   GET  /queue?state&destination&tenant&after&limit
 *   GET  /queue/ID                    one instance
 *   POST /queue/retry                 {id?, destination?}      held → queued
 *   POST /queue/discard               {id, destination?, reason}
 *   GET  /receipts?limit              newest first
 *   GET  /link/test?destination       NDJSON, one step a line
 *   GET  /spool/objects?after&limit   leases to read objects with (verify, export)
 *   POST /spool/rebuild               index made anew from the files
 *
 * Errors: 400 with {code, sentence, remedy}; 404; 413 for a body above LIMITS.controlBytes.
 */
import fs from 'node:fs'
import http from 'node:http'
import path from 'node:path'
import { Fault } from '../domain/errors.ts'
import { LIMITS } from '../domain/limits.ts'

export interface Call {
  readonly query: URLSearchParams
  readonly body: Record<string, unknown>
  /** The part of the path a `*` stood for. */
  readonly rest: string
}

/** A plain value is answered as JSON; an async iterable as one JSON object a line. */
export type Serve = (call: Call) => unknown
export type Routes = Readonly<Record<string, Serve>>

/** @throws the error of the file system */
export async function openControl(socketPath: string, routes: Routes): Promise<http.Server> {
  fs.mkdirSync(path.dirname(socketPath), { recursive: true, mode: 0o700 })
  // Whoever holds the index's lock owns this path: a socket left by a killed predecessor is stale.
  fs.rmSync(socketPath, { force: true })
  const server = http.createServer((request, response) => {
    answer(routes, request, response).catch((error: unknown) => {
      if (error instanceof Fault) return json(response, 400, { code: error.code, sentence: error.message, remedy: error.remedy })
      if (error instanceof BadCall) return json(response, error.status, { code: 'BAD_CALL', sentence: error.message, remedy: '' })
      // Anything else is a defect of ours.
      throw error
    })
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    // Bound within this call: there is no moment in which another user could open it.
    const umask = process.umask(0o177)
    server.listen(socketPath, resolve)
    process.umask(umask)
  })
  return server
}

/** A call that is wrong in itself. */
export class BadCall extends Error {
  readonly status: number
  constructor(message: string, status = 400) {
    super(message)
    this.status = status
  }
}

async function answer(routes: Routes, request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
  const { method = 'GET', url = '/' } = request
  const [address = '', query = ''] = url.split('?', 2)
  const exact = routes[`${method} ${address}`]
  const parent = address.slice(0, address.lastIndexOf('/'))
  const serve = exact ?? routes[`${method} ${parent}/*`]
  if (!serve) throw new BadCall(`there is no ${method} ${address}`, 404)
  const body = method === 'POST' ? await readBody(request) : {}
  const result = await serve({ query: new URLSearchParams(query), body, rest: exact ? '' : address.slice(parent.length + 1) })
  if (!isStream(result)) return json(response, 200, result ?? {})
  response.writeHead(200, { 'content-type': 'application/x-ndjson' })
  for await (const line of result) {
    // Nothing is kept for a client that does not read, and nothing done for one that is gone.
    if (!response.write(JSON.stringify(line) + '\n')) await drained(response)
    if (response.destroyed) return
  }
  response.end()
}

const drained = (response: http.ServerResponse): Promise<void> =>
  new Promise((resolve) => {
    if (response.destroyed) return resolve()
    response.once('drain', resolve)
    response.once('close', resolve)
  })

const isStream = (value: unknown): value is AsyncIterable<unknown> =>
  typeof value === 'object' && value !== null && Symbol.asyncIterator in value

function json(response: http.ServerResponse, status: number, value: unknown): void {
  if (response.headersSent) {
    response.destroy()
    return
  }
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value) + '\n')
}

async function readBody(request: http.IncomingMessage): Promise<Record<string, unknown>> {
  const parts: Buffer[] = []
  let length = 0
  try {
    for await (const part of request as AsyncIterable<Buffer>) {
      length += part.length
      if (length <= LIMITS.controlBytes) parts.push(part)
    }
  } catch {
    throw new BadCall('the body stopped before its end')
  }
  if (length > LIMITS.controlBytes) throw new BadCall(`a body of at most ${LIMITS.controlBytes} bytes is taken`, 413)
  if (length === 0) return {}
  try {
    const value: unknown = JSON.parse(Buffer.concat(parts).toString('utf8'))
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>
  } catch {
    // said below
  }
  throw new BadCall('the body must be a JSON object')
}
