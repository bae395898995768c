/** The firmware's version, from package.json. */
import fs from 'node:fs'

const text = fs.readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
export const { version } = JSON.parse(text) as { version: string }
