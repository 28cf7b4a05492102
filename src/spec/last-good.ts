import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { writeAtomically } from "../base/atomic-file.ts";
import { failureOf } from "../base/errors.ts";
import { makeFolders, removeDurably } from "../base/folder.ts";
import { readBounded } from "../base/read-file.ts";
import { sha256 } from "../core/hash.ts";
import { fileProblem, type Problem } from "./problem.ts";
import { LARGEST_FILE } from "./source.ts";

/** The texts that were last in force, durable, so that a broken edit costs nothing across restarts either. */
export interface LastGood {
  /** Where the text of a name is kept. */
  fileOf(name: string): string;
  /** The names that have a text. */
  names(): ReadonlySet<string>;
  /** The text kept under a name; undefined where there is none that can be read. */
  load(name: string): Promise<Uint8Array | undefined>;
  /** Keeps a text of this SHA-256; writes only where it differs from what is kept. Throws `DEPLOY_FAILED`. */
  save(name: string, bytes: Uint8Array, digest: string): Promise<void>;
  forget(name: string): Promise<void>;
}

/** Opens (and makes) a folder of texts; `readOnly` changes nothing in it. What cannot be read is as if it were not there. */
export async function openLastGood(folder: string, { readOnly = false } = {}): Promise<LastGood> {
  const digests = new Map<string, string | undefined>();
  const fileOf = (name: string): string => join(folder, `${name}.yaml`);
  if (!readOnly) await makeFolders(folder, { mode: 0o700 }).catch(() => {}); // `save` says what is wrong with it
  for (const file of await readdir(folder).catch(() => [])) {
    if (!file.startsWith(".") && file.endsWith(".yaml")) digests.set(file.slice(0, -".yaml".length), undefined);
  }
  const load = async (name: string): Promise<Uint8Array | undefined> => {
    if (!digests.has(name)) return undefined;
    try {
      const bytes = await readBounded(fileOf(name), LARGEST_FILE);
      digests.set(name, sha256(bytes));
      return bytes;
    } catch {
      return undefined;
    }
  };
  return {
    fileOf,
    names: () => new Set(digests.keys()),
    load,
    save: async (name, bytes, digest) => {
      if (readOnly) return;
      if (digests.has(name) && digests.get(name) === undefined) await load(name);
      if (digests.get(name) !== digest) await writeAtomically(fileOf(name), bytes, { mode: 0o600, alone: true });
      digests.set(name, digest);
    },
    forget: async (name) => {
      if (!readOnly) await removeDurably(fileOf(name));
      digests.delete(name);
    },
  };
}

/** Keeps a text; what is wrong with that is told. A disk that is full costs the copy, not the spec. */
export async function keep(lastGood: LastGood, name: string, bytes: Uint8Array, digest: string): Promise<Problem[]> {
  try {
    await lastGood.save(name, bytes, digest);
    return [];
  } catch (error) {
    const { message, hint } = failureOf(error);
    return [fileProblem(lastGood.fileOf(name), message, hint)];
  }
}
