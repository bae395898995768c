/**
 * `kill -9` at random instants under load, and the question after each round: is everything that
 * was acknowledged at the far end, once and unaltered? CI runs 300 cycles, `npm run kill` as many
 * as one likes.
 *
 * A cycle is one kill done: of the supervisor, the receive or the forward worker of box or hub,
 * of a whole side, or of everything at one instant. What was killed is started again as systemd
 * would, and may be killed again while it starts.
 */
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { startPair, type Pair, type Side } from '../pair.ts'
import { until } from '../peers/process.ts'
import { Chance } from './chance.ts'
import { anySize, image, newRoot } from './images.ts'
import { Keeper, PARTS } from './keeper.ts'
import { Ledger, type Findings } from './ledger.ts'
import { answersOf, Modality } from './modality.ts'

export interface KillOptions {
  readonly cycles: number
  readonly seed?: number
  /** Kills between two checks. */
  readonly every: number
  readonly say: (line: string) => void
  /** What was found right is removed after each check. */
  readonly forget?: boolean
}

export interface KillReport {
  readonly seed: number
  /** By what was killed: `box receive`, `everything`. */
  readonly kills: ReadonlyMap<string, number>
  readonly acknowledged: number
  readonly lost: readonly string[]
  readonly altered: readonly string[]
  readonly twice: readonly string[]
  /** What is left where nothing should be: processes, parts, objects, alarms, traces of crashes. */
  readonly left: readonly string[]
  readonly summary: string
}

const WEIGHTS = {
  'box supervisor': 10, 'box receive': 16, 'box forward': 16, 'hub supervisor': 10, 'hub receive': 16, 'hub forward': 16,
  'whole box': 4, 'whole hub': 4, everything: 4,
}
type Victim = keyof typeof WEIGHTS

const SENDERS = 4
const DRAIN_MILLIS = 120_000

class Run {
  readonly #options: KillOptions
  readonly #chance: Chance
  readonly #pair: Pair
  readonly #box: Keeper
  readonly #hub: Keeper
  readonly #modalities: Modality[] = []
  /** Clinic to hub, and hub to clinic. */
  readonly #out = new Ledger()
  readonly #back = new Ledger()
  readonly #kills = new Map<string, number>()
  readonly #found: Record<keyof Findings, string[]> = { lost: [], altered: [], twice: [] }
  readonly #left: string[] = []
  #acknowledged = 0
  #bytes = 0
  #drainMillis = 0

