import { hash } from "node:crypto";
import { realpath } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { nodeFiles } from "../../base/atomic-file.ts";
import { AgentError, asAgentError } from "../../base/errors.ts";
import { type FileStat, fileCalls } from "../../base/file-calls.ts";
import { fileError, isMissing } from "../../base/file-error.ts";
import { readRegular } from "../../base/read-file.ts";
import { shellWord } from "../../base/shell-word.ts";
import { HOUR, type Instant, MINUTE, repeat } from "../../base/time.ts";
import { reachAnyones } from "../../base/trusted-folder.ts";
import type { IssuerContext } from "../kind.ts";
import type { SecretKind, SecretSource } from "./config.ts";

/** A secret outlives its file for at most this long. */
const LONGEST_KEPT = HOUR;
const MOST_KEPT = 16;
const MOST_BYTES = 64 * 1024;
const [LF, CR] = [0x0a, 0x0d];

/** A secret in hand. The bytes are the caller's own copy; `use` wipes them. */
export interface Secret {
  readonly bytes: Buffer;
  /** SHA-256 of the bytes: tells secrets apart without keeping them. */
  readonly id: string;
  /** When it was first read. */
  readonly since: Instant;
  /** The very file that it was read from, if it is to be deleted. */
  readonly file?: { readonly path: string; readonly version: string } | undefined;
}

export interface Vault {
  /** For messages: `"/run/certagent/token"`, `the credential "token"`. */
  readonly place: string;
  /**
   * What there is now: the file's, if it is there, then what is kept of deleted files, newest first. Throws
   * `CREDENTIAL_MISSING` for what is there and cannot be read.
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
  /** Whether anything is kept. */
  readonly isHolding: () => boolean;
  /** Forgets what is kept. */
  readonly clear: () => void;
}

/** Where one issuer's secret is found. `forgotten` is called when the last one that was kept is gone. */
export function createVault(
  kind: SecretKind,
  source: SecretSource,
  context: IssuerContext,
  forgotten: () => void = () => {},
): Vault {
  const { clock, credentialsDirectory } = context;
  const path = "file" in source ? source.file : credentialsDirectory && join(credentialsDirectory, source.credential);
  const place = "file" in source ? `"${source.file}"` : `the credential "${source.credential}"`;
  const deletes = "file" in source && source.deleteAfterUse;
  const kept = new Map<string, { readonly bytes: Buffer; readonly since: Instant }>();
  let timer: Disposable | undefined;

  const forget = (id: string): void => {
    kept.get(id)?.bytes.fill(0);
    kept.delete(id);
    if (kept.size > 0) return;
    timer?.[Symbol.dispose]();
    timer = undefined;
    forgotten();
  };
  const forgetOld = (): void => {
    // A clock that stepped back would keep it for longer than was promised.
    for (const [id, { since }] of kept) if (Math.abs(clock.now() - since) >= LONGEST_KEPT) forget(id);
  };
  const remember = ({ id, bytes, since }: Secret): void => {
    if (kept.has(id)) return;
    // Of passwords and keys the newest counts; tokens are for one spec each.
    if (kind !== "token") for (const other of kept.keys()) forget(other);
    if (kept.size >= MOST_KEPT) forget(kept.keys().next().value ?? "");
    kept.set(id, { bytes: Buffer.from(bytes), since });
    timer ??= repeat(MINUTE, forgetOld);
  };

  return {
    place,
    secrets: async () => {
      forgetOld();
      const found = path === undefined ? undefined : await readSecret(path, kind, deletes, place, clock.now());
      const rest = [...kept].toReversed().filter(([id]) => id !== found?.id);
      const secrets = rest.map(([id, { bytes, since }]) => ({ id, since, bytes: Buffer.from(bytes) }));
      return found === undefined ? secrets : [found, ...secrets];
    },
    use: async (secret, complain, attempt) => {
      let keep = true;
      try {
        return await attempt(() => {
          keep = false;
        });
      } finally {
        if (!keep) forget(secret.id);
        else if (deletes) remember(secret);
        secret.bytes.fill(0);
        const { file } = secret;
        const failure = file && (await removeVersion(file.path, file.version, context));
        if (failure !== undefined) complain(failure);
      }
    },
    isHolding: () => kept.size > 0,
    clear: () => {
      for (const id of kept.keys()) forget(id);
    },
  };
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
    return { bytes, id: hash("sha256", bytes, "hex"), since, file };
  } catch (cause) {
    if (isMissing(cause)) return undefined;
    const { message, hint } = asAgentError(fileError("read", path, cause));
    throw new AgentError("CREDENTIAL_MISSING", message, { cause, hint });
  }
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
