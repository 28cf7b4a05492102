/**
 * Folders held open: names in them are resolved through the descriptor (/proc/self/fd/N/name is Node's openat), so that
 * a folder that is swapped for a link meanwhile does not lead elsewhere.
 */
import { constants } from "node:fs";
import { basename, dirname, join } from "node:path";
import { AgentError } from "./errors.ts";
import { close, type FileCalls, fileCalls, type OpenFile } from "./file-calls.ts";
import { errnoOf, fileError, isMissing, rethrow } from "./file-error.ts";
import { shellWord } from "./shell-word.ts";

/** Who owns a file or folder and its permission bits. `uid` and `gid` default to the process's own. */
export interface Ownership {
  readonly mode: number;
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
}

/** A folder held open: names in it are resolved from its descriptor, not from its path. */
export interface Folder extends AsyncDisposable {
  readonly path: string;
  readonly handle: OpenFile;
  /** A path that means `name` in this very folder for as long as it is held. */
  at(name: string): string;
  /** Makes the names in it durable. */
  sync(): Promise<void>;
}

const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/** Opens a folder; its last part must not be a link. Throws `DEPLOY_FAILED`. */
export async function openFolder(path: string, files: FileCalls = fileCalls): Promise<Folder> {
  return holdFolder(path, await files.open(path, FOLDER).catch(unopened(path)), files);
}

/** {@link openFolder} in a folder that is held. */
export async function openFolderIn(parent: Folder, name: string, files: FileCalls = fileCalls): Promise<Folder> {
  const path = join(parent.path, name);
  return holdFolder(path, await files.open(parent.at(name), FOLDER).catch(unopened(path)), files);
}

function unopened(path: string): (error: unknown) => never {
  return (cause) => {
    if (!isMissing(cause)) throw fileError("open", path, cause);
    throw new AgentError("DEPLOY_FAILED", `Cannot open "${path}": no such folder`, {
      cause,
      hint: `mkdir -p ${shellWord(path)}`,
    });
  };
}

/** The same for a folder that was opened already; takes over the handle. `path` is for people. */
export function holdFolder(path: string, handle: OpenFile, files: FileCalls = fileCalls): Folder {
  return {
    path,
    handle,
    at: (name) => `/proc/self/fd/${handle.fd}/${name}`,
    sync: () => files.sync(handle).catch(rethrow("make durable", path)),
    [Symbol.asyncDispose]: () => close(handle),
  };
}

/** Makes one folder, durably, with exactly this access; false where it was there already (it is then left as it is). */
export async function makeFolder(path: string, access: Ownership, files: FileCalls = fileCalls): Promise<boolean> {
  await using parent = await openFolder(dirname(path), files);
  return await makeFolderIn(parent, basename(path), access, files);
}

/** Makes a folder and the parents that it lacks, each durably: a synced file is worth nothing in a folder that is not. */
export async function makeFolders(path: string, access: Ownership, files: FileCalls = fileCalls): Promise<void> {
  try {
    await files.lstat(path);
  } catch (error) {
    if (!isMissing(error)) throw fileError("make", path, error);
    await makeFolders(dirname(path), access, files);
    await makeFolder(path, access, files);
  }
}

/**
 * {@link makeFolder} in a folder that is held. It has its mode from the start, as far as the umask lets it (main.ts sets
 * that): a process that is killed here must not leave a folder behind that services cannot enter, for ever. In somebody
 * else's folder that must do: the name may be another folder's by now, and what it is would be changed instead.
 */
export async function makeFolderIn(
  parent: Folder,
  name: string,
  { mode, uid, gid }: Ownership,
  files: FileCalls = fileCalls,
): Promise<boolean> {
  const path = join(parent.path, name);
  try {
    await files.mkdir(parent.at(name), mode);
  } catch (error) {
    if (errnoOf(error) === "EEXIST") return false;
    throw fileError("make", path, error);
  }
  try {
    await using folder = await openFolderIn(parent, name, files);
    const { uid: holder } = await files.stat(parent.handle);
    if (holder === 0n || Number(holder) === process.geteuid?.()) {
      await files.chmod(folder.handle, mode);
      await giveAway(folder.handle, uid, gid, files);
    }
    await folder.sync();
    await parent.sync();
    return true;
  } catch (error) {
    throw fileError("make", path, error);
  }
}

/** Changes owner and group where they differ; undefined leaves what is. */
export async function giveAway(
  file: OpenFile,
  uid: number | undefined,
  gid: number | undefined,
  files: FileCalls,
): Promise<void> {
  if (uid === undefined && gid === undefined) return;
  const { uid: owner, gid: group } = await files.stat(file);
  const [newOwner, newGroup] = [uid ?? Number(owner), gid ?? Number(group)];
  if (newOwner !== Number(owner) || newGroup !== Number(group)) await files.chown(file, newOwner, newGroup);
}

/** Removes a file, durably. False where there was none. */
export async function removeDurably(path: string, files: FileCalls = fileCalls): Promise<boolean> {
  try {
    await using folder = await openFolder(dirname(path), files);
    await files.unlink(folder.at(basename(path)));
    await folder.sync();
    return true;
  } catch (error) {
    if (isMissing(error)) return false;
    throw fileError("remove", path, error);
  }
}

/** Removes a folder with the files in it (one level of folders below it too) and makes that durable. */
export async function removeFolder(path: string, files: FileCalls = fileCalls): Promise<void> {
  try {
    await using parent = await openFolder(dirname(path), files);
    await empty(parent, basename(path), files, 2);
    await parent.sync();
  } catch (error) {
    if (!isMissing(error)) throw fileError("remove", path, error);
  }
}

async function empty(parent: Folder, name: string, files: FileCalls, depth: number): Promise<void> {
  {
    await using folder = await openFolderIn(parent, name, files);
    for (const entry of await files.readdir(folder.at("."))) {
      const found = await files.lstat(folder.at(entry));
      if (found.isDirectory() && depth > 0) await empty(folder, entry, files, depth - 1);
      else await files.unlink(folder.at(entry));
    }
  }
  await files.rmdir(parent.at(name));
}
