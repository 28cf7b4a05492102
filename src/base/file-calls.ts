import type { PathLike } from "node:fs";
import * as nodeFs from "node:fs";
import * as fs from "node:fs/promises";
import { promisify } from "node:util";

/**
 * Linux; Node has no name for it. A descriptor that only names: enough to tell what something is, to walk through a
 * folder without reading it, and to connect to a socket.
 */
export const O_PATH = 0o10000000;

/** A file or folder held open. Whoever opened it closes it; closing it again does nothing. */
export interface OpenFile {
  readonly fd: number;
  /** Whether something may have been written that is not durable yet: then a close may wait for a disk. */
  isDirty: boolean;
  close(): Promise<void>;
}

const { constants } = nodeFs;
const openDescriptor = promisify(nodeFs.open);
const closeDescriptor = promisify(nodeFs.close);
const read = promisify(nodeFs.read);
const write = promisify(nodeFs.write);
const chmod = promisify(nodeFs.fchmod);
const chown = promisify(nodeFs.fchown);
const sync = promisify(nodeFs.fsync);
const ACCESS = constants.O_WRONLY | constants.O_RDWR;

/** Of a name that need not be text; files with others are opened by {@link fileCalls}. */
export async function openFile(path: PathLike, flags: number, mode?: number): Promise<OpenFile> {
  const fd = await openDescriptor(path, flags, mode);
  let isOpen = true;
  const file: OpenFile = {
    fd,
    isDirty: (flags & ACCESS) !== 0,
    close: async () => {
      if (!isOpen) return;
      isOpen = false; // the number is somebody else's at once
      if (file.isDirty) await closeDescriptor(fd);
      else nodeFs.closeSync(fd);
    },
  };
  return file;
}

/**
 * The file calls that matter here (atomic-file adds the rename), so that a test can fail, or end the process at, the
 * n-th of them for every n.
 *
 * All but two wait in libuv's threads, so that a disk that hangs stops nobody else. The way there and back costs more
 * processor time than most calls: what never waits for a disk, which is to ask about what is open and to close what is
 * not dirty, is done at once.
 */
export const fileCalls = {
  open: (path: string, flags: number, mode?: number) => openFile(path, flags, mode),
  write: (file: OpenFile, bytes: Uint8Array, offset: number) => {
    file.isDirty = true;
    return write(file.fd, bytes, offset, bytes.length - offset, offset);
  },
  read: ({ fd }: OpenFile, buffer: Uint8Array, offset: number) =>
    read(fd, buffer, offset, buffer.length - offset, offset),
  stat: async ({ fd }: OpenFile) => nodeFs.fstatSync(fd, { bigint: true }),
  chmod: ({ fd }: OpenFile, mode: number) => chmod(fd, mode),
  chown: ({ fd }: OpenFile, uid: number, gid: number) => chown(fd, uid, gid),
  sync: async (file: OpenFile) => {
    await sync(file.fd);
    file.isDirty = false;
  },
  lstat: (path: string) => fs.lstat(path, { bigint: true }),
  mayWrite: (path: string) => fs.access(path, constants.W_OK),
  statfs: (path: string) => fs.statfs(path),
  readlink: (path: string) => fs.readlink(path),
  readdir: (path: string) => fs.readdir(path),
  /** The same, and what each is. */
  entries: (path: string) => fs.readdir(path, { withFileTypes: true }),
  mkdir: (path: string, mode: number) => fs.mkdir(path, mode),
  symlink: (target: string, path: string) => fs.symlink(target, path),
  unlink: (path: string) => fs.unlink(path),
  rmdir: (path: string) => fs.rmdir(path),
};
export type FileCalls = typeof fileCalls;
export type FileStat = Awaited<ReturnType<FileCalls["lstat"]>>;

/** What was written is durable before it is closed, so a close that fails has nothing to say. */
export async function close(file: OpenFile): Promise<void> {
  await file.close().catch(() => {});
}
