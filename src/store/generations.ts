import { constants } from "node:fs";
import { open, rm, unlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import * as z from "zod";
import { writeAtomicallyIn } from "../base/atomic-file.ts";
import { AgentError } from "../base/errors.ts";
import { type FileStat, fileCalls, openFile } from "../base/file-calls.ts";
import { errnoOf, fileError, isMissing, rethrow } from "../base/file-error.ts";
import { type Folder, holdFolder, openFolder, removeDurably } from "../base/folder.ts";
import { readBounded } from "../base/read-file.ts";
import { rawNames } from "../base/remove-entry.ts";
import type { Instant } from "../base/time.ts";
import type { CertificateRequest, Generation } from "../core/ports.ts";
import { loadCertificates, USAGES } from "../x509/certificate.ts";
import { KEY_ALGORITHMS, matches, type PrivateKey, parseKey } from "../x509/key.ts";
import { NAME_TYPES } from "../x509/name.ts";
import { parseJson, readState, stateBytes, unreadable, withFolders, writeBytes } from "./state-file.ts";

/** Generations that are kept: the one in force and those that can be gone back to. */
const GENERATIONS_KEPT = 3;
/** Damaged ones stay too. Root looks into the agent's folder as well, where somebody else may have put millions. */
const MOST_FILES = 4096;
const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const KEY_LIMIT = 64 * 1024;
/** More than a generation takes, in pieces that are one and the same: each renewal needs them. */
const ROOM = 128 * 1024;
const PIECE = Buffer.alloc(4096, " ");

const requestSchema: z.ZodType<CertificateRequest> = z.object({
  issuer: z.string(),
  subject: z.string(),
  names: z.array(z.object({ type: z.enum(NAME_TYPES), value: z.string() })),
  usages: z.array(z.enum(USAGES)),
  lifetime: z.number().nullable(),
  key: z.enum(KEY_ALGORITHMS).nullable(),
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
  /** All numbers, ascending, of damaged files too. Throws `STATE_UNUSABLE` where the folder is there and cannot be read. */
  list(): Promise<readonly number[]>;
  /** Throws `KEY_UNUSABLE`, `CHAIN_UNUSABLE` or `STATE_UNUSABLE` where the file is not what was written. */
  read(number: number): Promise<Generation>;
  /** Holds the room that a generation needs until disposed of, so that a full disk shows before the CA is asked. */
  reserve(now: Instant): Promise<AsyncDisposable>;
  /** When room was last held that a killed process did not live to dispose of; null where none was, or nothing tells. */
  cutOffAt(): Promise<Instant | null>;
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
  const pendingPath = (): string => join(folder, "pending.key");
  // Beside the folder, so that its names stay as they are; no spec has a name like this.
  const reservedPath = (): string => join(dirname(folder), `.${basename(folder)}.reserved`);

  const names = openNames(folder);

  let isReserved = true; // by a process that was killed, perhaps
  const release = async (): Promise<void> => {
    if (!isReserved) return;
    await remove(reservedPath());
    isReserved = false;
  };
  /** False once it is known that there is none: nobody else writes here. */
  let mayHavePending = true;

  return {
    list: async () => numbersOf(await names.all()),
    read: (number) => readGeneration(pathOf(number), number),
    reserve: async (now) => {
      try {
        isReserved = true;
        // Not synced: who keeps what is written for later has found room for it by then.
        await withFolders(reservedPath(), () => fill(reservedPath(), String(now)));
      } catch (error) {
        await release().catch(() => {});
        throw fileError("write", reservedPath(), error);
      }
      return { [Symbol.asyncDispose]: release };
    },
    cutOffAt: async () => {
      const bytes = await readBounded(reservedPath(), ROOM).catch(() => undefined);
      const at = Number(bytes?.toString("latin1"));
      return Number.isSafeInteger(at) && at > 0 ? at : null;
    },
    stage: async (draft, after = null) => {
      await release();
      const number = await names.change(async (held, there) => {
        const next = Math.max(numbersOf(there).at(-1) ?? 0, after ?? 0) + 1; // damaged ones keep their numbers
        const bytes = stateBytes({
          schema: 1,
          request: draft.request,
          issuedAt: draft.issuedAt,
          via: draft.via,
          key: draft.key.toPem(),
          chain: draft.chain.map((certificate) => certificate.pem).join(""),
          roots: draft.roots.map((certificate) => certificate.pem).join(""),
        });
        await writeAtomicallyIn(held, `${next}.json`, bytes, { mode: 0o600, alone: true });
        return { result: next, now: [...there, `${next}.json`] };
      });
      if (mayHavePending) await removeDurably(pendingPath());
      mayHavePending = false;
      return { ...draft, number };
    },
    prune: async (protect) => {
      const oldOf = (there: readonly string[]): readonly string[] => {
        const old = numbersOf(there).slice(0, -GENERATIONS_KEPT);
        const files = old.filter((number) => !protect.includes(number)).map((number) => `${number}.json`);
        return there.filter((name) => files.some((file) => name === file || name === unreadable(file)));
      };
      if (oldOf(await names.all()).length === 0) return;
      await names.change(async (held, there) => {
        const old = oldOf(there);
        for (const name of old) await remove(held.at(name), join(folder, name));
        return { result: undefined, now: there.filter((name) => !old.includes(name)) };
      });
    },
    pendingKey: async () => {
      // One that is there and cannot be read now is not replaced: a certificate may have been issued for it.
      const bytes = await readBounded(pendingPath(), KEY_LIMIT).catch((error: unknown) => {
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
      await writeBytes(pendingPath(), Buffer.from(key.toPem()));
    },
  };
}

/** The names in a folder that nobody else changes: they are read again only where it is not as it was left. */
interface Names {
  /** None where the folder is missing. Throws `STATE_UNUSABLE` where it is there and cannot be read. */
  all(): Promise<readonly string[]>;
  /** Changes the folder, which is made where it is missing: `act` is told what is in it, and tells what is then. */
  change<Result>(
    act: (folder: Folder, there: readonly string[]) => Promise<{ result: Result; now: readonly string[] }>,
  ): Promise<Result>;
}

function openNames(path: string): Names {
  let known: { readonly identity: string; readonly names: readonly string[] } | undefined;
  /** Of the folder as it is now, before anything else is done with it. */
  const namesIn = async (folder: Folder, stat: FileStat): Promise<readonly string[]> => {
    const identity = identityOf(stat);
    // Of more than so many, whichever they are.
    if (known?.identity !== identity) known = { identity, names: [...(await rawNames(folder, MOST_FILES))] };
    return known.names;
  };
  return {
    all: async () => {
      try {
        const stat = await fileCalls.lstat(path);
        if (known?.identity === identityOf(stat)) return known.names;
        await using folder = holdFolder(path, await openFile(path, FOLDER));
        return await namesIn(folder, await fileCalls.stat(folder.handle));
      } catch (error) {
        known = undefined;
        // Only a folder that is not there holds no generation: anything else must not cost an issuance.
        if (isMissing(error)) return [];
        throw fileError("read", path, error, "STATE_UNUSABLE");
      }
    },
    change: async (act) => {
      await using folder = await withFolders(join(path, "x"), () => openFolder(path));
      const there = await namesIn(folder, await fileCalls.stat(folder.handle));
      known = undefined; // until all of it is done
      const { result, now } = await act(folder, there);
      known = { identity: identityOf(await fileCalls.stat(folder.handle)), names: now };
      return result;
    },
  };
}

/** Differs where anything in a folder was added, removed or renamed, as far as the clock of its file system tells. */
function identityOf({ dev, ino, mtimeNs, ctimeNs }: FileStat): string {
  return [dev, ino, mtimeNs, ctimeNs].join(":"); // V8 keeps a template's pieces
}

function numbersOf(names: readonly string[]): readonly number[] {
  return names.flatMap((name) => numberOf(name) ?? []).toSorted((a, b) => a - b);
}

/** Writes a file of {@link ROOM} bytes that begins with a word. Throws as a write does. */
async function fill(path: string, word: string): Promise<void> {
  const pieces = Array.from({ length: ROOM / PIECE.length }, () => PIECE);
  pieces[0] = Buffer.from(word.padEnd(PIECE.length));
  await using file = await open(path, "w", 0o600);
  const { bytesWritten } = await file.writev(pieces);
  // Why less was written (a full disk, a quota, LimitFSIZE=) tells the write of the rest.
  if (bytesWritten < ROOM) await file.writeFile(Buffer.alloc(ROOM - bytesWritten));
}

/** Whatever is there. `told`: the path for people. Throws `DEPLOY_FAILED`. */
async function remove(path: string, told: string = path): Promise<void> {
  await unlink(path)
    .catch(async (error: unknown) => {
      if (errnoOf(error) === "EISDIR") await rm(path, { recursive: true });
      else if (!isMissing(error)) throw error;
    })
    .catch(rethrow("remove", told));
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
