/** Root asks an agent that may be another user's, in whose folder anything may stand: what it connects to is that agent's. */
import { constants, type Stats } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import type { Socket } from "node:net";
import { dirname } from "node:path";
import { controlSocket } from "../agent/control-protocol.ts";
import { connect } from "../base/connect.ts";
import { AgentError } from "../base/errors.ts";
import { O_PATH } from "../base/file-calls.ts";
import { errnoOf } from "../base/file-error.ts";
import { shellWord } from "../base/shell-word.ts";
import { type Milliseconds, SECOND, withDeadline } from "../base/time.ts";

const NAMED = O_PATH | constants.O_NOFOLLOW;
const CONNECT_DEADLINE: Milliseconds = 5 * SECOND;
const NOBODY: ReadonlySet<string | undefined> = new Set(["ENOENT", "ECONNREFUSED", "ENOTDIR"]);

/**
 * Connects to the agent whose control folder that is; undefined where none runs. Throws `AGENT_UNREACHABLE` where it may
 * not be asked, does not answer, or something else stands at its socket's path.
 */
export async function connectToAgent(folder: string): Promise<Socket | undefined> {
  const path = controlSocket(folder);
  try {
    await using held = await openNamed(folder);
    const { uid } = await requireFolder(held, path);
    await using socket = await openNamed(`${inside(held)}/agent.sock`);
    await requireSocket(socket, uid, path);
    // By the descriptor: whatever has the name by now is not asked.
    return await connect({ path: inside(socket) }, path, withDeadline(CONNECT_DEADLINE));
  } catch (cause) {
    const errno = errnoOf(cause);
    if (NOBODY.has(errno)) return undefined;
    if (cause instanceof AgentError && cause.code === "AGENT_UNREACHABLE") throw cause;
    const isRefused = errno === "EACCES" || errno === "EPERM";
    throw unreachable(path, reasonOf(errno, isRefused), {
      cause,
      hint: isRefused ? "run this as root, or as a member of the group that owns that folder" : undefined,
    });
  }
}

async function requireFolder(folder: FileHandle, path: string): Promise<Stats> {
  const found = await folder.stat();
  if (!found.isSymbolicLink()) return found;
  throw unreachable(path, "its folder is a link", { hint: `ls -ld ${shellWord(dirname(path))} shows where it leads` });
}

/** Bound by the folder's user: no link, and no other's that was given a name there. */
async function requireSocket(socket: FileHandle, uid: number, path: string): Promise<void> {
  const found = await socket.stat();
  if (found.isSocket() && found.uid === uid) return;
  const fact = found.isSocket() ? `its socket is of user ${found.uid}, its folder of ${uid}` : "that is no socket";
  throw unreachable(path, fact, {
    hint: `ls -l ${shellWord(path)} shows it; the agent makes its own where nothing is`,
  });
}

function openNamed(path: string): Promise<FileHandle> {
  return open(path, NAMED);
}

function inside({ fd }: FileHandle): string {
  return `/proc/self/fd/${fd}`;
}

function reasonOf(errno: string | undefined, isRefused: boolean): string {
  if (isRefused) return "permission denied";
  return errno === "EAGAIN" ? "it is busy" : "no answer";
}

/** The agent at that socket cannot be asked, and why. */
export function unreachable(
  path: string,
  fact: string,
  options: ConstructorParameters<typeof AgentError>[2],
): AgentError {
  return new AgentError("AGENT_UNREACHABLE", `Cannot ask the agent at "${path}": ${fact}`, options);
}
