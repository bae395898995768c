/**
 * Burnt-in marks of the phantom: where the slice lies, and a ruler, so that one image can be
 * told from its neighbour and measured on any screen.
 */

/** 5 × 7 dots, a row per number, the leftmost dot in bit 4. */
const GLYPHS: Readonly<Record<string, readonly number[]>> = {
  '0': [14, 17, 19, 21, 25, 17, 14],
  '1': [4, 12, 4, 4, 4, 4, 14],
  '2': [14, 17, 1, 2, 4, 8, 31],
  '3': [31, 2, 4, 2, 1, 17, 14],
  '4': [2, 6, 10, 18, 31, 2, 2],
  '5': [31, 16, 30, 1, 1, 17, 14],
  '6': [6, 8, 16, 30, 17, 17, 14],
  '7': [31, 1, 2, 4, 8, 8, 8],
  '8': [14, 17, 17, 14, 17, 17, 14],
  '9': [14, 17, 17, 15, 1, 2, 12],
  '.': [0, 0, 0, 0, 0, 12, 12],
  '-': [0, 0, 0, 31, 0, 0, 0],
  '+': [0, 4, 4, 31, 4, 4, 0],
  '/': [1, 2, 2, 4, 8, 8, 16],
  m: [0, 0, 26, 21, 21, 21, 21],
  ' ': [0, 0, 0, 0, 0, 0, 0],
}
const ADVANCE = 6

/** Square image of stored values, row by row. */
export interface Canvas {
  readonly pixels: Uint16Array
  readonly size: number
}

const dot = ({ pixels, size }: Canvas, x: number, y: number, value: number): void => {
  if (x >= 0 && x < size && y >= 0 && y < size) pixels[y * size + x] = value
}

/** Text from its upper left corner; characters without a glyph are spaces. */
export function drawText(canvas: Canvas, text: string, x: number, y: number, value: number): void {
  for (let index = 0; index < text.length; index++) {
    const rows = GLYPHS[text.charAt(index)] ?? GLYPHS[' ']!
    rows.forEach((row, dy) => {
      for (let dx = 0; dx < 5; dx++) if (row & (16 >> dx)) dot(canvas, x + index * ADVANCE + dx, y + dy, value)
    })
  }
}

/** 100 mm upright at the right edge, a tick every 10 mm, longer every 50. */
export function drawRuler(canvas: Canvas, millimetresPerPixel: number, value: number): void {
  const x = canvas.size - 6
  const top = Math.round(canvas.size / 2 - 50 / millimetresPerPixel)
  for (let mm = 0; mm <= 100; mm += 10) {
    const y = top + Math.round(mm / millimetresPerPixel)
    for (let tick = 0; tick < (mm % 50 === 0 ? 8 : 4); tick++) dot(canvas, x - tick, y, value)
  }
  for (let y = top; y <= top + Math.round(100 / millimetresPerPixel); y++) dot(canvas, x, y, value)
}
