import { open, readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { AgentError } from "../base/errors.ts";
import { makeFolders } from "../base/folder.ts";
import type { Run } from "../base/run.ts";
import { SECOND } from "../base/time.ts";

/**
 * Locks a state folder for this process by `flock` on the file at `path`, until the returned handle is closed or the
 * process ends, however it ends. Node has no flock: a child is given the open descriptor, and a lock belongs to the open
 * file description that both share. Throws `LOCKED` where another agent holds it.
 */
export async function lock(path: string, run: Run): Promise<AsyncDisposable> {
  await makeFolders(dirname(path), { mode: 0o700 });
  const file = await open(path, "a+", 0o600);
  try {
    const { exitCode, output } = await run(["/usr/bin/flock", "--nonblock", "3"], {
      timeout: 10 * SECOND,
      descriptor: file.fd,
    });
    if (exitCode === 1) throw await lockedBy(path);
    if (exitCode !== 0) throw new AgentError("STATE_UNUSABLE", `Cannot lock "${path}": flock said "${output.trim()}"`);
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
