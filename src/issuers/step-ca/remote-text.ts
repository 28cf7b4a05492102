/** How much of what a CA says is shown. */
const MOST_CHARACTERS = 512;

/** Control characters (ANSI sequences, line breaks) and what turns the direction of text, or is not seen at all. */
const UNSAFE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

/**
 * Text from the other side, made harmless and at most 512 characters long: what could forge a line or hide something is
 * shown as `\x1b` or `\u202e`.
 */
export function remoteText(text: string): string {
  const shown = text
    .slice(0, MOST_CHARACTERS * 2)
    .trim()
    .replace(UNSAFE, escape);
  return shown.length <= MOST_CHARACTERS ? shown : `${shown.slice(0, MOST_CHARACTERS - 1)}…`;
}

function escape(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  if (character === "\n") return "\\n";
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
}
