import { realpath } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { nodeFiles } from "../../base/atomic-file.ts";
import { AgentError, asAgentError } from "../../base/errors.ts";
import { type FileStat, fileCalls } from "../../base/file-calls.ts";
import { errnoOf, fileError, isMissing } from "../../base/file-error.ts";
import { readRegular } from "../../base/read-file.ts";
import { shellWord } from "../../base/shell-word.ts";
import type { Instant } from "../../base/time.ts";
import { reachAnyones } from "../../base/trusted-folder.ts";
import { sha256 } from "../../core/hash.ts";
import { type KeptSecret, keepSecrets } from "../kept-secrets.ts";
import type { IssuerContext } from "../kind.ts";
import type { SecretKind, SecretSource } from "./config.ts";

const MOST_BYTES = 64 * 1024;
const [LF, CR] = [0x0a, 0x0d];

/** A secret in hand. The bytes are the caller's own copy; `use` wipes them. */
export interface Secret extends KeptSecret {
  /** The very file that it was read from, if it is to be deleted. */
  readonly file?: { readonly path: string; readonly version: string } | undefined;
}

export interface Vault {
  /** For messages: `"/run/certagent/token"`, `the credential "token"`. */
  readonly place: string;
  /**
   * What there is now: the file's, if it is there, then what is kept of deleted files, newest first. Throws
   * `CREDENTIAL_MISSING` for what is there and cannot be read, where nothing is kept that does as well.
   */
  readonly secrets: () => Promise<readonly Secret[]>;
  /**
   * One attempt with a secret. With `delete_after_use` its file is gone, durably, when this settles, however it does;
   * the secret is then kept in memory, unless the attempt called `spoil`. `complain` hears of a file that stays.
   */
  readonly use: <T>(
    secret: Secret,
    complain: (error: AgentError) => void,
    attempt: (spoil: () => void) => Promise<T>,
  ) => Promise<T>;
  /** Whether anything is kept, or a used file could not be deleted yet. */
  readonly isHolding: () => boolean;
  /** Forgets what is kept, and begins to delete such a file once more. */
  readonly clear: () => void;
}

/** Where one issuer's secret is found. `forgotten` is called when the last one that was kept is gone. */
export function createVault(
  kind: SecretKind,
  source: SecretSource,
  context: IssuerContext,
  forgotten: () => void = () => {},
): Vault {
  const { clock } = context;
  const path = pathOf(source, context);
  const place = "file" in source ? `"${source.file}"` : `the credential "${source.credential}"`;
  const deletes = "file" in source && source.deleteAfterUse;
  const kept = context.keptSecrets ?? keepSecrets(clock);
  kept.whenEmpty(forgotten);
  const shelf = `${kind} ${place}`;
  /** Of another place, who removes on its behalf would remove what is in this one. */
  const leftHere = (): Secret["file"] => (deletes && kept.left?.path === path ? kept.left : undefined);
  const remove = async (file: NonNullable<Secret["file"]>): Promise<AgentError | undefined> => {
    const failure = await removeVersion(file.path, file.version, context);
    if (failure !== undefined) kept.left = file;
    return failure;
  };
  /** A root side that was away comes back, and a disk can be written again. Not where another file stands there by now. */
  const removeLeft = async (): Promise<void> => {
    const file = leftHere();
    if (file === undefined) return;
    kept.left = undefined;
    const stands = await fileCalls.lstat(file.path).catch(() => undefined);
    if (stands !== undefined && versionOf(stands) === file.version) await remove(file);
  };
  const find = async (): Promise<Secret | undefined> =>
    path === undefined ? undefined : await readSecret(path, kind, deletes, place, clock.now());

  return {
    place,
    secrets: async () => {
      const found = await find().catch((error: unknown) => {
        // What is kept does as well, but for tokens, which are for one spec each.
        if (kind === "token" || !kept.isHoldingFrom(shelf)) throw error;
        return undefined;
      });
      const rest = kept.from(shelf, found?.id);
      return found === undefined ? rest : [found, ...rest];
    },
    use: async (secret, complain, attempt) => {
      let keep = true;
      try {
        return await attempt(() => {
          keep = false;
        });
      } finally {
        if (!keep) kept.forget(secret.id);
        // Of passwords and keys the newest counts.
        else if (deletes) kept.keep(shelf, secret, kind !== "token");
        secret.bytes.fill(0);
        const { file } = secret;
        const failure = file && (await remove(file));
        if (failure !== undefined) complain(failure);
      }
    },
    isHolding: () => kept.isHolding() || leftHere() !== undefined,
    clear: () => {
      kept.clear();
      void removeLeft();
    },
  };
}