  constructor(options: KillOptions, pair: Pair) {
    this.#options = options
    this.#chance = new Chance(options.seed)
    this.#pair = pair
    this.#box = new Keeper(pair.box)
    this.#hub = new Keeper(pair.hub)
    const root = newRoot()
    let number = 0
    const next = () => image(root, (number += 1), anySize(this.#chance))
    for (let sender = 0; sender <= SENDERS; sender++) {
      const back = sender === SENDERS
      const [port, ledger] = back ? [pair.ports.hub, this.#back] : [pair.ports.box, this.#out]
      const chance = new Chance(this.#chance.between(0, 2 ** 31))
      this.#modalities.push(new Modality({ port, ledger, chance, next, callingAe: back ? 'PACS' : `CT${sender}`, again: 0.05, restMillis: back ? 40 : 15 }))
    }
  }

  get #keepers(): Keeper[] {
    return [this.#box, this.#hub]
  }

  async go(): Promise<KillReport> {
    const began = performance.now()
    for (const keeper of this.#keepers) keeper.start()
    for (const modality of this.#modalities) modality.start()
    let done = 0
    while (done < this.#options.cycles) {
      const round = Math.min(this.#options.every, this.#options.cycles - done)
      for (let left = round; left > 0; ) if (await this.#killOne()) left -= 1
      done += round
      const last = done >= this.#options.cycles
      await this.#check(last)
      this.#options.say(`${done} kills, ${this.#acknowledged + this.#out.acknowledged + this.#back.acknowledged} acknowledged, ${this.#sayFound()}`)
      if (!last) for (const modality of this.#modalities) modality.start()
    }
    await this.#lookForLeftovers()
    return this.#report((performance.now() - began) / 1000)
  }

  /** Half of them follow closely: what is starting, or cleaning up after the last, is killed as well. */
  async #killOne(): Promise<boolean> {
    await sleep(this.#chance.hits(0.4) ? this.#chance.between(0, 250) : this.#chance.between(250, 1200))
    const victim = this.#chance.weighted(WEIGHTS)
    if (!(await this.#kill(victim))) return false
    this.#kills.set(victim, (this.#kills.get(victim) ?? 0) + 1)
    return true
  }

  async #kill(victim: Victim): Promise<boolean> {
    if (victim === 'everything') return (await Promise.all(this.#keepers.map((keeper) => keeper.killAll()))).some(Boolean)
    if (victim === 'whole box') return this.#box.killAll()
    if (victim === 'whole hub') return this.#hub.killAll()
    const [role, part] = victim.split(' ') as ['box' | 'hub', (typeof PARTS)[number]]
    return (role === 'box' ? this.#box : this.#hub).kill(part)
  }

  /** Nothing is killed meanwhile: the senders finish, both spools empty, and all must be there. */
  async #check(last: boolean): Promise<void> {
    const began = performance.now()
    await Promise.all(this.#modalities.map((modality) => modality.stop()))
    // The box once more: what is on its way back enters it from the hub after it was found empty.
    for (const keeper of [this.#box, this.#hub, this.#box]) await keeper.drained(DRAIN_MILLIS).catch((error: unknown) => this.#stuck(keeper, error))
    this.#drainMillis = Math.max(this.#drainMillis, performance.now() - began)
    for (const [ledger, folder] of this.#ends()) {
      const findings = ledger.compare(folder, last)
      const way = ledger === this.#back ? 'hub to box' : 'box to hub'
      for (const kind of ['lost', 'altered', 'twice'] as const) this.#found[kind].push(...findings[kind].map((one) => `${way}: ${one}`))
      if (this.#options.forget !== true || last) continue
      this.#acknowledged += ledger.acknowledged
      for (const path of ledger.forget()) rmSync(path)
      this.#acknowledged -= ledger.acknowledged
    }
  }

  #ends(): [Ledger, string][] {
    return [[this.#out, this.#pair.delivered], [this.#back, join(this.#pair.box.folder, 'returned')]]
  }

  async #stuck(keeper: Keeper, error: unknown): Promise<void> {
    this.#left.push((error as Error).message)
    const rows = await keeper.status().then((status) => JSON.stringify({ destinations: status.destinations, alarms: status.alarms }), String)
    this.#left.push(rows)
  }

  async #lookForLeftovers(): Promise<void> {
    for (const keeper of this.#keepers) {
      const { alarms, destinations } = await keeper.status()
      for (const alarm of alarms) this.#left.push(`${keeper.side.role}: alarm ${alarm.code}`)
      for (const { name, held } of destinations) if (held > 0) this.#left.push(`${keeper.side.role}: ${held} held for ${name}`)
    }
    // Killed once more, supervisors alone: their workers must not outlive them.
    for (const keeper of this.#keepers) await keeper.kill('supervisor')
    for (const keeper of this.#keepers) await keeper.drained(20_000)
    for (const keeper of this.#keepers) {
      const code = await keeper.stop()
      if (code !== 0) this.#left.push(`${keeper.side.role}: told to stop, it ended with ${code}`)
    }
    await until('every process to be gone', () => processesOf(this.#pair.folder).length === 0, 10_000).catch(() =>
      this.#left.push(...processesOf(this.#pair.folder).map((one) => `alive: ${one}`)),
    )
    await sleep(100) // the last output is heard when it closes
    for (const keeper of this.#keepers) this.#left.push(...keeper.remarks, ...leftIn(keeper.side))
  }

  #sayFound(): string {
    return `${this.#found.lost.length} lost, ${this.#found.altered.length} altered, ${this.#found.twice.length} twice`
  }

  #report(seconds: number): KillReport {
    const acknowledged = this.#acknowledged + this.#out.acknowledged + this.#back.acknowledged
    this.#bytes = this.#out.bytes + this.#back.bytes
    const kills = [...this.#kills.values()].reduce((sum, one) => sum + one, 0)
    const events = new Map<string, number>()
    for (const keeper of this.#keepers) for (const [event, times] of keeper.events) events.set(event, (events.get(event) ?? 0) + times)
    const summary =
      `seed ${this.#chance.seed}: ${kills} kills in ${seconds.toFixed(0)} s (${[...this.#kills].map(([what, times]) => `${what} ${times}`).join(', ')}); ` +
      `${acknowledged} images acknowledged (${(this.#bytes / 1e6).toFixed(0)} MB), ${this.#sayFound()}; ` +
      `longest emptying ${(this.#drainMillis / 1000).toFixed(1)} s; answers ${answersOf(this.#modalities)}; ` +
      `log ${[...events].sort((a, b) => b[1] - a[1]).map(([event, times]) => `${event} ${times}`).join(', ')}`
    return { seed: this.#chance.seed, kills: this.#kills, acknowledged, ...this.#found, left: this.#left, summary }
  }

  async end(): Promise<void> {
    await Promise.all(this.#keepers.map((keeper) => keeper.end()))
    await Promise.all(this.#modalities.map((modality) => modality.leave()))
  }
}

/** Command lines that name the folder. */
function processesOf(folder: string): string[] {
  return readdirSync('/proc').flatMap((pid) => {
    if (!/^\d+$/.test(pid)) return []
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
      return command.includes(folder) ? [`${pid} ${command}`] : []
    } catch {
      return []
    }
  })
}

/** Files that should be gone once everything has been delivered and the side has stopped. */
function leftIn({ role, folder }: Side): string[] {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  return files.filter((name) => /\.part$|\.obj$|\.new$|index\.(?:before|new|damaged)/.test(name)).map((name) => `${role}: ${name}`)
}

export async function runKillCycles(options: KillOptions): Promise<KillReport> {
  const pair = await startPair({ idle: true })
  const run = new Run(options, pair)
  try {
    return await run.go()
  } finally {
    await run.end()
    rmSync(pair.folder, { recursive: true, force: true })
  }
}
