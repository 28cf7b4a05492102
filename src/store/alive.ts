/** How the agent learns that a root side is gone, however that ended: the kernel then frees its lock on this file. */
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { type Access, stage } from "../base/atomic-file.ts";
import { rethrow } from "../base/file-error.ts";
import { openFolder } from "../base/folder.ts";
import { loadLibc } from "../base/libc.ts";

/** The name of the file, among the reports. */
export const ALIVE = "alive";

/** From <sys/file.h>: for one alone, for all who look, and without waiting. */
const LOCK = { EX_NB: 2 | 4, SH_NB: 1 | 4 };
const LOOK = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/**
 * Tells that this process serves, until it is disposed of or ends. It is a new file for each process, and locked before
 * anybody can see it. Throws `DEPLOY_FAILED`.
 */
export async function showAlive(reports: string, access: Access): Promise<AsyncDisposable> {
  await using folder = await openFolder(reports);
  await using staged = await stage(folder, ALIVE, Buffer.from(`${process.pid}\n`), access);
  const path = join(folder.path, staged.temporary);
  const file = await open(folder.at(staged.temporary), LOOK).catch(rethrow("lock", path));
  try {
    (await loadLibc()).flock(file.fd, LOCK.EX_NB);
    await staged.publish();
  } catch (error) {
    await file.close();
    throw error;
  }
  return file;
}

/** Differs for each process that serves; empty while none does. */
export async function whoIsAlive(reports: string): Promise<string> {
  const file = await open(join(reports, ALIVE), LOOK).catch(() => undefined);
  if (file === undefined) return "";
  try {
    if ((await loadLibc()).flock(file.fd, LOCK.SH_NB) === 0) return "";
    const { ino, mtimeNs } = await file.stat({ bigint: true });
    return `${ino} ${mtimeNs}`;
  } finally {
    await file.close();
  }
}
