/**
 * What one association proposes: for each class and syntax that waits, the stored syntax in a
 * context of its own, so that the far side cannot choose another; and, where the stored syntax is
 * uncompressed, a second context with the other uncompressed ones, into which it can be
 * re-encoded without loss (PS3.8 9.3.2.2, PS3.5 10.1).
 */
import {
  DEFLATED_LITTLE_ENDIAN,
  EXPLICIT_BIG_ENDIAN,
  EXPLICIT_LITTLE_ENDIAN,
  IMPLICIT_LITTLE_ENDIAN,
  isUncompressed,
} from '../../dicom/transfer-syntaxes.ts'

export interface Kind {
  readonly sopClass: string
  readonly transferSyntax: string
}

export interface ProposedContext {
  readonly abstractSyntax: string
  readonly transferSyntaxes: readonly string[]
}

/** Every other uncompressed syntax, those first that lose nothing but ambiguity. */
const OTHERS = [EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN]

export const othersOf = (transferSyntax: string): string[] =>
  isUncompressed(transferSyntax) || transferSyntax === DEFLATED_LITTLE_ENDIAN ? OTHERS.filter((uid) => uid !== transferSyntax) : []

/**
 * @param kinds most needed first; duplicates are fine
 * @param most contexts in the proposal, at most 128
 */
export function propose(kinds: readonly Kind[], most: number): ProposedContext[] {
  const contexts: ProposedContext[] = []
  const seen = new Set<string>()
  for (const { sopClass, transferSyntax } of kinds) {
    const key = `${sopClass} ${transferSyntax}`
    if (seen.has(key)) continue
    const others = othersOf(transferSyntax)
    if (contexts.length + (others.length > 0 ? 2 : 1) > most) break
    seen.add(key)
    contexts.push({ abstractSyntax: sopClass, transferSyntaxes: [transferSyntax] })
    if (others.length > 0) contexts.push({ abstractSyntax: sopClass, transferSyntaxes: others })
  }
  return contexts
}
