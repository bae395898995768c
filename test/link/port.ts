/**
 * Ports that misbehave in one way each, by real sockets.
 */
import { createServer, connect, type AddressInfo, type Socket } from 'node:net'
import { start, until, type Peer } from '../peers/process.ts'

export interface Port {
  readonly port: number
  /** Connections it has taken. */
  readonly taken: () => number
  /** Of those, still open. */
  readonly open: () => number
  close(): Promise<void>
}

/** Takes connections, and does to each what is given. */
export async function portThat(does: (socket: Socket) => void): Promise<Port> {
  const open = new Set<Socket>()
  let taken = 0
  const server = createServer((socket) => {
    taken += 1
    open.add(socket)
    socket.on('error', () => {}).once('close', () => open.delete(socket))
    does(socket)
  })
  await new Promise<void>((resolve) => {
    server.listen(0, resolve)
  })
  return {
    port: (server.address() as AddressInfo).port,
    taken: () => taken,
    open: () => open.size,
    close: () => {
      for (const socket of open) socket.destroy()
      return new Promise((resolve) => {
        server.close(() => resolve())
      })
    },
  }
}

/**
 * A port that drops what comes, as a firewall does: its queue of connections is full, so the
 * kernel does not answer a SYN. `open` makes it take connections from then on.
 */
const SCRIPT = `
use Socket;
socket(S, PF_INET, SOCK_STREAM, 0); setsockopt(S, SOL_SOCKET, SO_REUSEADDR, 1);
bind(S, sockaddr_in(0, INADDR_LOOPBACK)) or die; listen(S, 0) or die;
my ($port) = sockaddr_in(getsockname(S));
$SIG{USR1} = sub { $open = 1 };
$| = 1; print "port $port\n";
sleep 1 until $open;
while (accept(my $c, S)) { push @kept, $c; }
`

export interface BlackHole {
  readonly port: number
  open(): void
  stop(): Promise<unknown>
}

export async function blackHole(): Promise<BlackHole> {
  const peer: Peer = await start('perl', ['-e', SCRIPT], { ready: /port \d+/ })
  const port = Number(/port (\d+)/.exec(peer.output())?.[1])
  // The queue of length 0 holds one or two.
  const fillers: Socket[] = []
  await until('the queue is full', async () => {
    const socket = connect(port, '127.0.0.1')
    fillers.push(socket)
    socket.on('error', () => {})
    return new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => resolve(true), 300)
      socket.once('connect', () => {
        clearTimeout(timer)
        resolve(false)
      })
    })
  })
  return {
    port,
    open: () => process.kill(peer.pid, 'SIGUSR1'),
    stop: () => {
      for (const socket of fillers) socket.destroy()
      return peer.stop()
    },
  }
}
