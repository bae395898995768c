/**
 * The commands, and what their exit status means. Data goes to stdout, messages to stderr.
 */
export const EXIT = {
  ok: 0,
  /** It ran, and something in it failed, was refused or was found wrong. */
  failed: 1,
  /** The call or the configuration is wrong; nothing was done. */
  usage: 2,
  /** The firmware this command talks to is not running. */
  absent: 3,
} as const

export interface Command {
  /** @returns the exit status; undefined while it goes on running. */
  run(args: string[]): Promise<number | undefined> | number | undefined
}

interface Entry {
  readonly brief: string
  readonly load: () => Promise<Command>
  /** Started by the firmware itself. */
  readonly hidden?: boolean
}

export const COMMANDS: Readonly<Record<string, Entry>> = {
  demo: { brief: 'a box and a hub on this machine, joined by mutual TLS', load: () => import('./demo.ts') },
  box: { brief: 'run the box: --config FILE', load: () => import('./box.ts') },
  hub: { brief: 'run the hub: --config FILE', load: () => import('./hub.ts') },
  status: { brief: 'what is so, in one sentence and a table; --watch, --json', load: () => import('./status.ts') },
  queue: { brief: 'what waits and what is held: list, show, retry, discard', load: () => import('./queue.ts') },
  link: { brief: 'test the way to a destination step by step: test', load: () => import('./link.ts') },
  spool: { brief: 'the images on the disk: verify, rebuild, export', load: () => import('./spool.ts') },
  send: { brief: 'send DICOM files or folders, byte for byte', load: () => import('./send.ts') },
  sample: { brief: 'write a synthetic study to a folder', load: () => import('./sample.ts') },
  config: { brief: 'check a configuration file: check', load: () => import('./config.ts') },
  worker: { brief: 'a worker process', load: () => import('./worker.ts'), hidden: true },
}

export function overview(): string {
  const rows = Object.entries(COMMANDS).filter(([, entry]) => !entry.hidden)
  return `Sallyport: keeps a clinic's images safe and hands them over, as often as it takes.

  sallyport COMMAND [OPTIONS]        sallyport COMMAND --help says more

${rows.map(([name, { brief }]) => `  ${name.padEnd(8)} ${brief}`).join('\n')}

Exit status: 0 done; 1 something failed, was refused or found wrong; 2 wrong call or
configuration; 3 the firmware it talks to is not running.
`
}

/** @returns the exit status; undefined while the command goes on running. */
export async function runCommand([name = '', ...args]: string[]): Promise<number | undefined> {
  if (name === '' || name === '--help' || name === 'help') {
    process.stdout.write(overview())
    return name === '' ? EXIT.usage : EXIT.ok
  }
  if (name === '--version') {
    const { version } = await import('../platform/version.ts')
    process.stdout.write(version + '\n')
    return EXIT.ok
  }
  const entry = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  if (!entry) {
    process.stderr.write(`sallyport: there is no command ${name}; sallyport --help lists them\n`)
    return EXIT.usage
  }
  // `sallyport … | head`: what nobody reads is not written. Sending goes on, everything else ends.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
    if (name !== 'send') process.exit()
  })
  const command = await entry.load()
  return command.run(args)
}
