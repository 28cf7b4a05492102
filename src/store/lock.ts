import { open, readFile } from "node:fs/promises";
import { constants } from "node:os";
import { dirname } from "node:path";
import { AgentError } from "../base/errors.ts";
import { makeFolders } from "../base/folder.ts";
import { loadLibc } from "../base/libc.ts";

/** From <sys/file.h>: for one alone, and without waiting. */
const LOCK_EX_NB = 2 | 4;

/**
 * Locks a state folder for this process by flock(2) on the file at `path`, until the returned handle is closed or the
 * process ends, however it ends. Throws `LOCKED` where another agent holds it.
 */
export async function lock(path: string): Promise<AsyncDisposable> {
  await makeFolders(dirname(path), { mode: 0o700 });
  const file = await open(path, "a+", 0o600);
  try {
    const libc = await loadLibc();
    if (libc.flock(file.fd, LOCK_EX_NB) !== 0) {
      const errno = libc.errno();
      if (errno === constants.errno.EWOULDBLOCK) throw await lockedBy(path);
      throw new AgentError("STATE_UNUSABLE", `Cannot lock "${path}": ${libc.strerror(errno)}`);
    }
    await file.truncate(0);
    await file.write(`${process.pid}\n`);
  } catch (error) {
    await file.close();
    throw error;
  }
  return file;
}

async function lockedBy(path: string): Promise<AgentError> {
  const pid = (await readFile(path, "utf8").catch(() => "")).trim();
  const who = /^\d+$/.test(pid) ? `another agent (process ${pid})` : "another agent";
  return new AgentError("LOCKED", `Cannot use the state folder: ${who} holds "${path}"`, {
    hint: "stop it first, or use a folder of its own with --state",
  });
}