function pathOf(source: SecretSource, { credentialsDirectory }: IssuerContext): string | undefined {
  return "file" in source ? source.file : credentialsDirectory && join(credentialsDirectory, source.credential);
}

/** When what is in a secret's place was put there or changed; null where nothing is. */
export async function secretSince(source: SecretSource, context: IssuerContext): Promise<Instant | null> {
  try {
    const { ctimeMs } = await fileCalls.lstat(await realpath(pathOf(source, context) ?? ""));
    return Number(ctimeMs);
  } catch {
    return null; // whoever needs it tells why
  }
}

async function readSecret(
  path: string,
  kind: SecretKind,
  deletes: boolean,
  place: string,
  since: Instant,
): Promise<Secret | undefined> {
  try {
    // A link may lead to a secret that somebody else mounts, but one that is to be deleted must be the file itself.
    const { bytes: raw, stat } = await readRegular(deletes ? path : await realpath(path), MOST_BYTES);
    const bytes = trimmed(raw, kind);
    if (bytes.length === 0) throw new AgentError("CREDENTIAL_MISSING", `Cannot use ${place}: it is empty`);
    const file = deletes ? { path, version: versionOf(stat) } : undefined;
    return { bytes, id: sha256(bytes), since, file };
  } catch (cause) {
    if (isMissing(cause)) return undefined;
    const { message, hint } = asAgentError(fileError("read", path, cause));
    const opened = errnoOf(cause) === "EACCES" ? openedBy(path) : undefined;
    throw new AgentError("CREDENTIAL_MISSING", message, { cause, hint: opened ?? hint });
  }
}

/** Root has most likely put it there, with a umask that closes it to the agent's user. */
function openedBy(path: string): string {
  const file = shellWord(path);
  return `let certagent's group read it: chgrp ${process.getgid?.()} ${file} && chmod 0640 ${file}; namei -l ${file} shows the way there`;
}

/** Of a password only the last line break is not part of it; tokens and keys begin and end with no white space. */
function trimmed(bytes: Buffer, kind: SecretKind): Buffer {
  const isBreak = (byte: number | undefined): boolean => byte === LF || byte === CR;
  let end = bytes.length;
  if (kind !== "password") while (isBreak(bytes[end - 1]) || bytes[end - 1] === 0x20) end--;
  else if (bytes[end - 1] === LF) end -= bytes[end - 2] === CR ? 2 : 1;
  return bytes.subarray(0, end);
}

function versionOf(stat: { dev: bigint; ino: bigint; ctimeNs: bigint }): string {
  return `${stat.dev}:${stat.ino}:${stat.ctimeNs}`;
}

/** Removes what {@link Issuer.removeUsed} removes. `used` may come from who would like another time: never after `now`. */
export async function removeUsed(source: SecretSource, used: Instant, now: Instant): Promise<void> {
  const file = removableFile(source);
  if (file === undefined) return;
  const until = Math.min(used, now);
  await removeWhere(file, ({ ctimeMs }) => Number(ctimeMs) < until);
}

/** The file of a secret that is to be deleted after use. */
export function removableFile(source: SecretSource): string | undefined {
  return "file" in source && source.deleteAfterUse ? source.file : undefined;
}

/** Deletes the file that was read, and not one that was put there since; where it may not, it has it deleted. */
async function removeVersion(
  path: string,
  version: string,
  { clock, removeForMe }: IssuerContext,
): Promise<AgentError | undefined> {
  const isSame = (stat: FileStat): boolean => versionOf(stat) === version;
  try {
    await removeWhere(path, isSame).catch(async (error: unknown) => {
      if (removeForMe === undefined) throw error;
      await removeForMe(clock.now());
      if (isSame(await fileCalls.lstat(path))) throw error;
    });
    return undefined;
  } catch (error) {
    if (isMissing(error)) return undefined;
    const { code, message } = asAgentError(fileError("delete", path, error));
    return new AgentError(code, message, {
      cause: error,
      hint: `the secret is still there; delete it: rm ${shellWord(path)}`,
    });
  }
}

/**
 * Removes a file, durably, where it is there and is what is meant. Root does this too, also below folders of others: so
 * the way to its folder must be one that nobody else could have laid. Throws `DEPLOY_FAILED`.
 */
async function removeWhere(path: string, isMeant: (stat: FileStat) => boolean): Promise<void> {
  try {
    if (!isMeant(await fileCalls.lstat(path))) return;
    await using folder = await reachAnyones(dirname(path), nodeFiles);
    const name = folder.at(basename(path));
    if (!isMeant(await fileCalls.lstat(name))) return;
    await fileCalls.unlink(name);
    await folder.sync();
  } catch (error) {
    if (!isMissing(error)) throw fileError("delete", path, error);
  }
}
