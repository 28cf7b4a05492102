import { constants } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import * as fs from "node:fs/promises";

/**
 * Linux; Node has no name for it. A descriptor that only names: enough to tell what something is, to walk through a
 * folder without reading it, and to connect to a socket.
 */
export const O_PATH = 0o10000000;

/**
 * The file calls that matter here (atomic-file adds the rename), so that a test can fail, or end the process at, the
 * n-th of them for every n.
 */
export const fileCalls = {
  open: (path: string, flags: number, mode?: number) => fs.open(path, flags, mode),
  write: (file: FileHandle, bytes: Uint8Array, offset: number) =>
    file.write(bytes, offset, bytes.length - offset, offset),
  read: (file: FileHandle, buffer: Uint8Array, offset: number) =>
    file.read(buffer, offset, buffer.length - offset, offset),
  stat: (file: FileHandle) => file.stat({ bigint: true }),
  chmod: (file: FileHandle, mode: number) => file.chmod(mode),
  chown: (file: FileHandle, uid: number, gid: number) => file.chown(uid, gid),
  sync: (file: FileHandle) => file.sync(),
  lstat: (path: string) => fs.lstat(path, { bigint: true }),
  mayWrite: (path: string) => fs.access(path, constants.W_OK),
  statfs: (path: string) => fs.statfs(path),
  readlink: (path: string) => fs.readlink(path),
  readdir: (path: string) => fs.readdir(path),
  mkdir: (path: string, mode: number) => fs.mkdir(path, mode),
  symlink: (target: string, path: string) => fs.symlink(target, path),
  unlink: (path: string) => fs.unlink(path),
  rmdir: (path: string) => fs.rmdir(path),
};
export type FileCalls = typeof fileCalls;
export type FileStat = Awaited<ReturnType<FileCalls["lstat"]>>;

/** What was written is durable before it is closed, so a close that fails has nothing to say. */
export async function close(file: FileHandle): Promise<void> {
  await file.close().catch(() => {});
}
