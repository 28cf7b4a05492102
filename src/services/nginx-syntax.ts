/** What `nginx -T` prints, as directives. */
import { dirname, resolve } from "node:path";
import { matchesPattern } from "./path-pattern.ts";

const MOST_NESTED = 10;
/** More than it takes to find hundreds of includes among thousands of files. */
const MOST_STEPS = 5_000_000;
/** More than thousands of servers have. */
const MOST_DIRECTIVES = 50_000;
const LOOKED_FOR: ReadonlySet<string> = new Set([
  "include",
  "listen",
  "map",
  "server_name",
  "ssl",
  "ssl_certificate",
  "ssl_reject_handshake",
]);

export interface Directive {
  readonly words: readonly string[];
  readonly block: readonly Directive[] | undefined;
}

export interface Configuration {
  /** Against which relative paths are resolved. */
  readonly folder: string;
  readonly directives: readonly Directive[];
}

const HEADING = /^# configuration file (\/.*):$/m;

/** Where its main file lies, against which it has its relative paths. */
export function folderOf(dump: string): string {
  return dirname(HEADING.exec(dump)?.[1] ?? "/");
}

/** Every file stands in it once, under a heading with its path; undefined where there is none. */
export function readDump(dump: string): Configuration | undefined {
  const [, main, ...rest] = dump.split(HEADING);
  if (main === undefined) return undefined;
  const files = new Map<string, readonly Directive[]>();
  const budget = { directives: MOST_DIRECTIVES };
  for (let at = 0; at < rest.length; at += 2) {
    files.set(at === 0 ? main : (rest[at - 1] ?? ""), parse(rest[at] ?? "", budget));
  }
  const folder = dirname(main);
  const including: Including = { filesOf: includes(files, folder), left: MOST_DIRECTIVES };
  return { folder, directives: expand(files.get(main) ?? [], including) };
}

type Files = ReadonlyMap<string, readonly Directive[]>;

interface Including {
  /** What the files hold that an `include` names. */
  readonly filesOf: (value: string) => readonly (readonly Directive[])[];
  /** How many directives may still be put in place: files can include each other. */
  left: number;
}

/** Puts the files in place of the `include`s that name them; nginx -T leaves them apart. */
function expand(directives: readonly Directive[], including: Including, depth = 0): readonly Directive[] {
  if (depth > MOST_NESTED) return [];
  return directives.flatMap((directive) => {
    if (including.left-- <= 0) return [];
    const [name, value = ""] = directive.words;
    if (name === "include") return including.filesOf(value).flatMap((content) => expand(content, including, depth + 1));
    return { ...directive, block: directive.block && expand(directive.block, including, depth + 1) };
  });
}

/** Each pattern is looked for once; one line of a file that somebody else writes must not take minutes. */
function includes(files: Files, folder: string): Including["filesOf"] {
  const known = new Map<string, readonly (readonly Directive[])[]>();
  const patience = { steps: MOST_STEPS };
  const find = (pattern: string): readonly (readonly Directive[])[] => {
    const exact = files.get(pattern);
    if (exact !== undefined) return [exact];
    const start = pattern.slice(0, pattern.search(/[*?[]|$/));
    if (start === pattern || (patience.steps -= files.size) < 0) return [];
    const found = [...files].filter(([path]) => path.startsWith(start) && matchesPattern(path, pattern, patience));
    return found.map(([, content]) => content);
  };
  return (value) => {
    const pattern = resolve(folder, value);
    const found = known.get(pattern) ?? find(pattern);
    known.set(pattern, found);
    return found;
  };
}

/** White space, a comment, a quoted word, a mark, or a plain word, in which `${name}` is no block. */
const TOKEN =
  /\s+|#[^\n]*|"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|([;{}])|((?:\\.|\$\{\w*\}|[^\s;{}"'\\])(?:\\.|\$\{\w*\}|[^\s;{}\\])*)/gs;

/**
 * nginx's syntax: words, `;` at the end of a directive or a block in braces. Only what is looked for is kept, since the
 * lists of addresses of many hosts would fill the memory; what comes after the budget is not read.
 */
function parse(text: string, budget: { directives: number }): readonly Directive[] {
  const open: { words: string[]; directives: Directive[] }[] = [];
  let directives: Directive[] = [];
  let words: string[] = [];
  const close = (outer: (typeof open)[number]): void => {
    if (directives.length > 0) outer.directives.push({ words: outer.words, block: directives });
    [words, directives] = [[], outer.directives];
  };
  for (const [, double, single, mark, plain] of text.matchAll(TOKEN)) {
    if (budget.directives <= 0) break;
    const isKept = isLookedFor(words) || isMapOfNames(open.at(-1)?.words);
    if (mark === "{") {
      budget.directives -= 1;
      open.push({ words, directives });
      [words, directives] = [[], []];
    } else if (mark === "}") {
      const outer = open.pop();
      if (outer === undefined) break;
      close(outer);
    } else if (mark === ";") {
      if (isKept) {
        budget.directives -= 1;
        directives.push({ words, block: undefined });
      }
      words = [];
    } else {
      const word = double ?? single ?? plain;
      if (word !== undefined && (words.length === 0 || isKept)) words.push(word);
    }
  }
  for (const outer of open.toReversed()) close(outer);
  return directives;
}

/** Whether a block tells of a variable by the name that is asked for. */
export function isMapOfNames([name, source]: readonly string[] = []): boolean {
  return name === "map" && (source === "$ssl_server_name" || source === "${ssl_server_name}");
}

function isLookedFor([name = ""]: readonly string[]): boolean {
  return LOOKED_FOR.has(name);
}
