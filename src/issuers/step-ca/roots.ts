import { readlink, realpath, stat, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { nodeFiles } from "../../base/atomic-file.ts";
import { AgentError } from "../../base/errors.ts";
import type { FileStat } from "../../base/file-calls.ts";
import { errnoOf, fileError, isMissing } from "../../base/file-error.ts";
import { makeFolders } from "../../base/folder.ts";
import { readBounded, readRegular } from "../../base/read-file.ts";
import { shellWord } from "../../base/shell-word.ts";
import { type Milliseconds, SECOND, systemClock } from "../../base/time.ts";
import { isOurs, NOBODY, reach } from "../../base/trusted-folder.ts";
import { type Certificate, loadCertificates, parseCertificate } from "../../x509/certificate.ts";
import { MOST_PEM_BYTES } from "../../x509/pem.ts";
import type { IssuerContext } from "../kind.ts";
import type { StepCaConfig } from "./config.ts";
import { type Answer, exchange, type NoAnswer } from "./http.ts";
import { parseJson } from "./json.ts";
import { rejection } from "./rejection.ts";
import { unreachable } from "./unreachable.ts";

type Anchors = readonly [Certificate, ...Certificate[]];

/** Gives the trust anchors of one CA, looked for again at each call. */
export type Roots = (signal: AbortSignal) => Promise<Anchors>;

/**
 * The anchors of the configured file; while that is missing, the root with the configured fingerprint: fetched over a
 * connection that is not trusted, believed because of its hash, and kept (in memory and in the cache folder, where its
 * hash is looked at again). Throws `SPEC_INVALID` for an unusable file, `ISSUER_UNREACHABLE`, and `ISSUER_REJECTED`
 * where the CA has no such root.
 */
export function createRoots(config: StepCaConfig, context: IssuerContext): Roots {
  const { fingerprint } = config.root;
  let fetched: readonly [Certificate] | undefined;
  return async (signal) => {
    const anchors = await configuredAnchors(config);
    if (anchors !== undefined) return anchors;
    if (fingerprint === undefined) throw new TypeError("a root with neither file nor fingerprint");
    const cache = context.cacheFolder === undefined ? undefined : join(context.cacheFolder, `root-${fingerprint}.pem`);
    fetched ??= await readCache(cache, fingerprint);
    if (fetched !== undefined) return fetched;
    fetched = await fetchRoot(config, fingerprint, context, signal);
    // It only saves a fetch, and what is torn does not have the hash.
    if (cache !== undefined) await keep(cache, fetched[0]).catch(() => {});
    return fetched;
  };
}

/** What the configuration itself gives; of `candidates` those with the pinned hash where it gives no more than that. */
export async function anchorsAmong(
  config: StepCaConfig,
  candidates: readonly Certificate[],
): Promise<readonly Certificate[]> {
  const anchors = await configuredAnchors(config);
  return anchors ?? candidates.filter(({ fingerprint }) => fingerprint === config.root.fingerprint).slice(0, 1);
}

/** The anchors of the configured file; undefined where it is missing (or none is named) and a fingerprint is pinned. */
async function configuredAnchors({ root }: StepCaConfig): Promise<Anchors | undefined> {
  const { file, fingerprint } = root;
  return file === undefined ? undefined : await readAnchors(file, fingerprint === undefined);
}

/** Through root's links: what the operator's configuration names may be one into `/etc/ssl`, or of a mounted volume. */
async function readAnchors(file: string, required: boolean): Promise<Anchors | undefined> {
  try {
    const known = anchorsRead.get(file);
    if (known !== undefined && known.identity === identityOf(await stat(file, { bigint: true }))) return known.anchors;
    await realpath(file); // fails where it is missing
    const read = await readRegular(await wayTo(file), MOST_PEM_BYTES);
    refuseStrangers(read.stat);
    const anchors = loadCertificates(read.bytes);
    if (systemClock.now() - Number(read.stat.ctimeMs) > SETTLED) {
      anchorsRead.set(file, { identity: identityOf(read.stat), anchors });
    }
    return anchors;
  } catch (thrown) {
    if (!isMissing(thrown)) {
      const cause = fileError("read", file, thrown);
      const fact = cause instanceof Error ? cause.message.replace(/^Cannot [^:]*: /, "") : String(cause);
      const known = cause instanceof AgentError ? cause.hint : undefined;
      const hint =
        errnoOf(thrown) === "EACCES"
          ? `let everybody read it: chmod 0644 ${shellWord(file)}; namei -l ${shellWord(file)} shows the way there`
          : (known ?? `put the CA's root there anew, for root alone to write: ${fetchInto(file)}`);
      throw new AgentError("SPEC_INVALID", `Cannot use the trust anchors in "${file}": ${fact}`, { cause, hint });
    }
    if (required) throw missing(file);
    return undefined;
  }
}

/** By the file's name, since each renewal asks on both sides; as many as the configuration names. */
const anchorsRead = new Map<string, { readonly identity: string; readonly anchors: Anchors }>();
const MOST_LINKS = 20;
/** A file's times tick coarsely: what changed just now could change once more without showing. */
const SETTLED: Milliseconds = 2 * SECOND;

/** Equal for as long as nothing about a file has changed, its owner and mode included. */
function identityOf({ dev, ino, ctimeNs, size }: FileStat): string {
  return `${dev}:${ino}:${ctimeNs}:${size}`;
}

/**
 * Where a file is once links are followed. Nobody but root, or the user of a run without root, had a say in the way:
 * else another file of root's, of a CA that everybody may have certificates of, could be put in its place. Throws
 * `DEPLOY_FAILED`.
 */
async function wayTo(file: string): Promise<string> {
  let path = file;
  for (let left = MOST_LINKS; left > 0; left -= 1) {
    await using reached = await reach(dirname(path), NOBODY, nodeFiles);
    const { folder } = reached;
    const link = await readlink(folder.at(basename(path))).catch(() => undefined);
    path = resolve(folder.path, link ?? basename(path));
    if (link === undefined) return path;
  }
  throw new Error("it is behind too many links");
}

/** Whoever may write the anchors decides which certificates are taken: that is root's alone, or the user's of a run without root. */
function refuseStrangers({ uid, mode }: FileStat): void {
  if (!isOurs(uid)) throw new Error(`it belongs to user ${uid}, not to root`);
  if ((mode & 0o002n) !== 0n) throw new Error("everybody may write it");
  if ((mode & 0o020n) !== 0n && uid === 0n) throw new Error("its group may write it");
}

function missing(file: string): AgentError {
  return new AgentError("SPEC_INVALID", `Cannot use the trust anchors in "${file}": no such file`, {
    hint: `put the CA's root there (${fetchInto(file)}), or give its fingerprint in the issuer's root`,
  });
}

/** `step` writes it for its own user alone. */
function fetchInto(file: string): string {
  return `step ca root ${shellWord(file)} --force && chmod 0644 ${shellWord(file)}`;
}

async function keep(cache: string, root: Certificate): Promise<void> {
  await makeFolders(dirname(cache), { mode: 0o700 });
  await writeFile(cache, root.pem);
}

async function readCache(cache: string | undefined, fingerprint: string): Promise<readonly [Certificate] | undefined> {
  if (cache === undefined) return undefined;
  try {
    const root = parseCertificate((await readBounded(cache, MOST_PEM_BYTES)).toString("latin1"));
    return root.fingerprint === fingerprint ? [root] : undefined;
  } catch {
    return undefined;
  }
}

/**
 * The root with this fingerprint (64 lower-case hex digits), of the first address that has it. Throws
 * `ISSUER_UNREACHABLE`, and `ISSUER_REJECTED` where the CA has no such root or gives another one.
 */
export async function fetchRoot(
  config: Pick<StepCaConfig, "urls" | "proxy" | "timeout">,
  fingerprint: string,
  context: Pick<IssuerContext, "clock" | "userAgent">,
  signal: AbortSignal,
): Promise<readonly [Certificate]> {
  let failure: AgentError | undefined;
  for (const origin of config.urls) {
    const { proxy, timeout } = config;
    const headers = { "user-agent": context.userAgent };
    const path = `/root/${fingerprint}`;
    const answer = await exchange(
      { method: "GET", origin, path, headers, trust: "unverified", timeout, proxy },
      signal,
    );
    try {
      return [rootIn(answer, fingerprint, origin, context)];
    } catch (error) {
      if (!(error instanceof AgentError)) throw error;
      failure ??= error; // whoever lies at one address does not speak for the others
    }
  }
  throw failure ?? new TypeError("no urls");
}

function rootIn(
  answer: Answer | NoAnswer,
  fingerprint: string,
  origin: string,
  { clock }: Pick<IssuerContext, "clock">,
): Certificate {
  if (answer.status === undefined) throw unreachable(origin, answer, undefined);
  if (answer.status === 200) return checkedRoot(answer.body, fingerprint, origin);
  const error = rejection(answer, { origin, action: "fetch the root", now: clock.now(), skew: 0 });
  if (answer.status !== 404) throw error;
  throw new AgentError(error.code, error.message, {
    cause: error,
    hint: "is the fingerprint right? on the CA: step certificate fingerprint root_ca.crt",
  });
}

function checkedRoot(body: Buffer, fingerprint: string, origin: string): Certificate {
  let found = "something unreadable";
  try {
    const { ca } = parseJson(body) as { readonly ca?: unknown };
    const root = parseCertificate(String(ca));
    if (root.fingerprint === fingerprint) return root;
    found = `one with ${root.fingerprint}`;
  } catch {
    // Whatever it is, it is not the root that was asked for.
  }
  throw new AgentError(
    "ISSUER_REJECTED",
    `Cannot trust ${origin}: asked for the root ${fingerprint}, it gave ${found}`,
    {
      hint: "either the fingerprint is wrong, or somebody answers in the CA's place",
    },
  );
}
