/**
 * The programs the tests run as real peers and instruments, and the Debian package each is in.
 * On a bare Debian 12 the missing ones are installed; elsewhere a person is told what to do.
 */
import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'

const REQUIREMENTS = [
  { program: 'storescp', package: 'dcmtk' },
  { program: 'Orthanc', package: 'orthanc' },
  { program: 'openssl', package: 'openssl' },
  { program: 'tcpdump', package: 'tcpdump' },
  { program: 'ip', package: 'iproute2' },
  { program: 'ps', package: 'procps' },
  { program: 'strace', package: 'strace' },
  { program: 'time', package: 'time' },
  { program: 'mount', package: 'mount' },
  { program: 'losetup', package: 'mount' },
  { program: 'setpriv', package: 'util-linux' },
] as const

/** Debian keeps daemons and instruments in sbin, which a plain user's PATH leaves out. */
export const SEARCH = [process.env.PATH ?? '', '/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/bin', '/bin'].join(delimiter)

const found = (program: string): boolean =>
  SEARCH.split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK)
      return true
    } catch {
      return false
    }
  })

const missing = (): string[] =>
  [...new Set(REQUIREMENTS.filter(({ program }) => !found(program)).map((row) => row.package))]

const POLICY = '/usr/sbin/policy-rc.d'

/**
 * `orthanc` starts a server on 8042 and 4242 as soon as it is installed; the tests start their
 * own, on free ports. So the package manager is told to start nothing (Debian Policy 9.3.3.1),
 * and the service is switched off for later boots. One that was there before is left alone.
 */
function install(packages: string[]): boolean {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', PATH: SEARCH }
  const run = (command: string, args: string[]) =>
    spawnSync(command, args, { env, stdio: ['ignore', 'inherit', 'inherit'] }).status === 0
  const wait = ['-o', 'DPkg::Lock::Timeout=300', '-q']
  const ownPolicy = !existsSync(POLICY)
  try {
    if (ownPolicy) writeFileSync(POLICY, '#!/bin/sh\nexit 101\n', { mode: 0o755 })
    if (!run('apt-get', [...wait, 'update'])) return false
    if (!run('apt-get', [...wait, 'install', '-y', '--no-install-recommends', ...packages])) return false
    if (packages.includes('orthanc')) {
      run('update-rc.d', ['orthanc', 'disable'])
      run('deb-systemd-helper', ['disable', 'orthanc.service'])
      if (!ownPolicy) run('service', ['orthanc', 'stop']) // the policy found here may have let it start
    }
  } finally {
    if (ownPolicy) rmSync(POLICY, { force: true })
  }
  return true
}

/** True when everything is there, now or after installing; says what it does and what is missing. */
export function provide(): boolean {
  const packages = missing()
  if (packages.length === 0) return true
  const command = `apt-get update && apt-get install -y --no-install-recommends ${packages.join(' ')}`
  if (process.getuid?.() !== 0 || !found('apt-get')) {
    console.log(`The tests run real peers, and these Debian packages are missing: ${packages.join(', ')}`)
    console.log(`Run as root:  ${command}`)
    return false
  }
  console.log(`Installing what the tests need: ${packages.join(', ')}`)
  if (install(packages) && missing().length === 0) return true
  console.log(`Could not install. Missing still: ${missing().join(', ')}. By hand, as root:  ${command}`)
  return false
}
