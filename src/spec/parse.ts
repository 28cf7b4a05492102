import { isUtf8 } from "node:buffer";
import {
  Composer,
  CST,
  isMap,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  type Node,
  type Pair,
  Parser,
  type Tags,
} from "yaml";
import { type HostFacts, substitute } from "./host-facts.ts";
import { fileProblem, formatKey, mayBeSecret } from "./problem.ts";
import { LARGEST_FILE, type ParseResult, type Position, type Source } from "./source.ts";
import { everyToken, syntaxError } from "./syntax-error.ts";

const DEEPEST = 16;
const MOST_KEYS = 512;
const MOST_ITEMS = 2048;

// Control characters but tab and newline (a lone CR counts), and the marks that reorder text on a terminal.
const FORBIDDEN = /(?![\t\n\r])\p{Cc}|[\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]|\r(?!\n)/u;

// They come with pasted text, which harms nobody outside of a value.
const UNSEEN = /[\u00ad\u200b\u2060]/u;

type Path = readonly PropertyKey[];

/** Ends the parse at the first thing that is refused: what follows a syntax error is mostly noise. */
class Refused extends Error {
  readonly offset: number;
  readonly key: string;
  readonly hint: string | null;

  constructor(offset: number, message: string, hint: string | null = null, key = "") {
    super(message);
    this.offset = offset;
    this.hint = hint;
    this.key = key;
  }
}

/**
 * Parses the bytes of a spec or host configuration: one YAML 1.2 document (core schema) of at most 64 KiB,
 * without anchors, aliases, tags, directives and merge keys, with facts in its strings replaced. Never throws.
 */
export function parseYaml(bytes: Uint8Array, file: string, facts: HostFacts): ParseResult {
  if (bytes.length > LARGEST_FILE) {
    return { problems: [fileProblem(file, `the file has ${bytes.length} bytes; at most ${LARGEST_FILE} are read`)] };
  }
  const text = new TextDecoder().decode(bytes);
  const lines = new LineCounter();
  lines.addNewLine(0);
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) lines.addNewLine(at + 1);
  try {
    refuseBytes(bytes, text);
    const tokens = tokensOf(text);
    refuseDepth(tokens);
    return { source: readSource(compose(tokens, text), file, lines, facts) };
  } catch (thrown) {
    if (!(thrown instanceof Refused)) throw thrown;
    const { line, col } = lines.linePos(thrown.offset);
    const { key, message, hint } = thrown;
    return { problems: [{ file, line, column: col, key, message, hint }] };
  }
}

function refuseBytes(bytes: Uint8Array, text: string): void {
  if (!isUtf8(bytes))
    throw new Refused(Math.max(text.indexOf("\ufffd"), 0), "the file is not UTF-8", "save it as UTF-8");
  const forbidden = FORBIDDEN.exec(text);
  if (forbidden !== null) {
    const code = forbidden[0].charCodeAt(0).toString(16).toUpperCase().padStart(4, "0");
    throw new Refused(forbidden.index, `the file has a control character (U+${code})`, "remove it");
  }
}

const UNWANTED: Readonly<Record<string, readonly [message: string, hint: string]>> = {
  alias: ["aliases (*name) are not allowed", 'a text that begins with * needs quotes: "*.example.com"'],
  anchor: ["anchors (&name) are not allowed", "a text that begins with & needs quotes"],
  tag: ["tags (!name) are not allowed", "a text that begins with ! needs quotes"],
  "directive-line": ["directives (%NAME) are not allowed", "remove it"],
};

/** The concrete syntax; refuses what must not be in it before anything is built of it. */
function tokensOf(text: string): readonly CST.Token[] {
  const parser = new Parser();
  const tokens: CST.Token[] = [];
  let offset = 0;
  let isScalarNext = false;
  for (const lexeme of new Lexer().lex(text)) {
    const unwanted = isScalarNext ? undefined : UNWANTED[CST.tokenType(lexeme) ?? ""];
    if (unwanted !== undefined) throw new Refused(offset, ...unwanted);
    isScalarNext = lexeme === CST.SCALAR;
    // The lexer marks documents and scalars by characters that the text does not have.
    if (lexeme !== CST.SCALAR && lexeme !== CST.DOCUMENT && lexeme !== CST.FLOW_END) offset += lexeme.length;
    tokens.push(...parser.next(lexeme));
  }
  return [...tokens, ...parser.end()];
}

/** The package builds nodes recursively and takes a stack overflow for an error of the text, so depth is judged before. */
function refuseDepth(tokens: readonly CST.Token[]): void {
  for (const { token, depth } of everyToken(tokens)) {
    if (CST.isCollection(token) && depth === DEEPEST) {
      throw new Refused(token.offset, `nested more than ${DEEPEST} deep`);
    }
  }
}

/** `0o640` stays text: only a mode looks like that, and modes are strings. */
const withoutOctal = (tags: Tags): Tags => tags.filter((tag) => typeof tag === "string" || tag.format !== "OCT");

