import { isBuiltin } from "node:module";
import { dirname, join } from "node:path/posix";
import { type Use, usesOf } from "./uses.ts";

/** A file of ours: its path from `src/`, and its text. */
export interface Source {
  readonly path: string;
  readonly text: string;
}

const FAMILIES = ["issuers", "formats", "services", "probes"];
const BELOW_FAMILIES = ["base", "x509", "core"];

/** Folder → the folders it may import from, besides itself. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  base: [],
  x509: ["base"],
  core: ["base", "x509"],
  ...Object.fromEntries(FAMILIES.map((family) => [family, BELOW_FAMILIES])),
  spec: [...BELOW_FAMILIES, ...FAMILIES],
  store: BELOW_FAMILIES,
  agent: [...BELOW_FAMILIES, "spec", "store"],
  apply: [...BELOW_FAMILIES, "spec", "store"],
  devca: ["base", "x509"],
};
/** These may import everything. */
const TOP = new Set(["cli", "main.ts"]);

interface Rule {
  readonly what: RegExp;
  /** Files, or folders with a final slash, that alone may. */
  readonly only?: readonly string[];
  /** Or those that may not. */
  readonly never?: readonly string[];
  readonly because: string;
}

const RULES: readonly Rule[] = [
  {
    what: /^import node:(fs|child_process|tls|http|https|http2|dgram|dns|worker_threads)(\/|$)/,
    never: ["core/", "formats/", "x509/"],
    because: "what decides and what renders does no I/O",
  },
  // x509 takes isIP from it, which is none.
  { what: /^import node:net$/, never: ["core/", "formats/"], because: "what decides and what renders does no I/O" },
  {
    what: /^(Date\.now|new Date\(\)|setTimeout|setInterval|performance\.now|process\.hrtime|AbortSignal\.timeout|import node:timers.*)$/,
    only: ["base/time.ts"],
    because: "clocks and timers are injected, so that tests own the time",
  },
  { what: /^Math\.random$/, only: [], because: "no decision rolls dice" },
  {
    what: /^(process\.(env|argv|exit)|import (node:)?process)$/,
    only: ["main.ts"],
    because: "the world is read and left in one place",
  },
  {
    what: /^import node:child_process$/,
    only: ["base/run.ts"],
    because: "every command runs by argv, with a deadline",
  },
  {
    what: /(^|[.#])rename(Sync)?$/,
    only: ["base/atomic-file.ts"],
    because: "a name appears only on a file that is whole",
  },
  {
    what: /^import base\/log\.ts$/,
    only: ["base/", "agent/", "apply/", "cli/", "main.ts"],
    because: "everything below agent, apply and cli throws",
  },
  { what: /^console\./, only: [], because: "results go through cli/print.ts, events through the log" },
  {
    what: /^re-export$/,
    only: FAMILIES.map((family) => `${family}/index.ts`),
    because: "what is used is imported from where it is",
  },
  { what: /^export default$/, only: [], because: "a thing has one name everywhere" },
  { what: /^extends (?!Error$)/, only: [], because: "there are no class hierarchies" },
  { what: /^enum$/, only: [], because: "types are erased, not compiled" },
  { what: /^import of a computed name$/, only: [], because: "the bundle must know what it holds" },
];

/** Holds for tests too: what runs in both modes is one and the same. */
const ON_THE_MODE: Rule = {
  what: /^(=== "(direct|broker)"|\S+\.(direct|broker))$/,
  only: ["main.ts"],
  because: "how outputs are written is known to main.ts alone: nothing else depends on it",
};

const LONGEST_FILE = 400;
const NAMELESS = /(^|\/)(utils?|types|constants|helpers|common|misc)\.ts$/;

/** What depends on the mode in tests, or anywhere else: a line each, as {@link violations} has them. */
export function conditionsOnMode(sources: readonly Source[]): readonly string[] {
  return sources.flatMap(({ path, text }) =>
    usesOf(path, text)
      .filter(({ name }) => ON_THE_MODE.what.test(name) && !allows(ON_THE_MODE, path))
      .map(({ name, line }) => `${path}:${line}: ${name}: ${ON_THE_MODE.because}`),
  );
}

/** Every breach of the architecture, one line each: `src/core/plan.ts:12: Date.now: clocks and timers …`. */
export function violations(sources: readonly Source[]): readonly string[] {
  return sources.flatMap(({ path, text }) => [
    ...fileViolations(path, text),
    ...usesOf(path, text).flatMap((use) => useViolations(path, use)),
  ]);
}

function fileViolations(path: string, text: string): readonly string[] {
  const lines = text.split("\n").length - 1;
  const found: string[] = [];
  if (lines >= LONGEST_FILE)
    found.push(`src/${path}:${lines}: ${lines} lines: one file, one idea, under ${LONGEST_FILE}`);
  if (NAMELESS.test(path)) found.push(`src/${path}:1: a file is named for its idea`);
  if (!/^[a-z0-9/.-]+$/.test(path)) found.push(`src/${path}:1: files are named in kebab-case`);
  return found;
}

function useViolations(path: string, { name, line }: Use): readonly string[] {
  const imported = name.startsWith("import ") ? name.slice("import ".length) : undefined;
  const target = imported?.startsWith(".") ? join(dirname(path), imported) : undefined;
  const known = target === undefined ? name : `import ${target}`;
  const complaints = [...RULES, ON_THE_MODE]
    .filter((rule) => rule.what.test(known) && !allows(rule, path))
    .map(({ because }) => because);
  if (imported !== undefined) complaints.push(...importComplaints(path, imported, target));
  return complaints.map((complaint) => `src/${path}:${line}: ${known}: ${complaint}`);
}

function allows({ only, never }: Rule, path: string): boolean {
  const isIn = (places: readonly string[]): boolean =>
    places.some((place) => path === place || (place.endsWith("/") && path.startsWith(place)));
  return only === undefined ? !isIn(never ?? []) : isIn(only);
}

function importComplaints(path: string, imported: string, target: string | undefined): readonly string[] {
  if (target === undefined) {
    return isBuiltin(imported) && !imported.startsWith("node:") ? ["modules of Node are imported as node:…"] : [];
  }
  if (target === "../package.json") return []; // its version
  if (!imported.endsWith(".ts")) return ["relative imports end in .ts"];
  const [from = "", to = ""] = [path, target].map((file) => file.split("/")[0]);
  if (from === to || TOP.has(from)) return [];
  const allowed = MAY_IMPORT[from];
  if (allowed === undefined) return [`the folder ${from} is not in the import table`];
  return allowed.includes(to) ? [] : [`${from} may import only ${["itself", ...allowed].join(", ")}`];
}
