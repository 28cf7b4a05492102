import { writeAtomically } from "../base/atomic-file.ts";
import { readBounded } from "../base/read-file.ts";
import { sha256 } from "../core/hash.ts";
import type { HostFacts } from "./host-facts.ts";
import type { Problem } from "./problem.ts";
import type { ParseResult, Position, Source } from "./source.ts";

/** What was made of a text. */
interface Judged {
  readonly problems: readonly Problem[];
  /** Where the paths of a spec's outputs stand. */
  readonly places: readonly Position[];
}

/** What texts were parsed to, across restarts: to parse YAML anew takes longer than the rest of a reading. */
export interface ParsedTexts {
  /** What `judge` makes of a text of this file, which is not parsed where it was before and nothing was wrong with it. */
  judged<Result extends Judged>(
    file: string,
    bytes: Uint8Array,
    judge: (source: Source) => Result,
  ): Promise<Result | Pick<Judged, "problems">>;
  /** Writes what was parsed, if anything was, and leaves out what is of no file of these. Never rejects. */
  keep(files: ReadonlySet<string>): Promise<void>;
}

interface Entry extends Pick<Judged, "places"> {
  /** Of the text, and of what else decides what it says. */
  readonly key: string;
  /** As JSON. */
  readonly data: string;
}

const NOWHERE: Position = { line: 1, column: 1 };

type Entries = Readonly<Record<string, Entry>>;

/** Some ten thousand specs. What would be larger is not kept. */
const LARGEST = 16 * 1024 * 1024;

/** The parser (`parse.ts`), which is loaded when a text has to be parsed. */
export async function parseText(bytes: Uint8Array, file: string, facts: HostFacts): Promise<ParseResult> {
  const { parseYaml } = await import("./parse.ts");
  return parseYaml(bytes, file, facts);
}

/** Opens such a file. It is only believed for texts that this `version` has parsed with these `facts`. */
export async function openParsedTexts(
  path: string,
  { version, facts, readOnly }: { version: string; facts: HostFacts; readOnly: boolean },
): Promise<ParsedTexts> {
  let known = await load(path);
  let added: Record<string, Entry> = {};
  const context = `${JSON.stringify([version, facts.fqdn, facts.hostname])}\n`;
  const keyOf = (bytes: Uint8Array): string => sha256(Buffer.concat([Buffer.from(context), bytes]));
  return {
    judged: async (file, bytes, judge) => {
      const [key, entry] = [keyOf(bytes), known[file]];
      const source = entry?.key === key ? sourceOf(entry, file) : undefined;
      const again = source && judge(source);
      if (entry !== undefined && again?.problems.length === 0) return { ...again, places: entry.places };
      const result = await parseText(bytes, file, facts);
      if (!("source" in result)) return result;
      const { data } = result.source;
      const found = judge(result.source);
      if (found.problems.length === 0) added[file] = { key, data: JSON.stringify(data), places: found.places };
      return found;
    },
    keep: async (files) => {
      known = {}; // what stands in memory from now on is what the specs were made of
      if (readOnly || Object.keys(added).length === 0) return;
      const all = Object.entries({ ...(await load(path)), ...added }).filter(([file]) => files.has(file));
      const json = JSON.stringify(Object.fromEntries(all));
      const text = Buffer.from(`${sha256(json)}\n${json}`);
      // Where it cannot be written that is tried again at the next reading; until then a start takes longer.
      if (text.length > LARGEST || (await isWritten(path, text))) added = {};
    },
  };
}

async function isWritten(path: string, text: Uint8Array): Promise<boolean> {
  return await writeAtomically(path, text, { mode: 0o600, alone: true }).then(
    () => true,
    () => false,
  );
}

/**
 * What cannot be read is as if it were not there, and so is what is not to the letter what was written: of a path, a mode or
 * a command that a disk has damaged nothing else would tell.
 */
async function load(path: string): Promise<Entries> {
  try {
    const [digest, json = ""] = (await readBounded(path, LARGEST)).toString("utf8").split("\n");
    return digest === sha256(json) ? (JSON.parse(json) as Entries) : {};
  } catch {
    return {};
  }
}

/** As if it were parsed, but without places: whoever has a complaint must parse the text. Undefined where it cannot be read. */
function sourceOf({ data }: Entry, file: string): Source | undefined {
  try {
    return { file, data: JSON.parse(data, withoutPrototype), valueAt: () => NOWHERE, keyAt: () => NOWHERE };
  } catch {
    return undefined;
  }
}

/** As the parser makes maps. */
function withoutPrototype(_: string, value: unknown): unknown {
  const isMap = typeof value === "object" && value !== null && !Array.isArray(value);
  return isMap ? Object.assign(Object.create(null), value) : value;
}
