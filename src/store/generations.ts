import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { publishFolder, writeAtomically } from "../base/atomic-file.ts";
import { AgentError } from "../base/errors.ts";
import { readBounded } from "../base/read-file.ts";
import type { CertificateRequest, Generation } from "../core/ports.ts";
import { loadCertificates } from "../x509/certificate.ts";
import { matches, type PrivateKey, parseKey } from "../x509/key.ts";
import { readState } from "./state-file.ts";

/** Generations that are kept: what is in force and what can be gone back to. */
export const GENERATIONS_KEPT = 3;
const LIMIT = 256 * 1024;

const requestSchema: z.ZodType<CertificateRequest> = z.object({
  issuer: z.string(),
  subject: z.string(),
  names: z.array(z.object({ type: z.enum(["dns", "ip", "uri", "email"]), value: z.string() })),
  usages: z.array(z.enum(["server", "client"])),
  lifetime: z.number().nullable(),
  key: z.enum(["ec-p256", "ec-p384", "ed25519", "rsa-2048", "rsa-3072", "rsa-4096"]).nullable(),
});

const recordSchema = z.object({
  schema: z.literal(1),
  request: requestSchema,
  issuedAt: z.number(),
  via: z.string(),
});

/** The generations of one spec in a folder of their own, each a folder named by its number. */
export interface Generations {
  /** Numbers of all complete ones, ascending. */
  list(): Promise<readonly number[]>;
  /** The newest number; undefined where there is none. */
  newest(): Promise<number | undefined>;
  /** Throws `KEY_UNUSABLE`, `CHAIN_UNUSABLE` or `STATE_UNUSABLE` where its files are not what was written. */
  read(number: number): Promise<Generation>;
  /** Stages a generation, durable when it resolves; its number follows the newest and `after`. */
  stage(draft: Omit<Generation, "number">, after?: number | null): Promise<Generation>;
  /** Removes all but the newest {@link GENERATIONS_KEPT} and those to protect. */
  prune(protect: readonly number[]): Promise<void>;
  /** The key whose request may have left this host without an answer; undefined where there is none. */
  pendingKey(): Promise<PrivateKey | undefined>;
  /** Keeps a key, durable when it resolves, before its request leaves the host. */
  keepPendingKey(key: PrivateKey): Promise<void>;
}

export function openGenerations(folder: string): Generations {
  const pathOf = (number: number): string => join(folder, String(number));
  const pendingPath = join(folder, "pending.key");

  const list = async (): Promise<readonly number[]> => {
    const names = await readdir(folder).catch(() => []);
    return names
      .filter((name) => /^\d{1,9}$/.test(name))
      .map(Number)
      .sort((a, b) => a - b);
  };
  const newest = async (): Promise<number | undefined> => (await list()).at(-1);

  return {
    list,
    newest,
    read: (number) => readGeneration(pathOf(number), number),
    stage: async (draft, after = null) => {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      const number = Math.max((await newest()) ?? 0, after ?? 0) + 1;
      const temporary = join(folder, `.staging-${number}`);
      await rm(temporary, { recursive: true, force: true });
      await mkdir(temporary, { mode: 0o700 });
      for (const [name, text] of filesOf(draft)) {
        await writeAtomically(join(temporary, name), Buffer.from(text), { mode: 0o600 });
      }
      await publishFolder(temporary, pathOf(number));
      await rm(pendingPath, { force: true });
      return { ...draft, number };
    },
    prune: async (protect) => {
      const old = (await list()).slice(0, -GENERATIONS_KEPT).filter((number) => !protect.includes(number));
      for (const number of old) await rm(pathOf(number), { recursive: true, force: true });
    },
    pendingKey: async () => {
      const bytes = await readBounded(pendingPath, LIMIT).catch(() => undefined);
      if (bytes === undefined) return undefined;
      try {
        return parseKey(Buffer.from(bytes).toString("utf8"));
      } catch {
        return undefined;
      }
    },
    keepPendingKey: async (key) => {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      await writeAtomically(pendingPath, Buffer.from(key.toPem()), { mode: 0o600 });
    },
  };
}

/** The files of a generation; the record last, so that a folder without it is known to be torn. */
function filesOf(draft: Omit<Generation, "number">): readonly (readonly [string, string])[] {
  const { request, issuedAt, via } = draft;
  return [
    ["key.pem", draft.key.toPem()],
    ["chain.pem", draft.chain.map((certificate) => certificate.pem).join("")],
    ["roots.pem", draft.roots.map((certificate) => certificate.pem).join("")],
    ["generation.json", `${JSON.stringify({ schema: 1, request, issuedAt, via })}\n`],
  ];
}

async function readGeneration(folder: string, number: number): Promise<Generation> {
  const record = await readState(join(folder, "generation.json"), recordSchema);
  if (record === undefined)
    throw new AgentError("STATE_UNUSABLE", `Cannot read generation "${folder}": no valid record`);
  const text = async (name: string): Promise<string> =>
    Buffer.from(await readBounded(join(folder, name), LIMIT)).toString("utf8");
  const key = parseKey(await text("key.pem"));
  const [leaf, ...intermediates] = loadCertificates(await text("chain.pem"));
  const roots = loadCertificates(await text("roots.pem"));
  if (leaf === undefined || !matches(key, leaf)) {
    throw new AgentError("KEY_UNUSABLE", `Cannot use generation "${folder}": its key is not the certificate's`);
  }
  const { request, issuedAt, via } = record;
  return { number, request, key, chain: [leaf, ...intermediates], roots, issuedAt, via };
}
