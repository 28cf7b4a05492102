/** Control, format (bidi, zero width), unassigned, private and surrogate code points, and the two line separators. */
const UNPRINTABLE = /[\p{C}\p{Zl}\p{Zp}]/gu;
const SHORT: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/**
 * Text from elsewhere (a CA, a server, a file name) as one line that can do nothing but be read: what would start a
 * line, move a cursor, be invisible or change the order of reading becomes `\n`, `\x1b`, `\u{202e}`.
 */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, (character) => SHORT[character] ?? escaped(character));
}

function escaped(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u{${code.toString(16)}}`;
}

/** The same for a text that is JSON already, which stays the same JSON: only escapes that JSON knows are used. */
export function printableJson(json: string): string {
  return json.replace(UNPRINTABLE, (character) =>
    Array.from({ length: character.length }, (_, index) => {
      return `\\u${character.charCodeAt(index).toString(16).padStart(4, "0")}`;
    }).join(""),
  );
}

/** Bold, dim, three colours, and the end of them: what certagent itself writes, and nothing that moves or hides. */
const STYLE = /(\x1b\[(?:0|1|2|31|32|33)m)/;
const STYLE_END = "\x1b[0m";

/** {@link printable} for a line of another process of certagent's: its styles stay, and end with it. */
export function printableStyled(line: string): string {
  const pieces = line.split(STYLE);
  const text = pieces.map((piece, index) => (index % 2 === 1 ? piece : printable(piece))).join("");
  return (pieces.at(-2) ?? STYLE_END) === STYLE_END ? text : `${text}${STYLE_END}`;
}

/** To its end, whatever stands between its lines (`\n` of JSON, the margin of a log), but no other beginning. */
const KEY =
  /-----BEGIN [A-Z ]*PRIVATE KEY-----(?:(?:(?!-----BEGIN )[^])*?-----END [A-Z ]*PRIVATE KEY-----|[\w+/=\s\\]*)/g;
const REST_OF_KEY = /[\w+/=\s\\]*-----END [A-Z ]*PRIVATE KEY-----/;

/** The last characters of what a program has said, without private keys that it has printed. */
export function lastWords(text: string, most: number): string {
  const words = text.replace(KEY, "[private key]").trim();
  const last = words.length <= most ? words : `… ${words.slice(-most)}`;
  return last.replace(REST_OF_KEY, "[private key]"); // its beginning was cut off
}

/** At most so many characters of a text, with its end shown as cut. */
export function shortened(text: string, most: number): string {
  return text.length <= most ? text : `${text.slice(0, most - 1)}…`;
}
