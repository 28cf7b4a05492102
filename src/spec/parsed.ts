import { writeAtomically } from "../base/atomic-file.ts";
import { readBounded } from "../base/read-file.ts";
import { sha256 } from "../core/hash.ts";
import type { Facts } from "./facts.ts";
import type { Position, Source } from "./source.ts";

/** What a text says that was in force without a complaint. */
export interface Parsed {
  readonly data: unknown;
  /** Where the paths of a spec's outputs stand. */
  readonly places: readonly Position[];
}

/** What texts were parsed to, across restarts: to parse YAML anew takes longer than the rest of a reading. */
export interface ParsedTexts {
  /** What this text of this file says; undefined where it has to be parsed. */
  find(file: string, bytes: Uint8Array): Parsed | undefined;
  add(file: string, bytes: Uint8Array, parsed: Parsed): void;
  /** Writes what was added, if anything was, and leaves out what is of no file of these. Never rejects. */
  keep(files: ReadonlySet<string>): Promise<void>;
}

interface Entry extends Pick<Parsed, "places"> {
  /** Of the text, and of what else decides what it says. */
  readonly key: string;
  /** As JSON. */
  readonly data: string;
}

type Entries = Readonly<Record<string, Entry>>;

/** Some ten thousand specs. What would be larger is not kept. */
const LARGEST = 16 * 1024 * 1024;

/** Opens such a file. It is only believed for texts that this `version` has parsed with these `facts`. */
export async function openParsedTexts(
  path: string,
  { version, facts, readOnly }: { version: string; facts: Facts; readOnly: boolean },
): Promise<ParsedTexts> {
  let known = await load(path);
  let added: Record<string, Entry> = {};
  const context = `${JSON.stringify([version, facts.fqdn, facts.hostname])}\n`;
  const keyOf = (bytes: Uint8Array): string => sha256(Buffer.concat([Buffer.from(context), bytes]));
  return {
    find: (file, bytes) => {
      const entry = known[file];
      return entry?.key === keyOf(bytes) ? parsedFrom(entry) : undefined;
    },
    add: (file, bytes, { data, places }) => {
      added[file] = { key: keyOf(bytes), data: JSON.stringify(data), places };
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

function parsedFrom({ data, places }: Entry): Parsed | undefined {
  try {
    return { data: JSON.parse(data, withoutPrototype), places };
  } catch {
    return undefined;
  }
}

/** As the parser makes maps. */
function withoutPrototype(_: string, value: unknown): unknown {
  const isMap = typeof value === "object" && value !== null && !Array.isArray(value);
  return isMap ? Object.assign(Object.create(null), value) : value;
}

const NOWHERE: Position = { line: 1, column: 1 };

/** As if it were parsed, but without places: whoever has a complaint must parse the text. */
export function sourceOf({ data }: Parsed, file: string): Source {
  return { file, data, valueAt: () => NOWHERE, keyAt: () => NOWHERE };
}
