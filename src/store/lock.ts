import { constants as fs } from "node:fs";
import { type FileHandle, open, readFile } from "node:fs/promises";
import { constants } from "node:os";
import { dirname } from "node:path";
import { AgentError } from "../base/errors.ts";
import { errnoOf, rethrow } from "../base/file-error.ts";
import { makeFolders } from "../base/folder.ts";
import { loadLibc } from "../base/libc.ts";
import { type Milliseconds, pause, systemClock } from "../base/time.ts";

/** From <sys/file.h>: for one alone, and without waiting. */
const LOCK_EX_NB = 2 | 4;

/** Never through a link, and of no other file: its number is written into it. */
const LOCK_FILE = fs.O_RDWR | fs.O_APPEND | fs.O_CREAT | fs.O_NOFOLLOW | fs.O_NONBLOCK;

/** How soon a lock that is waited for is tried again. */
const RETRY: Milliseconds = 100;

/**
 * Locks a state folder for this process by flock(2) on the file at `path`, until the returned handle is closed or the
 * process ends, however it ends. Throws `LOCKED` where another process holds it and goes on doing so for `patience`, or until
 * `signal` aborts.
 */
export async function lock(path: string, patience: Milliseconds = 0, signal?: AbortSignal): Promise<AsyncDisposable> {
  await makeFolders(dirname(path), { mode: 0o700 });
  const file = await open(path, LOCK_FILE, 0o600).catch(rethrow("lock", path));
  try {
    const { nlink } = await file.stat();
    if (nlink !== 1)
      throw new AgentError("STATE_UNUSABLE", `Cannot lock "${path}": it has ${nlink} names (hard links)`);
    const libc = await loadLibc();
    const end = systemClock.monotonic() + patience;
    while (libc.flock(file.fd, LOCK_EX_NB) !== 0) {
      const errno = libc.errno();
      if (errno !== constants.errno.EWOULDBLOCK) {
        throw new AgentError("STATE_UNUSABLE", `Cannot lock "${path}": ${libc.strerror(errno)}`);
      }
      if (systemClock.monotonic() >= end || signal?.aborted) throw await lockedBy(path);
      await pause(RETRY, signal);
    }
    await tellWho(file);
  } catch (error) {
    await file.close();
    throw error;
  }
  return file;
}

/** The number is for people, who read it in the error of the next: a full disk stops no agent. */
async function tellWho(file: FileHandle): Promise<void> {
  try {
    await file.truncate(0);
    await file.write(`${process.pid}\n`);
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
  }
}

async function lockedBy(path: string): Promise<AgentError> {
  const pid = (await readFile(path, "utf8").catch(() => "")).trim();
  const who = /^\d+$/.test(pid) ? `another agent (process ${pid})` : "another agent";
  return new AgentError("LOCKED", `Cannot use the state folder: ${who} holds "${path}"`, {
    hint: "stop it first, or use a folder of its own with --state",
  });
}
