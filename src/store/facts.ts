import * as z from "zod";
import { CODES } from "../base/errors.ts";
import { sideBySide } from "../base/side-by-side.ts";
import { type Facts, NO_FACTS } from "../core/facts.ts";
import { readState, writeState } from "./state-file.ts";

/** What is no date at all was not written by us, and nobody could be told of it. */
const instant = z.number().min(0).max(8.64e15);

const streak = z
  .object({
    code: z.enum(CODES),
    message: z.string(),
    hint: z.string().nullable(),
    retryAt: instant.nullable(),
    since: instant,
    at: instant,
    attempts: z.int().min(1),
    tryAt: instant,
  })
  .nullable();

const proof = z
  .object({
    type: z.string(),
    fingerprint: z.string().nullable(),
    generation: z.number().nullable(),
    at: instant,
    address: z.string().nullable(),
    proven: z.boolean(),
    code: z.enum(CODES).nullable().default(null),
  })
  .nullable();

const schema = z.object({
  schema: z.literal(1),
  digest: z.string().nullable(),
  issuer: z.string().nullable().default(null),
  issuances: z.array(instant),
  failures: z.object({ issue: streak, apply: streak, prove: streak }),
  proofs: z.array(proof),
  repairs: z.array(z.object({ path: z.string(), at: instant })),
  deployed: z.array(z.string()),
  refused: z.int().min(1).nullable().default(null),
  paused: z.object({ since: instant, because: z.string() }).nullable(),
  writtenAt: instant,
});

/** Reads one spec's facts; none where they are missing or cannot be understood. */
export async function readFacts(path: string): Promise<Facts> {
  const read = await readState(path, schema);
  if (read === undefined) return NO_FACTS;
  const { schema: _, ...facts } = read;
  return facts;
}

/** Files that are read at one time: each may be as large as a file of state can be. */
const AT_ONE_TIME = 16;

/** The facts of so many specs, by their names. Those of others that there ever were are nobody's business. */
export async function readFactsOf(
  names: readonly string[],
  pathOf: (name: string) => string,
): Promise<ReadonlyMap<string, Facts>> {
  return new Map(await sideBySide(AT_ONE_TIME, names, async (name) => [name, await readFacts(pathOf(name))] as const));
}

/** Which spec has deployed which path: the one that was last at work, where several have. */
export function ownersIn(all: ReadonlyMap<string, Facts>): ReadonlyMap<string, string> {
  const byAge = [...all].toSorted(([, a], [, b]) => a.writtenAt - b.writtenAt);
  return new Map(byAge.flatMap(([name, { deployed }]) => deployed.map((path) => [path, name] as const)));
}

/** Writes one spec's facts, durable when it resolves. Throws DEPLOY_FAILED. */
export async function writeFacts(path: string, facts: Facts): Promise<void> {
  await writeState(path, { schema: 1, ...facts });
}
