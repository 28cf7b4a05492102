/** What the YAML package refuses, in plainer words and at the very place. */
import { CST, type YAMLParseError } from "yaml";

/** What the YAML package says, where it can be said more plainly; the first that fits. */
const PLAINLY: readonly (readonly [said: RegExp, message: string, hint: string | null])[] = [
  [/^Tabs are not allowed/, "a tab indents this line", "indent with spaces"],
  [/^Missing closing/, "a quote is not closed", null],
  [/^Flow map .*end with a \}/, "a { is not closed, or its lines are not indented", null],
  [/^Flow sequence .*end with a \]/, "a [ is not closed, or its lines are not indented", null],
  [/^Unexpected flow-(map|seq)-end/, "this bracket closes nothing", null],
  [/^Unexpected block-seq-ind on same line/, "a list begins on a line of its own", "or write it in one line: [a, b]"],
  [/^Unexpected .* at node end$/, "something follows the value", null],
  [/^Implicit (map )?keys need to be/, 'a key has to be on one line, with ": " after it', null],
  [/^Nested mappings are not allowed/, 'a second ": " in one line', "quote the value"],
  [/^Invalid escape sequence/, "an escape that YAML does not have", "use single quotes, or write \\\\ for one \\"],
  [/^Unexpected \S+ token$/, "a comma or a bracket is missing before this", null],
  [/^Plain value cannot start with/, "a value that begins with this character needs quotes", null],
];

/** What is wrong with the text, in words for operators, and where that stands. */
export interface SyntaxComplaint {
  /** In UTF-16 units. */
  readonly offset: number;
  readonly message: string;
  readonly hint: string | null;
}

/** The complaint about the first thing that the YAML package refuses; `next` is what it says after that. */
export function syntaxError(
  error: YAMLParseError,
  next: YAMLParseError | undefined,
  text: string,
  tokens: readonly CST.Token[],
): SyntaxComplaint {
  const [offset] = error.pos;
  if (error.code === "NON_STRING_KEY") return { offset, message: "a key must be plain text", hint: null };
  const misplaced = misplacedLine(error, next, text);
  if (misplaced !== undefined) {
    const message = "not valid YAML: this line is not indented as its neighbours are";
    return { offset: misplaced, message, hint: null };
  }
  const line = text.slice(text.lastIndexOf("\n", offset - 1) + 1).split("\n", 1)[0] ?? "";
  // What follows a colon is a piece of the file, and that may be a secret in the wrong place.
  const [first = ""] = error.message.split(/\n|(?<=\w): /, 1);
  const [, said = first.charAt(0).toLowerCase() + first.slice(1), hint = null] =
    PLAINLY.find(([pattern]) => pattern.test(first)) ?? [];
  const at = /^(Missing closing|Flow )/.test(first) ? openedAt(tokens, offset) : offset;
  const message = `not valid YAML: ${said}`;
  if (line.includes("\u00a0"))
    return { offset: at, message, hint: "the line has a no-break space (U+00A0): type it anew" };
  return { offset: at, message, hint: quotes(line) ?? hint };
}

/** What needs quotes in this line: a fact in { } or [ ], whose braces end it, or an IPv6 address. */
function quotes(line: string): string | undefined {
  const address = /(?:https:\/\/)?\[[\dA-Fa-f:.]{2,45}\]:\d{1,5}/.exec(line)?.[0];
  const [, before = "", fact, after] = /^(.*?)(\$\{\w+\})([^\s,\]}]?)/.exec(line) ?? [];
  if (fact === undefined || !/[[{,]/.test(before)) return address && `quote it: "${address}"`;
  const isWhole = after === "" && /[\s,[{]$/.test(before);
  return isWhole ? `quote it: "${fact}"` : `put quotes around the whole value that has ${fact} in it`;
}

/** Blank lines, comments, and what a line is indented by. */
const BEFORE_TEXT = /(?: *(?:#.*)?\r?\n)* */y;

/**
 * Where the text of a line begins that is indented too far or too little. One that is too far in continues the value
 * above it, up to its own colon; one that is too far out comes after the end of what it belongs to. The package complains
 * of that value, of what is left over, or of a comment above the line.
 */
function misplacedLine(error: YAMLParseError, next: YAMLParseError | undefined, text: string): number | undefined {
  const isContinued = error.code === "BLOCK_AS_IMPLICIT_KEY" && next?.code === "MULTILINE_IMPLICIT_KEY";
  const [offset] = error.pos;
  const begin = text.lastIndexOf("\n", (isContinued ? next.pos[1] : offset) - 1) + 1;
  const isLeftOver = error.message.endsWith(" at node end") && text.slice(begin, offset).trim() === "";
  const isBesideOthers = /same column$|^Sequence item without/.test(error.message);
  if (!isContinued && !isLeftOver && !isBesideOthers) return undefined;
  BEFORE_TEXT.lastIndex = begin;
  BEFORE_TEXT.exec(text);
  return BEFORE_TEXT.lastIndex;
}

const CLOSERS: Readonly<Record<string, string>> = { "{": "}", "[": "]" };

/** Where the innermost bracket stands that was opened before `offset` and never closed, or the quote that goes on to there. */
function openedAt(tokens: readonly CST.Token[], offset: number): number {
  let latest = -1;
  for (const { token } of everyToken(tokens)) {
    const isOpen =
      token.type === "flow-collection"
        ? token.offset < offset && token.end[0]?.source !== CLOSERS[token.start.source]
        : token.type.endsWith("-quoted-scalar") && CST.isScalar(token) && token.offset + token.source.length === offset;
    if (isOpen) latest = Math.max(latest, token.offset);
  }
  return latest < 0 ? offset : latest;
}

/** Every token with how deep it lies, without recursion: nothing is known of the depth yet. */
export function* everyToken(
  tokens: readonly CST.Token[],
): Generator<{ readonly token: CST.Token; readonly depth: number }> {
  const open = tokens.map((token) => ({ token, depth: 0 }));
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    yield next;
    const { token, depth } = next;
    if (token.type === "document" && token.value !== undefined) open.push({ token: token.value, depth });
    if (!CST.isCollection(token)) continue;
    for (const { key, value } of token.items) {
      for (const inner of [key, value]) if (inner != null) open.push({ token: inner, depth: depth + 1 });
    }
  }
}
