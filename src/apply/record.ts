import { readdir } from "node:fs/promises";
import { dirname } from "node:path";
import { isDeepStrictEqual } from "node:util";
import * as z from "zod";
import { writeAtomically } from "../base/atomic-file.ts";
import { CODES } from "../base/errors.ts";
import { createLocks } from "../base/locks.ts";
import { readState, withFolders } from "../store/state-file.ts";
import type { Host } from "./host.ts";

const failure = z
  .object({ code: z.enum(CODES), message: z.string(), hint: z.string().nullable(), retryAt: z.number().nullable() })
  .nullable();

const service = z.object({
  /** The last reload that was run for this spec. */
  reloaded: z.object({ generation: z.number(), at: z.number(), failure }).nullable(),
  /** How the preflight of the files that stand there ended; null where it has not been run for them. */
  preflight: z.enum(["well", "broken"]).nullable(),
  /** Until when the certificate is good that the service took last; null where that is not known. */
  servedUntil: z.number().nullable(),
});

const schema = z.object({
  schema: z.literal(1),
  /** The generation that the outputs were last made true for. */
  deployed: z.number().nullable(),
  /** What stood there before `deployed`, for as long as a service may still refuse that. */
  before: z.number().nullable(),
  /** Digests of these two as they were accepted, by their numbers: the agent's files may be others' by now. */
  accepted: z.record(z.string(), z.string()).default({}),
  /** The outputs then: what the spec keeps against a newcomer, adopted files too. */
  paths: z.array(z.string()),
  /** What certagent wrote: path → digest of the bytes, and the identity that the file then had. */
  files: z.record(z.string(), z.object({ sha256: z.string(), identity: z.string() })),
  /** Where files were last staged, and for whom: what is cut off there must be found though the spec is gone. */
  staging: z.array(z.object({ path: z.string(), owner: z.number() })).default([]),
  /** By the service's key. */
  services: z.record(z.string(), service),
  /** Files were changed and `hooks.after` has not been run for that. */
  owesAfter: z.boolean(),
  /** The last apply failed: `hooks.failed` was run once for the streak. */
  failing: z.boolean(),
});

/** The root side's facts of one spec: what is on disk because of certagent, and what its services made of it. */
export type ApplyRecord = Omit<z.output<typeof schema>, "schema">;
export type ServiceRecord = z.output<typeof service>;

export const NO_RECORD: ApplyRecord = {
  deployed: null,
  before: null,
  accepted: {},
  paths: [],
  files: {},
  staging: [],
  services: {},
  owesAfter: false,
  failing: false,
};
export const NO_SERVICE_RECORD: ServiceRecord = { reloaded: null, preflight: null, servedUntil: null };

/** The records of all specs; what was read once is kept in memory, as nobody else writes them. */
export interface Records {
  read(name: string): Promise<ApplyRecord>;
  /**
   * Changes so much of a record, durably, and answers with all of it as it is then: what else has changed meanwhile stays.
   * Paths that it is given are no other spec's any more. Throws `DEPLOY_FAILED`.
   */
  change(name: string, change: Partial<ApplyRecord>): Promise<ApplyRecord>;
  /** Those of all specs that there ever were, by name. */
  all(): Promise<ReadonlyMap<string, ApplyRecord>>;
  /** Which spec has deployed a path. */
  owners(): Promise<ReadonlyMap<string, string>>;
}

export function openRecords({ layout, files }: Host): Records {
  const known = new Map<string, ApplyRecord>();
  const withLock = createLocks();
  let listed: Promise<readonly string[]> | undefined;
  const read = async (name: string): Promise<ApplyRecord> => {
    const found = known.get(name) ?? (await readState(layout.apply.facts(name), schema)) ?? NO_RECORD;
    const record = known.get(name) ?? found; // one that was written meanwhile is newer
    known.set(name, record);
    return record;
  };
  const save = async (name: string, record: ApplyRecord): Promise<void> => {
    const path = layout.apply.facts(name);
    const { deployed, before, accepted, paths, files: written, staging, services, owesAfter, failing } = record;
    const ordered = { deployed, before, accepted, paths, files: written, staging, services, owesAfter, failing };
    const text = JSON.stringify({ schema: 1, ...ordered });
    const bytes = Buffer.from(`${text}\n`);
    await withFolders(path, () => writeAtomically(path, bytes, { mode: 0o600, files, alone: true })).catch(
      (error: unknown) => {
        known.delete(name); // it may be there all the same
        throw error;
      },
    );
    known.set(name, record);
  };
  /** One after the other: a spec's own apply and another one's that takes a path from it know nothing of each other. */
  const changeOne = (name: string, changeOf: (record: ApplyRecord) => Partial<ApplyRecord>): Promise<ApplyRecord> =>
    withLock(name, async () => {
      const before = await read(name);
      const record = { ...before, ...changeOf(before) };
      if (!isDeepStrictEqual(record, before)) await save(name, record);
      return record;
    });
  const all = async (): Promise<ReadonlyMap<string, ApplyRecord>> => {
    listed ??= namesIn(dirname(layout.apply.facts("x")));
    for (const name of await listed) await read(name);
    return known;
  };
  return {
    read,
    all,
    owners: async () => {
      await all();
      return new Map([...known].flatMap(([name, { paths }]) => paths.map((path) => [path, name])));
    },
    change: async (name, change) => {
      const record = await changeOne(name, () => change);
      const taken = new Set(change.paths);
      if (taken.size === 0) return record; // most changes: a look at all for each would be felt
      // A path is of the last spec that deployed it: one that was removed or renamed must not claim it when it is back.
      for (const [other, { paths }] of known) {
        if (other === name || !paths.some((path) => taken.has(path))) continue;
        await changeOne(other, (theirs) => ({ paths: theirs.paths.filter((path) => !taken.has(path)) }));
      }
      return record;
    },
  };
}

async function namesIn(folder: string): Promise<readonly string[]> {
  const entries = await readdir(folder).catch(() => []);
  return entries.flatMap((entry) => /^([^.].*)\.json$/.exec(entry)?.[1] ?? []);
}
