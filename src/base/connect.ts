import { connect as connectSocket, type Socket } from "node:net";
import { AgentError } from "./errors.ts";
import { errnoOf } from "./file-error.ts";
import { type Milliseconds, withDeadline } from "./time.ts";

/** Nothing is there that could answer, as far as the operating system tells. */
const NOBODY: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connection refused",
  ECONNRESET: "connection reset",
  ENOENT: "no such socket",
  ENOTFOUND: "unknown host",
  EAI_AGAIN: "the host's name cannot be looked up",
  EHOSTUNREACH: "no route to host",
  ENETUNREACH: "network unreachable",
  ETIMEDOUT: "no answer",
};

/** A TCP address or the path of a unix socket. */
export type Endpoint = { readonly host: string; readonly port: number } | { readonly path: string };

/** Connects to a service; see {@link connect}. */
export type Connect = (to: Endpoint, name: string, signal: AbortSignal) => Promise<Socket>;

/**
 * A connection to a TCP address or a unix socket; `name` is the address for people. An error of the socket after this
 * is not thrown: it ends the socket. Throws `SERVICE_DOWN` where nothing listens or answers until `signal` aborts, and
 * `SERVICE_STALE` where one may not look.
 */
export const connect: Connect = (to, name, signal) => {
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  const socket = connectSocket(to);
  const giveUp = (): void =>
    void socket.destroy(new AgentError("SERVICE_DOWN", `Cannot connect to ${name}: no answer`));
  socket.on("error", (error) => {
    signal.removeEventListener("abort", giveUp);
    reject(error instanceof AgentError ? error : cannotConnect(name, errnoOf(error) ?? error.message, error));
  });
  socket.once("connect", () => {
    signal.removeEventListener("abort", giveUp);
    resolve(socket);
  });
  if (signal.aborted) giveUp();
  else signal.addEventListener("abort", giveUp, { once: true });
  return promise;
};

/**
 * Whether somebody takes connections at an address, told within `timeout` milliseconds: what tells up from down where
 * nothing else does. `unknown` where one may not look.
 */
export async function listening(
  open: Connect,
  { to, name, timeout }: { readonly to: Endpoint; readonly name: string; readonly timeout: Milliseconds },
  signal: AbortSignal,
): Promise<"up" | "down" | "unknown"> {
  try {
    using deadline = withDeadline(timeout, signal);
    (await open(to, name, deadline)).destroy();
    return "up";
  } catch (error) {
    return error instanceof AgentError && error.code === "SERVICE_DOWN" ? "down" : "unknown";
  }
}

/** Why there is no connection; `reason` is an error's name such as `ECONNREFUSED`, or else words. */
export function cannotConnect(name: string, reason: string, cause?: unknown): AgentError {
  const nobody = NOBODY[reason];
  if (nobody !== undefined) return new AgentError("SERVICE_DOWN", `Cannot connect to ${name}: ${nobody}`, { cause });
  const fact = reason === "EACCES" || reason === "EPERM" ? "permission denied" : reason;
  return new AgentError("SERVICE_STALE", `Cannot connect to ${name}: ${fact}`, { cause });
}
