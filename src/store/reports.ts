/** What the root side answers: a file for each request, read as data that anybody could have written. */
import { dirname, join } from "node:path";
import * as z from "zod";
import { type Access, writeAtomically } from "../base/atomic-file.ts";
import { AgentError, CODES, type Failure } from "../base/errors.ts";
import { isMissing } from "../base/file-error.ts";
import { readBounded } from "../base/read-file.ts";
import { shellWord } from "../base/shell-word.ts";
import type { Instant } from "../base/time.ts";
import {
  type Adopted,
  type ApplyFacts,
  type ApplyReport,
  FILES_OUTCOMES,
  OUTPUT_STATES,
  SERVICE_OUTCOMES,
} from "../core/applier.ts";
import { LIVENESS } from "../core/ports.ts";
import { loadCertificates } from "../x509/certificate.ts";
import { matches, parseKey } from "../x509/key.ts";
import { TOKEN } from "./requests.ts";

/** More than the facts of thousands of specs. */
const LARGEST_REPORT = 16 * 1024 * 1024;

const text = z.string().max(1024 * 1024);
const instant = z.number();
const generation = z.number().int().nonnegative();

const failure: z.ZodType<Failure> = z.strictObject({
  code: z.enum(CODES),
  message: text,
  hint: text.nullable(),
  retryAt: instant.nullable(),
});

const address = z.union([
  z.strictObject({ host: text, port: z.number().int().min(1).max(65_535) }),
  z.strictObject({ path: text }),
]);

const facts: z.ZodType<ApplyFacts> = z.strictObject({
  deployed: generation.nullable(),
  outputs: z.array(
    z.strictObject({
      path: text,
      format: text,
      state: z.enum(OUTPUT_STATES).exclude(["unknown"]),
      because: text.nullable(),
    }),
  ),
  services: z.array(
    z.strictObject({
      type: text,
      liveness: z.enum(LIVENESS),
      probe: z
        .strictObject({
          address,
          besides: z.array(address).optional(),
          starttls: text,
          serverName: text.nullable(),
          timeout: z.number().positive(),
        })
        .nullable(),
      unseen: failure.optional(),
      reloaded: z.strictObject({ generation, at: instant, failure: failure.nullable() }).nullable(),
      servedUntil: instant.nullable().default(null), // a root side that an upgrade has left at work does not tell
    }),
  ),
  adoptable: z.boolean(),
  obstacle: failure.nullable(),
});

/** Facts and what they were judged against, or why there are none. */
const observed = z.union([
  z.strictObject({ name: text, digest: text, generation: generation.nullable(), facts }),
  z.strictObject({ name: text, failure }),
]);
export type ObservedSpec = z.output<typeof observed>;

/** The answer to `observe` and to `look`; without specs that would have held it up it is not whole. */
export const observation = z.strictObject({ specs: z.array(observed), isWhole: z.boolean() });
export type Observation = z.output<typeof observation>;

const applyReport: z.ZodType<ApplyReport> = z.strictObject({
  deployed: generation.nullable(),
  files: z.enum(FILES_OUTCOMES),
  services: z.array(
    z.strictObject({
      type: text,
      outcome: z.enum(SERVICE_OUTCOMES),
      failure: failure.nullable(),
      note: text.nullable(),
    }),
  ),
  failure: failure.nullable(),
  actions: z.array(text),
  repaired: z.array(text),
});

/** The answer to `apply`: what was done, and how things stand after it. */
export const application = z.strictObject({ report: applyReport, observed: observed.nullable() });
export type Application = z.output<typeof application>;

/** The answer to `adopt`, in PEM; null where nothing there fits. */
export const adoption = z.strictObject({ key: text, chain: text }).nullable();
export type Adoption = z.output<typeof adoption>;

/** The answer to what has nothing to tell but how it ended. */
export const nothing = z.null();

export function adoptionOf(adopted: Adopted | undefined): Adoption {
  if (adopted === undefined) return null;
  return { key: adopted.key.toPem(), chain: adopted.chain.map(({ pem }) => pem).join("") };
}

/** The pair that was handed over. Throws `KEY_UNUSABLE` or `CHAIN_UNUSABLE` where it is none. */
export function adoptedFrom(adoption: Adoption): Adopted | undefined {
  if (adoption === null) return undefined;
  const key = parseKey(adoption.key);
  const [leaf, ...intermediates] = loadCertificates(adoption.chain);
  if (leaf === undefined || !matches(key, leaf)) {
    throw new AgentError("KEY_UNUSABLE", "Cannot adopt what was found: its key is not the certificate's");
  }
  return { key, chain: [leaf, ...intermediates] };
}

/** How a request ended. */
export type Answer<Result> =
  | { readonly token: string; readonly result: Result }
  | { readonly token: string; readonly failure: Failure };

/** Where the report of a request of that name is. */
export function reportPath(folder: string, request: string): string {
  return join(folder, `${request}.json`);
}

/** Writes a report; who reads finds the old one or the whole new one. Throws `DEPLOY_FAILED`. */
export async function writeReport(path: string, answer: Answer<unknown>, at: Instant, access: Access): Promise<void> {
  await writeAtomically(path, Buffer.from(`${JSON.stringify({ schema: 1, at, ...answer })}\n`), access);
}

/**
 * Reads a report; undefined where there is none yet. Throws `APPLY_UNREACHABLE` where it is not what a root side of this
 * version writes.
 */
export async function readReport<Result>(path: string, result: z.ZodType<Result>): Promise<Answer<Result> | undefined> {
  const head = { schema: z.literal(1), token: z.string().regex(TOKEN), at: instant };
  const schema = z.union([z.strictObject({ ...head, result }), z.strictObject({ ...head, failure })]);
  try {
    const bytes = await readBounded(path, LARGEST_REPORT);
    return schema.parse(JSON.parse(bytes.toString("utf8")));
  } catch (cause) {
    if (isMissing(cause)) return undefined;
    throw new AgentError("APPLY_UNREACHABLE", `Cannot understand the report "${path}"`, {
      cause,
      hint: `is certagent-apply of the same version as this agent? ls -l ${shellWord(dirname(path))} shows the reports`,
    });
  }
}
