/** What certagent asks of a running Redis: to take a pair, to keep it, and where it serves it. */
import { stat } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { nodeFiles } from "../base/atomic-file.ts";
import { listening } from "../base/connect.ts";
import { AgentError, asAgentError } from "../base/errors.ts";
import { rethrow } from "../base/file-error.ts";
import { readBounded } from "../base/read-file.ts";
import { type Milliseconds, pause, SECOND, withDeadline } from "../base/time.ts";
import { reach } from "../base/trusted-folder.ts";
import { addressText } from "../core/address.ts";
import type { Address, Generation, Liveness, Output, ProbeTarget, System } from "../core/ports.ts";
import { type PairPaths, pairPaths } from "./pair.ts";
import { targetAt } from "./recipe.ts";
import { openRedis, type RedisClient } from "./redis-client.ts";
import type { Reply } from "./resp.ts";

/** How to reach Redis and who to be there. */
export interface Control {
  readonly address: Address;
  readonly tls: boolean;
  readonly username: string | undefined;
  readonly passwordFile: string | undefined;
}

type Network = Pick<System, "connect">;

/** How long Redis may take to answer a question that changes nothing. */
const QUESTION: Milliseconds = 5 * SECOND;
const LOOK_AGAIN: Milliseconds = SECOND / 2;
const LONGEST_PASSWORD = 4096;

export interface NewPair {
  readonly outputs: readonly Output[];
  readonly generation: Generation;
  readonly timeout: Milliseconds;
}

/**
 * Makes Redis load the pair at the output paths, and makes new paths outlive its restart. Returns what the operator
 * should know. Throws `RELOAD_FAILED` with Redis's words; it then keeps the pair it had.
 */
export async function takePair(
  system: Network,
  control: Control,
  { outputs, generation, timeout }: NewPair,
  signal: AbortSignal,
): Promise<string | undefined> {
  try {
    using deadline = withDeadline(timeout, signal);
    using redis = await logInOnceUp(system, control, control.tls ? generation : undefined, deadline);
    const current = await currentPaths(redis);
    const paths = pairPaths(outputs, current);
    if (paths instanceof AgentError) throw paths;
    const samePaths = current?.certificate === paths.certificate && current.key === paths.key;
    await setPair(redis, paths, samePaths);
    return samePaths ? undefined : await keepPaths(redis, paths, current !== undefined);
  } catch (error) {
    if (!(error instanceof AgentError) || error.code === "RELOAD_FAILED") throw error;
    throw new AgentError("RELOAD_FAILED", error.message, { cause: error, hint: error.hint });
  }
}

/** Whether somebody listens where Redis is told to take commands. */
export async function isListening({ connect }: Network, { address }: Control, signal: AbortSignal): Promise<Liveness> {
  return await listening(connect, { to: address, name: addressText(address), timeout: QUESTION }, signal);
}

/**
 * Where Redis serves TLS: where it takes commands by TLS, else what its configuration says; `SERVICE_UNSEEN` where nobody
 * may read that. Throws where it cannot be asked.
 */
export async function redisProbe(
  system: Network,
  control: Control,
  signal: AbortSignal,
): Promise<ProbeTarget | AgentError | undefined> {
  if (control.tls) return targetAt(control.address);
  using deadline = withDeadline(QUESTION, signal);
  using redis = await logIn(system, control, undefined, deadline);
  const refused = errorIn(await redis.ask("CONFIG", "GET", "tls-port"));
  if (refused !== undefined) {
    return new AgentError(
      "SERVICE_UNSEEN",
      `Cannot look at what Redis serves: it does not tell its tls-port: ${refused}`,
      {
        hint: 'write probe: { connect: "HOST:PORT" }, or let its ACL user read that: +config|get',
      },
    );
  }
  const port = Number(await setting(redis, "tls-port"));
  const host = hostOf((await setting(redis, "bind")) ?? "");
  return port > 0 ? targetAt({ host, port }) : undefined;
}

/** The first address of `bind 127.0.0.1 -::1`, and the host itself where that is every address. */
function hostOf(bind: string): string {
  const first = bind.split(" ")[0]?.replace(/^-/, "") ?? "";
  if (first === "::" || first === "::*") return "::1";
  return first === "" || first === "*" || first === "0.0.0.0" ? "127.0.0.1" : first;
}

/** It was up a moment ago: where it is not now, somebody else restarts it, maybe. */
async function logInOnceUp(
  system: Network,
  control: Control,
  generation: Generation | undefined,
  signal: AbortSignal,
): Promise<RedisClient> {
  for (;;) {
    try {
      return await logIn(system, control, generation, signal);
    } catch (error) {
      if (!(error instanceof AgentError) || error.code !== "SERVICE_DOWN") throw error;
      await pause(LOOK_AGAIN, signal);
      if (signal.aborted) throw error;
    }
  }
}

