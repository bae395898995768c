/**
 * The process behind dimse.ts: a dcmjs-dimse SCP or SCU that does what its standard input says.
 */
import { createWriteStream, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Writable } from 'node:stream'
import dimse from 'dcmjs-dimse'
import type { ChildTls, Order } from './dimse.ts'

const { Client, constants, log, requests, responses, Scp, Server } = dimse
type CStoreRequest = InstanceType<typeof requests.CStoreRequest>
type CStoreResponse = InstanceType<typeof responses.CStoreResponse>
type CEchoRequest = InstanceType<typeof requests.CEchoRequest>
type CEchoResponse = InstanceType<typeof responses.CEchoResponse>

const order = JSON.parse(readFileSync(0, 'utf8')) as Order
// At its default level it prints what it sends and receives.
log.setLevel('warn')

const security = (tls: ChildTls | undefined) =>
  tls === undefined
    ? {}
    : {
        securityOptions: {
          ca: tls.ca,
          requestCert: true,
          rejectUnauthorized: true,
          ...(tls.key === undefined || tls.cert === undefined ? {} : { key: tls.key, cert: tls.cert }),
        },
      }

function serve({ port, folder, status, tls }: Extract<Order, { kind: 'scp' }>): void {
  class Store extends Scp {
    override associationRequested(association: InstanceType<typeof dimse.association.Association>): void {
      for (const { id } of association.getPresentationContexts()) {
        const context = association.getPresentationContext(id)
        const first = context.getTransferSyntaxUids()[0]
        if (first !== undefined) context.setResult(constants.PresentationContextResult.Accept, first)
      }
      this.sendAssociationAccept()
    }
    // The hook that gives the bytes as they came; the default one re-encodes what it parsed.
    override createStoreWritableStream(_context: unknown, request: CStoreRequest): Writable {
      return createWriteStream(join(folder, request.getAffectedSopInstanceUid()))
    }
    override createDatasetFromStoreWritableStream(stream: Writable, _syntax: unknown, callback: (dataset: never) => void): void {
      const done = () => callback(undefined as never)
      if (stream.writableFinished) done()
      else stream.once('finish', done)
    }
    override cStoreRequest(request: CStoreRequest, callback: (response: CStoreResponse) => void): void {
      const response = responses.CStoreResponse.fromRequest(request)
      response.setStatus(status)
      callback(response)
    }
    override cEchoRequest(request: CEchoRequest, callback: (response: CEchoResponse) => void): void {
      const response = responses.CEchoResponse.fromRequest(request)
      response.setStatus(constants.Status.Success)
      callback(response)
    }
    override associationReleaseRequested(): void {
      this.sendAssociationReleaseResponse()
    }
  }
  const server = new Server(Store)
  server.on('networkError', (error) => console.error('network error', error))
  server.listen(port, security(tls))
}

function ask({ host, port, calling, called, files, tls }: Extract<Order, { kind: 'scu' }>): void {
  const client = new Client()
  const all = files.length === 0 ? [new requests.CEchoRequest()] : files.map((file) => new requests.CStoreRequest(file))
  for (const [index, request] of all.entries()) {
    request.on('response', (response: CStoreResponse) => console.log(`status ${index} ${response.getStatus()}`))
    client.addRequest(request)
  }
  client.on('networkError', (error) => {
    console.error('network error', error)
    process.exit(1)
  })
  client.on('associationRejected', (reason) => console.log('rejected', JSON.stringify(reason)))
  client.on('closed', () => process.exit(0))
  client.send(host, port, calling, called, security(tls))
}

if (order.kind === 'scp') serve(order)
else ask(order)
