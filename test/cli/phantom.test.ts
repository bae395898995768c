import { execFile } from 'node:child_process'
import fs from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { HEAD_FROM_Z, HEAD_TO_Z, densityAt } from '../../firmware/cli/phantom-head.ts'
import { writePhantom } from '../../firmware/cli/phantom.ts'
import { syntheticDataSet, syntheticSeries, writeSyntheticMultiFrame, writeSyntheticSeries } from '../../firmware/cli/synthetic.ts'
import { readPart10 } from '../../firmware/dicom/part10.ts'
import { HeaderScanner } from '../../firmware/dicom/scanner.ts'
import { isUid } from '../../firmware/domain/identifier.ts'
import { LIMITS } from '../../firmware/domain/limits.ts'

const run = promisify(execFile)

/** One value of a file as DCMTK reads it. */
async function read(file: string, tag: string): Promise<string> {
  const { stdout } = await run('dcmdump', ['-q', '-Un', '+L', '-M', '+P', tag, file])
  return /^\S+ \S\S \[([^\]]*)\]/m.exec(stdout)?.[1] ?? ''
}

t.test('the study is valid, whole and nobody’s', async (t) => {
  const folder = path.join(t.testdir(), 'study')
  const now = new Date('2026-03-04T05:06:07Z')
  const { files, study } = await writePhantom(folder, { instances: 6, size: 64, scout: true, now })
  t.equal(files.length, 7)
  const { stdout } = await run('dcmftest', [...files])
  t.equal(stdout.match(/^yes/gm)?.length, 7)
  const instances = new Set<string>()
  const series = new Set<string>()
  const positions: number[] = []
  for (const file of files) {
    const object = await readPart10(file, LIMITS)
    if (object.kind !== 'object') throw new Error(object.kind)
    t.equal(object.study, study)
    t.ok(isUid(object.sopInstance))
    instances.add(object.sopInstance)
    series.add(object.series)
    t.equal(await read(file, '0010,0010'), 'Phantom^Sallyport')
    t.equal(await read(file, '0008,0020'), '20260304')
    t.equal((await run('dcmdump', ['-q', file])).stderr, '')
    if (file.includes('ct-')) positions.push(Number((await read(file, '0020,0032')).split('\\')[2]))
  }
  t.equal(instances.size, 7)
  t.equal(series.size, 2)
  t.strictSame(positions, [...positions].sort((a, b) => a - b), 'from the base of the skull upwards')
  t.ok(positions[0]! > HEAD_FROM_Z && positions[5]! < HEAD_TO_Z)
  const spacing = positions[1]! - positions[0]!
  t.ok(Math.abs(Number(await read(files[1]!, '0018,0050')) - spacing) < 0.001, 'slices touch')
})

t.test('a seed gives the same bytes, none gives new UIDs', async (t) => {
  const folder = t.testdir()
  const options = { instances: 2, size: 64 }
  const bytes = async (name: string, seed?: number): Promise<Buffer[]> => {
    const { files } = await writePhantom(path.join(folder, name), seed === undefined ? options : { ...options, seed })
    return Promise.all(files.map((file) => fs.readFile(file)))
  }
  t.strictSame(await bytes('a', 1), await bytes('b', 1))
  t.notSame(await bytes('c', 1), await bytes('d', 2))
  const studies = await Promise.all(['e', 'f'].map(async (name) => (await writePhantom(path.join(folder, name), options)).study))
  t.not(studies[0], studies[1])
})

t.test('it looks like a head', async (t) => {
  t.equal(densityAt(-110, -110, 0, 1), -1000, 'air around')
  t.ok(densityAt(70, 0, 0, 1) > 900, 'bone at the side')
  t.ok(Math.abs(densityAt(45, 30, 0, 1) - 37) < 5, 'brain within')
  t.ok(densityAt(-37, 25, 30, 1) > 60 && densityAt(37, 25, 30, 1) < 60, 'the bleed is on the right')

  // Stored values, as DCMTK's renderer gives them in a window from −1024 to 3071.
  const folder = t.testdir()
  const { files } = await writePhantom(folder, { instances: 3, size: 128, seed: 1 })
  const pgm = async (file: string): Promise<Buffer> => {
    const image = path.join(folder, 'image.pgm')
    await run('dcm2pnm', ['+op', '+Ww', '1023.5', '4096', file, image])
    const bytes = await fs.readFile(image)
    return bytes.subarray(bytes.length - 128 * 128)
  }
  const images = await Promise.all(files.slice(1, 2).map(pgm))
  const middle = images[0]!
  const hu = (x: number, y: number): number => (middle[y * 128 + x]! / 255) * 4095 - 1024
  t.ok(hu(20, 20) < -950, 'air in the corner')
  t.ok(Math.max(...Array.from({ length: 64 }, (_, x) => hu(x, 64))) > 900, 'skull on the way to the middle')
  const shown = new Set(middle)
  t.ok(shown.size > 15, `${shown.size} different greys`)
})

t.test('objects in bulk', async (t) => {
  const folder = t.testdir()
  const one = syntheticDataSet()
  t.ok(one.bytes.length > 520_000 && one.bytes.length < 530_000, 'a CT image of 525 KB')
  const uids = new Set<string>()
  for (const object of syntheticSeries(20, 64)) {
    const scanner = new HeaderScanner(object.transferSyntax, LIMITS)
    scanner.push(object.bytes)
    t.match(scanner.outcome, { kind: 'found', sopClass: object.sopClass, sopInstance: object.sopInstance, study: object.study })
    uids.add(object.sopInstance)
  }
  t.equal(uids.size, 20)
  const files = await writeSyntheticSeries(path.join(folder, 'series'), 3, 64)
  const huge = path.join(folder, 'huge.dcm')
  const bytes = await writeSyntheticMultiFrame(huge, 3 * 512 * 1024 + 1)
  t.match(await readPart10(huge, LIMITS), { kind: 'object', bytes })
  t.equal(await read(huge, '0028,0008'), '3')
  const { stdout } = await run('dcmftest', [...files, huge])
  t.equal(stdout.match(/^yes/gm)?.length, 4)
})
