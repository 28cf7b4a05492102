import { constants } from "node:fs";
import { unlink, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import * as z from "zod";
import { AgentError } from "../base/errors.ts";
import { openFile } from "../base/file-calls.ts";
import { fileError, isMissing } from "../base/file-error.ts";
import { holdFolder, removeDurably } from "../base/folder.ts";
import { readBounded } from "../base/read-file.ts";
import { rawNames } from "../base/remove-entry.ts";
import type { CertificateRequest, Generation } from "../core/ports.ts";
import { loadCertificates } from "../x509/certificate.ts";
import { matches, type PrivateKey, parseKey } from "../x509/key.ts";
import { parseJson, readState, unreadable, withFolders, writeBytes, writeState } from "./state-file.ts";

/** Generations that are kept: the one in force and those that can be gone back to. */
const GENERATIONS_KEPT = 3;
/** Damaged ones stay too. Root looks into the agent's folder as well, where somebody else may have put millions. */
const MOST_FILES = 4096;
const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const KEY_LIMIT = 64 * 1024;
/** More than a generation takes. */
const ROOM = Buffer.alloc(128 * 1024);

const requestSchema: z.ZodType<CertificateRequest> = z.object({
  issuer: z.string(),
  subject: z.string(),
  names: z.array(z.object({ type: z.enum(["dns", "ip", "uri", "email"]), value: z.string() })),
  usages: z.array(z.enum(["server", "client"])),
  lifetime: z.number().nullable(),
  key: z.enum(["ec-p256", "ec-p384", "ed25519", "rsa-2048", "rsa-3072", "rsa-4096"]).nullable(),
});

const schema = z.object({
  schema: z.literal(1),
  request: requestSchema,
  issuedAt: z.number(),
  via: z.string(),
  /** PEM. */
  key: z.string(),
  chain: z.string(),
  roots: z.string(),
});

/** The generations of one spec: a file each, `NUMBER.json`, in a folder of their own. */
export interface Generations {
  /** All numbers, ascending. Throws `STATE_UNUSABLE` where the folder is there and cannot be read. */
  list(): Promise<readonly number[]>;
  /** The newest number that can be read, since a damaged file is as good as a missing one; undefined where there is none. */
  newest(): Promise<number | undefined>;
  /** Throws `KEY_UNUSABLE`, `CHAIN_UNUSABLE` or `STATE_UNUSABLE` where the file is not what was written. */
  read(number: number): Promise<Generation>;
  /** Holds the room that a generation needs until disposed of, so that a full disk shows before the CA is asked. */
  reserve(): Promise<AsyncDisposable>;
  /** Keeps a generation, durable when it resolves. Its number follows the newest and `after`. */
  stage(draft: Omit<Generation, "number">, after?: number | null): Promise<Generation>;
  /** Removes all but the newest three and those to protect. */
  prune(protect: readonly number[]): Promise<void>;
  /**
   * The key whose request may have left this host without an answer; undefined where there is none, or a damaged one.
   * Throws `DEPLOY_FAILED` where it is there and cannot be read.
   */
  pendingKey(): Promise<PrivateKey | undefined>;
  /** Keeps a key, durable when it resolves, before its request leaves the host. */
  keepPendingKey(key: PrivateKey): Promise<void>;
}

/** Opens the generations in a folder, which is made when something is first kept in it. */
export function openGenerations(folder: string): Generations {
  const pathOf = (number: number): string => join(folder, `${number}.json`);
  const pendingPath = join(folder, "pending.key");
  const reservedPath = join(folder, "reserved");

  const list = async (): Promise<readonly number[]> => numbersOf(await namesIn(folder));

  /** What was read once stays readable: generations never change. */
  const sound = new Set<number>();
  const isSound = async (number: number): Promise<boolean> => {
    if (sound.has(number)) return true;
    const canBeRead = await readGeneration(pathOf(number), number).then(
      () => true,
      () => false,
    );
    if (canBeRead) sound.add(number);
    return canBeRead;
  };
  const newest = async (): Promise<number | undefined> => {
    for (const number of (await list()).toReversed()) if (await isSound(number)) return number;
    return undefined;
  };

  let isReserved = true; // by a process that was killed, perhaps
  const release = async (): Promise<void> => {
    if (!isReserved) return;
    await remove(reservedPath);
    isReserved = false;
  };
  /** False once it is known that there is none: nobody else writes here. */
  let mayHavePending = true;

  return {
    list,
    newest,
    read: (number) => readGeneration(pathOf(number), number),
    reserve: async () => {
      try {
        isReserved = true;
        await withFolders(reservedPath, () => writeFile(reservedPath, ROOM, { mode: 0o600, flush: true }));
      } catch (error) {
        await release().catch(() => {});
        throw fileError("write", reservedPath, error);
      }
      return { [Symbol.asyncDispose]: release };
    },
    stage: async (draft, after = null) => {
      await release();
      const number = Math.max((await list()).at(-1) ?? 0, after ?? 0) + 1; // damaged ones keep their numbers
      await writeState(pathOf(number), {
        schema: 1,
        request: draft.request,
        issuedAt: draft.issuedAt,
        via: draft.via,
        key: draft.key.toPem(),
        chain: draft.chain.map((certificate) => certificate.pem).join(""),
        roots: draft.roots.map((certificate) => certificate.pem).join(""),
      });
      if (mayHavePending) await removeDurably(pendingPath);
      mayHavePending = false;
      return { ...draft, number };
    },
    prune: async (protect) => {
      const names = await namesIn(folder);
      const old = numbersOf(names)
        .slice(0, -GENERATIONS_KEPT)
        .filter((number) => !protect.includes(number));
      for (const path of old.flatMap((number) => [pathOf(number), unreadable(pathOf(number))])) {
        if (names.includes(basename(path))) await remove(path);
      }
    },
    pendingKey: async () => {
      // One that is there and cannot be read now is not replaced: a certificate may have been issued for it.
      const bytes = await readBounded(pendingPath, KEY_LIMIT).catch((error: unknown) => {
        if (isMissing(error)) return undefined;
        throw error;
      });
      try {
        return bytes && parseKey(bytes.toString("utf8"));
      } catch {
        return undefined;
      }
    },
    keepPendingKey: async (key) => {
      mayHavePending = true;
      await writeBytes(pendingPath, Buffer.from(key.toPem()));
    },
  };
}

/** No more than so many, whichever they are. */
async function namesIn(folder: string): Promise<readonly string[]> {
  try {
    await using held = holdFolder(folder, await openFile(folder, FOLDER));
    return await rawNames(held, MOST_FILES);
  } catch (error) {
    // Only a folder that is not there holds no generation: anything else must not cost an issuance.
    if (isMissing(error)) return [];
    throw fileError("read", folder, error, "STATE_UNUSABLE");
  }
}

function numbersOf(names: readonly string[]): readonly number[] {
  return names.flatMap((name) => numberOf(name) ?? []).toSorted((a, b) => a - b);
}

async function remove(path: string): Promise<void> {
  await unlink(path).catch((error: unknown) => {
    if (!isMissing(error)) throw error;
  });
}

/** The number in a generation's file name; undefined for other names. */
export function numberOf(file: string): number | undefined {
  const digits = /^(\d{1,9})\.json$/.exec(file)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

async function readGeneration(path: string, number: number): Promise<Generation> {
  return generationOf(await readState(path, schema), path, number);
}

/** The generation in the bytes of a file. Throws `KEY_UNUSABLE`, `CHAIN_UNUSABLE` or `STATE_UNUSABLE`, quoting nothing of it. */
export function parseGeneration(bytes: Uint8Array, path: string, number: number): Generation {
  return generationOf(schema.safeParse(parseJson(bytes)).data, path, number);
}

function generationOf(record: z.output<typeof schema> | undefined, path: string, number: number): Generation {
  if (record === undefined) throw new AgentError("STATE_UNUSABLE", `Cannot read generation "${path}": it is damaged`);
  const key = parseKey(record.key);
  const [leaf, ...intermediates] = loadCertificates(record.chain);
  if (leaf === undefined || !matches(key, leaf)) {
    throw new AgentError("KEY_UNUSABLE", `Cannot use generation "${path}": its key is not the certificate's`);
  }
  const { request, issuedAt, via } = record;
  return {
    number,
    request,
    key,
    chain: [leaf, ...intermediates],
    roots: loadCertificates(record.roots),
    issuedAt,
    via,
  };
}
