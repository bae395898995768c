/** The far end of the floor's TLS connection: reads, and closes when there is no more. */
import { readFileSync } from 'node:fs'
import { createServer } from 'node:tls'

const [port = '', key = '', cert = ''] = process.argv.slice(2)
createServer({ key: readFileSync(key), cert: readFileSync(cert) }, (socket) => {
  socket.resume()
  socket.on('end', () => socket.end())
  socket.on('error', () => socket.destroy())
}).listen(Number(port), '127.0.0.1', () => console.log('ready'))