async function logIn(
  { connect }: Network,
  control: Control,
  generation: Generation | undefined,
  signal: AbortSignal,
): Promise<RedisClient> {
  const password = control.passwordFile === undefined ? undefined : await readPassword(control.passwordFile);
  const redis = await openRedis(connect, control.address, generation, signal);
  if (password === undefined) return redis;
  const user = control.username === undefined ? [] : [control.username];
  const refused = errorIn(await redis.ask("AUTH", ...user, password));
  if (refused === undefined) return redis;
  redis[Symbol.dispose]();
  throw refusal(`log in to Redis at ${addressText(control.address)}`, refused);
}

/**
 * What is read here is sent to Redis: its user, who may own a folder on the way (/etc/redis), must not have a secret of
 * somebody else's sent to it by a link in that folder.
 */
async function readPassword(path: string): Promise<string> {
  const { uid } = await stat(dirname(path)).catch(rethrow("read", path));
  await using reached = await reach(dirname(path), uid, nodeFiles);
  const place = reached.folder.at(basename(path));
  const bytes = await readBounded(place, LONGEST_PASSWORD).catch((cause: unknown) => {
    const { code, message, hint } = asAgentError(cause);
    throw new AgentError(code, message.replace(place, path), { cause, hint: hint?.replace(place, path) });
  });
  return bytes.toString("utf8").replace(/\r?\n$/, "");
}

/** The paths that Redis has now; undefined where its ACL does not let us ask. */
async function currentPaths(redis: RedisClient): Promise<PairPaths | undefined> {
  const certificate = await setting(redis, "tls-cert-file");
  const key = await setting(redis, "tls-key-file");
  return certificate === undefined || key === undefined ? undefined : { certificate, key };
}

async function setting(redis: RedisClient, name: string): Promise<string | undefined> {
  const reply = await redis.ask("CONFIG", "GET", name);
  const value = Array.isArray(reply) ? (reply as readonly Reply[])[1] : undefined;
  return typeof value === "string" ? value : undefined;
}

/** Both in one command: alone, neither of two new paths fits the other file that Redis has. */
async function setPair(redis: RedisClient, { certificate, key }: PairPaths, samePaths: boolean): Promise<void> {
  let refused = errorIn(await redis.ask("CONFIG", "SET", "tls-cert-file", certificate, "tls-key-file", key));
  // Redis 6 takes one parameter at a time, and rereads both files where the path is the one that it has.
  if (refused !== undefined && /wrong number of arguments/i.test(refused) && samePaths) {
    refused = errorIn(await redis.ask("CONFIG", "SET", "tls-cert-file", certificate));
  }
  if (refused !== undefined) throw refusal("have Redis take the new pair", refused);
}

/** CONFIG SET is forgotten at a restart; paths that Redis was started with need nothing. */
async function keepPaths(redis: RedisClient, paths: PairPaths, asked: boolean): Promise<string | undefined> {
  const lines = `"tls-cert-file ${paths.certificate}" and "tls-key-file ${paths.key}"`;
  if (!asked) return `Redis does not tell which paths it has; see that its configuration file says ${lines}`;
  const refused = errorIn(await redis.ask("CONFIG", "REWRITE"));
  if (refused === undefined) return `Redis wrote ${lines} into its configuration file`;
  return `Redis will have forgotten the new paths after a restart (CONFIG REWRITE: ${refused}); write ${lines} into its configuration file`;
}

function errorIn(reply: Reply): string | undefined {
  return reply !== null && typeof reply === "object" && "error" in reply ? reply.error.slice(0, 300).trim() : undefined;
}

/** What Redis refuses without a word in its log. */
const REMEDIES: readonly (readonly [RegExp, string])[] = [
  [/^NOPERM/, "its ACL user needs +config|set, +config|get and +config|rewrite"],
  [/^NOAUTH/, "write password: { file: … } (and username, where it is not the default user)"],
  [
    /^WRONGPASS/,
    "does the file hold the password of that user (username:, else the default user), and is the user on?",
  ],
  [/^ERR AUTH .*without any password/, "its default user has none: leave password: out, or name the user that has it"],
  [
    /^ERR unknown command .CONFIG/i,
    "CONFIG is renamed there, or this is a Sentinel, which has none: give reload: a command that restarts it",
  ],
];

function refusal(action: string, words: string): AgentError {
  const [, hint] = REMEDIES.find(([said]) => said.test(words)) ?? [];
  return new AgentError("RELOAD_FAILED", `Cannot ${action}: ${words}`, {
    hint: hint ?? "Redis's own log names the cause",
  });
}