function compose(tokens: readonly CST.Token[], text: string): Node {
  // `uniqueKeys` is quadratic: 56 s for 256 KiB of flat keys. `readMap` finds doubles in linear time.
  const composer = new Composer({
    uniqueKeys: false,
    stringKeys: true,
    prettyErrors: false,
    logLevel: "error",
    customTags: withoutOctal,
  });
  const [document, second] = composer.compose(tokens, true, text.length);
  const [error, next] = document?.errors ?? [];
  if (error !== undefined) {
    const { offset, message, hint } = syntaxError(error, next, text, tokens);
    throw new Refused(offset, message, hint);
  }
  if (second !== undefined)
    throw new Refused(second.range[0], "a second document begins here", "one file is one document");
  const root = document?.contents ?? null;
  if (root === null || (isScalar(root) && root.value === null)) throw new Refused(0, "the file is empty");
  return root;
}

interface Place {
  readonly key: number;
  readonly value: number;
}

/** What is counted over the whole file, and what every text may name. */
interface Reading {
  readonly facts: HostFacts;
  keys: number;
  items: number;
}

function readSource(root: Node, file: string, lines: LineCounter, facts: HostFacts): Source {
  const start = startOf(root, 0);
  const data = readNode(root, [], start, { facts, keys: 0, items: 0 });
  const position = (offset: number): Position => {
    const { line, col } = lines.linePos(offset);
    return { line, column: col };
  };
  return {
    file,
    data,
    valueAt: (path) => position(placeOf(root, path).value),
    keyAt: (path) => position(placeOf(root, path).key),
  };
}

/** Looked for when it is asked for: most files are read without a complaint. */
function placeOf(root: Node, path: Path): Place {
  const start = startOf(root, 0);
  let place: Place = { key: start, value: start };
  let node: unknown = root;
  for (const part of path) {
    if (isMap(node)) {
      const pair = node.items.find((each) => nameOf(each) === part);
      if (pair === undefined) break;
      const key = keyStart(pair);
      place = { key, value: startOf(pair.value, key) };
      node = pair.value;
    } else if (isSeq(node) && typeof part === "number" && part in node.items) {
      node = node.items[part];
      const at = startOf(node, place.value);
      place = { key: at, value: at };
    } else break;
  }
  return place;
}

function readNode(node: unknown, path: Path, offset: number, reading: Reading): unknown {
  if (isMap(node)) return readMap(node.items, path, reading);
  if (isSeq(node)) {
    reading.items += node.items.length;
    if (reading.items > MOST_ITEMS) {
      throw new Refused(offset, `more than ${MOST_ITEMS} list entries`, null, formatKey(path));
    }
    return node.items.map((item, index) => readNode(item, [...path, index], startOf(item, offset), reading));
  }
  if (!isScalar(node)) return null;
  return typeof node.value === "string" ? readText(node.value, path, offset, reading.facts) : node.value;
}

function readMap(pairs: readonly Pair[], path: Path, reading: Reading): Record<string, unknown> {
  const map = Object.create(null) as Record<string, unknown>;
  for (const pair of pairs) {
    const name = nameOf(pair);
    const inner = [...path, name];
    const keyAt = keyStart(pair);
    const isSecret = mayBeSecret(path);
    const shown = (): string => (isSecret ? "a key" : name.slice(0, 80) || '""');
    const refuse = (message: string, hint: string | null = null) =>
      new Refused(keyAt, message, hint, formatKey(isSecret ? path : inner));
    reading.keys += 1;
    if (reading.keys > MOST_KEYS) throw refuse(`more than ${MOST_KEYS} keys`);
    if (name === "<<") throw refuse("merge keys (<<) are not allowed", "write the keys themselves");
    if (name in map) throw refuse(`${shown()} is given twice`, "keep one of them");
    map[name] = readNode(pair.value, inner, startOf(pair.value, keyAt), reading);
  }
  return map;
}

function nameOf({ key }: Pair): string {
  return isScalar(key) ? String(key.value) : "";
}

function readText(text: string, path: Path, offset: number, facts: HostFacts): string {
  // Half a character (`"\ud800"`) is written as U+FFFD, so that two names are one on disk.
  if (/[\t\n\r]/.test(text) || FORBIDDEN.test(text) || !text.isWellFormed()) {
    throw new Refused(offset, "a value must be one line without control characters", null, formatKey(path));
  }
  const unseen = UNSEEN.exec(text)?.[0];
  if (unseen !== undefined) {
    const code = unseen.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0");
    throw new Refused(offset, `a character that is not seen (U+${code}) stands in it`, "type it anew", formatKey(path));
  }
  const result = substitute(text, facts);
  if (typeof result === "string") return result;
  const isSecret = path.length === 0 || mayBeSecret(path);
  // biome-ignore lint/suspicious/noTemplateCurlyInString: these are the words of specs
  const message = isSecret ? "a ${…} that is no fact of this host stands in it" : result.message;
  throw new Refused(offset, message, result.hint, formatKey(path));
}

/** Where a node begins; a node without text (`subject:`) stands where its key does. */
function startOf(node: unknown, otherwise: number): number {
  if (!isMap(node) && !isSeq(node) && !isScalar(node)) return otherwise;
  const range = node.range;
  if (!range || (isScalar(node) && range[0] === range[1])) return otherwise;
  return range[0];
}

/** A key stands where it begins, even one without text (`: value`). */
function keyStart({ key }: Pair): number {
  return isScalar(key) ? (key.range?.[0] ?? 0) : 0;
}
