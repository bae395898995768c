/**
 * A head in the manner of Shepp and Logan: ellipsoids painted over each other, each with its
 * own density, so that every slice looks different and like something a radiographer knows.
 *
 * Millimetres in DICOM's patient axes (PS3.3 C.7.6.2.1.1): x to the left, y to the back, z to
 * the head; the origin is the middle of the brain. Densities in Hounsfield units.
 */

interface Ellipsoid {
  readonly hu: number
  readonly x: number
  readonly y: number
  readonly z: number
  /** Squared reciprocals of the half axes. */
  readonly ia: number
  readonly ib: number
  readonly ic: number
  /** Smallest half axis: how many millimetres one unit of the normalised radius is. */
  readonly least: number
  readonly cos: number
  readonly sin: number
}

const AIR = -1000

const at = (hu: number, centre: [number, number, number], axes: [number, number, number], turn = 0): Ellipsoid => ({
  hu,
  x: centre[0],
  y: centre[1],
  z: centre[2],
  ia: 1 / axes[0] ** 2,
  ib: 1 / axes[1] ** 2,
  ic: 1 / axes[2] ** 2,
  least: Math.min(...axes),
  cos: Math.cos((turn * Math.PI) / 180),
  sin: Math.sin((turn * Math.PI) / 180),
})

/** The same on both sides. */
const pair = (
  hu: number,
  [x, y, z]: [number, number, number],
  axes: [number, number, number],
  turn = 0,
): Ellipsoid[] => [at(hu, [x, y, z], axes, turn), at(hu, [-x, y, z], axes, -turn)]

const HEAD: readonly Ellipsoid[] = [
  at(-70, [0, -50, -56], [60, 50, 46]), // face: fat and muscle
  at(48, [0, -50, -56], [57, 47, 44]),
  at(-70, [0, 0, 0], [76, 96, 92]), // scalp: fat,
  at(45, [0, 0, 0], [74.5, 94.5, 90.5]), // muscle and skin
  at(980, [0, 0, 0], [71.5, 91.5, 88]), // skull,
  at(480, [0, 0, 0], [69, 89, 85.5]), // its spongy middle,
  at(1050, [0, 0, 0], [67.5, 87.5, 84]), // its inner table
  at(6, [0, 0, 0], [65, 85, 81.5]), // fluid around
  at(37, [0, 0, 0], [63, 83, 79.5]), // the brain: grey matter,
  ...pair(27, [25, -4, 20], [27, 60, 46], 6), // white matter,
  at(30, [0, -6, 12], [14, 20, 8]),
  at(58, [0, -2, 44], [0.9, 80, 36]), // falx
  ...pair(5, [11, -6, 16], [6.5, 27, 12], -18), // lateral ventricles, Shepp and Logan's two,
  ...pair(5, [25, 30, 6], [5, 17, 9], 24), // their posterior horns,
  at(5, [0, 4, -2], [2.4, 12, 10]), // third ventricle
  ...pair(41, [19, -3, 2], [8.5, 15, 11], -14), // basal ganglia
  at(240, [0, 21, 3], [2, 2.6, 2]), // pineal gland, chalky with age
  at(20, [-36, 24, 30], [17, 14, 14], 20), // a bleed with its swelling, on the right
  at(70, [-37, 25, 30], [9.5, 7, 8.5], 20),
  at(34, [0, 46, -46], [44, 28, 20]), // cerebellum,
  at(5, [0, 30, -42], [6, 5, 7]), // fourth ventricle,
  at(36, [0, 10, -48], [15, 16, 22]), // brain stem
  ...pair(900, [42, 14, -48], [27, 9, 10], -38), // petrous bones
  ...pair(-650, [50, 20, -48], [7, 4, 6], -38), // with air cells
  at(37, [0, -34, -46], [58, 44, 20]), // lower brain
  ...pair(29, [30, -26, -34], [13, 26, 14], -8), // temporal white matter
  ...pair(850, [24, -46, -46], [20, 3, 12], 32), // sphenoid wings
  ...pair(-75, [31, -68, -44], [17, 17, 15], 10), // orbits: fat,
  ...pair(12, [32, -72, -44], [12, 12, 12]), // eyes,
  ...pair(85, [33, -81.5, -44], [4.5, 2, 4.5]), // lenses,
  ...pair(48, [26, -54, -44], [1.9, 13, 1.9], -18), // optic nerves
  at(-960, [0, -58, -52], [10, 17, 15]), // sinuses
  at(600, [0, -58, -52], [0.8, 17, 15]),
]

/** The head rest: a shell behind the head that goes on for ever along z. */
const REST_OUTER = at(-380, [0, -6, 0], [92, 116, 1e6])
const REST_INNER = at(AIR, [0, -6, 0], [87, 111, 1e6])
const REST_FROM_Y = 58

/** How much of a point `edge` millimetres wide lies inside: 0 to 1, so that edges are smooth. */
function share(body: Ellipsoid, x: number, y: number, z: number, edge: number): number {
  const dz = z - body.z
  const far = dz * dz * body.ic
  const reach = 1 + edge / body.least
  if (far > reach * reach) return 0
  const dx = x - body.x
  const dy = y - body.y
  const u = dx * body.cos + dy * body.sin
  const v = dy * body.cos - dx * body.sin
  const square = u * u * body.ia + v * v * body.ib + far
  if (square > reach * reach) return 0
  const depth = ((1 - Math.sqrt(square)) * body.least) / edge + 0.5
  return depth <= 0 ? 0 : depth >= 1 ? 1 : depth
}

/** Density at a point, in Hounsfield units; `edge` is the size of a pixel in millimetres. */
export function densityAt(x: number, y: number, z: number, edge: number): number {
  let hu = AIR
  if (y > REST_FROM_Y) {
    hu += (REST_OUTER.hu - hu) * share(REST_OUTER, x, y, z, edge)
    hu += (REST_INNER.hu - hu) * share(REST_INNER, x, y, z, edge)
  }
  for (const body of HEAD) {
    const part = share(body, x, y, z, edge)
    if (part > 0) hu += (body.hu - hu) * part
  }
  return hu
}

/** Lowest and highest slice worth looking at. */
export const HEAD_FROM_Z = -58
export const HEAD_TO_Z = 84
