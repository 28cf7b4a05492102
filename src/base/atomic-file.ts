/**
 * Files that are old or new, never torn, whatever ends the process or the power: written under a temporary name in
 * their own folder, made durable, verified through the descriptor that wrote them, and then renamed. Folders are held
 * open meanwhile (folder.ts).
 */
import { randomBytes } from "node:crypto";
import { constants, type PathLike } from "node:fs";
import * as fs from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { type Grant, grantsText, hasDefaultAcl, readGrants, setAcl } from "./acl.ts";
import { AgentError } from "./errors.ts";
import { close, type FileStat, fileCalls, type OpenFile } from "./file-calls.ts";
import { fileError, rethrow } from "./file-error.ts";
import { type Folder, giveAway, type Ownership, openFolder } from "./folder.ts";
import { readAll } from "./read-file.ts";
import type { Run } from "./run.ts";
import { shellWord } from "./shell-word.ts";

/** The file calls of certagent, one place to count them in. Only this file renames. */
export const nodeFiles = { ...fileCalls, rename: (from: string, to: string) => fs.rename(from, to) };
export type Files = typeof nodeFiles;

/** Who may do what with a file. With grants the group's bits of the mode are the mask. */
export interface Access extends Ownership {
  /** Exactly these, none but these. Needs `run`. */
  readonly grants?: readonly Grant[] | undefined;
}

/** The surroundings of a write. */
export interface Surroundings {
  readonly files?: Files | undefined;
  /** For `setfacl`. Without it no ACL can be asked for and an inherited one is not noticed. */
  readonly run?: Run | undefined;
  /** Gives the staged file the security label of its folder, before it has its name. */
  readonly relabel?: ((path: string) => Promise<void>) | undefined;
  /** Nobody else writes in the folder: what has been written there need be neither read back nor looked for. */
  readonly alone?: boolean | undefined;
}

const TEMPORARY = /^\.certagent-[0-9a-f]{16}$/;

/** Whether a name is one of ours for something unfinished: left behind only by a process that was killed. */
export function isTemporary(name: string): boolean {
  return TEMPORARY.test(name);
}

/** Starts with a dot, as some servers read every other file of a folder (HAProxy). */
export function temporaryName(): string {
  return `.certagent-${randomBytes(8).toString("hex")}`;
}

/** Finishes what a process that was killed had staged: gives the temporary file its name. The folder must be synced. */
export async function publishLeftover(folder: Folder, temporary: string, name: string, files: Files): Promise<void> {
  await files.rename(folder.at(temporary), folder.at(name)).catch(rethrow("write", join(folder.path, name)));
}

/** Moves what has a path into a folder that is held. Not durable: for what is to be removed. */
export async function moveEntry(path: PathLike, folder: Folder, as: string): Promise<void> {
  await fs.rename(path, folder.at(as));
}

/** Gives a prepared folder its final name, durably. Its contents must be durable already; nothing may have the name. */
export async function publishFolder(temporary: string, final: string, files: Files = nodeFiles): Promise<void> {
  await using parent = await openFolder(dirname(final), files);
  await files.rename(temporary, parent.at(basename(final))).catch(rethrow("make", final));
  await parent.sync();
}

/** A fresh name beside others for what is being prepared; {@link isTemporary} recognizes it. */
export function temporaryPath(folder: string): string {
  return join(folder, temporaryName());
}

/** A complete, durable, verified file that has no name yet but a temporary one. Disposing it unpublished removes it. */
export interface Staged extends AsyncDisposable {
  /** Where it is going. */
  readonly path: string;
  readonly temporary: string;
  /** Gives it its name. The folder must be synced afterwards. */
  publish(): Promise<FileStat>;
  /** Whether it has had its name, even if another file has that now. */
  published(): boolean;
}

/** Replaces or makes a file, durably; whoever looks finds the old one or the whole new one. Throws `DEPLOY_FAILED`. */
export async function writeAtomically(path: string, bytes: Uint8Array, options: Access & Surroundings): Promise<void> {
  await using folder = await openFolder(dirname(path), options.files);
  await writeAtomicallyIn(folder, basename(path), bytes, options);
}

/** {@link writeAtomically} in a folder that is held. */
export async function writeAtomicallyIn(
  folder: Folder,
  name: string,
  bytes: Uint8Array,
  options: Access & Surroundings,
): Promise<void> {
  await using staged = await stage(folder, name, bytes, options);
  await staged.publish();
  await folder.sync();
}

const CREATE = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/** The first half of {@link writeAtomically}: everything that can fail for want of space or rights. */
export async function stage(
  folder: Folder,
  name: string,
  bytes: Uint8Array,
  options: Access & Surroundings,
): Promise<Staged> {
  const { files = nodeFiles, alone = false } = options;
  const path = join(folder.path, name);
  const temporary = temporaryName();
  const file = await files.open(folder.at(temporary), CREATE, 0o600).catch(rethrow("write", path));
  const discard = async (): Promise<void> => {
    await close(file);
    await files.unlink(folder.at(temporary)).catch(() => {}); // the sweep at the next start removes what stays
  };
  let written: FileStat;
  try {
    written = await fill(file, folder, temporary, path, bytes, options);
  } catch (error) {
    await discard();
    throw fileError("write", path, error);
  }
  let published = false;
  const publish = async (): Promise<FileStat> => {
    await files.rename(folder.at(temporary), folder.at(name)).catch(rethrow("write", path));
    published = true;
    return alone ? written : await verifyPlace(written, folder.at(name), path, files);
  };
  return {
    path,
    temporary,
    publish,
    published: () => published,
    [Symbol.asyncDispose]: () => (published ? close(file) : discard()),
  };
}

/**
 * The group before mode and ACL, which let it in: in a setgid folder the file was made with that folder's, whose members
 * are not to read a key for a moment. The owner last: with CAP_CHOWN alone a file that was given away can only be looked
 * at through the descriptor that is still open. One fsync: after one that failed, a second would lie.
 */
async function fill(
  file: OpenFile,
  folder: Folder,
  temporary: string,
  path: string,
  bytes: Uint8Array,
  options: Access & Surroundings,
): Promise<FileStat> {
  const { mode, uid, gid, grants = [], files = nodeFiles, run, relabel } = options;
  for (let offset = 0; offset < bytes.length; ) {
    const { bytesWritten } = await files.write(file, bytes, offset); // short without an error where the disk fills up
    if (bytesWritten === 0)
      throw new AgentError("DEPLOY_FAILED", `Cannot write "${path}": the device takes no more bytes`);
    offset += bytesWritten;
  }
  await giveAway(file, undefined, gid, files);
  const exactly = run !== undefined && (grants.length > 0 || (await inherits(folder, mode)));
  if (exactly) await setAcl(run, file, path, mode, grants);
  else if (Number((await files.stat(file)).mode & 0o7777n) !== mode) await files.chmod(file, mode);
  if (relabel !== undefined) await relabelled(relabel, file, folder, temporary, path, files);
  await giveAway(file, uid, undefined, files);
  await files.sync(file);
  const written = await verify(file, path, bytes, options);
  if (exactly && grantsText(await readGrants(file)) !== grantsText(grants)) {
    throw new AgentError("DEPLOY_FAILED", `Cannot set the ACL of "${path}": the file system did not keep it`);
  }
  return written;
}

/** SELinux's programs take paths: who owns the folder may have had another file labelled, which is then known. */
async function relabelled(
  relabel: (path: string) => Promise<void>,
  file: OpenFile,
  folder: Folder,
  temporary: string,
  path: string,
  files: Files,
): Promise<void> {
  const place = join(folder.path, temporary);
  const held = await files.stat(file);
  await verifyPlace(held, place, path, files);
  await relabel(place);
  await verifyPlace(held, place, path, files);
}

/** What was asked of a folder once is good for as long as it is held. */
const defaultAcls = new WeakMap<Folder, Promise<boolean>>();

/** A mode without group bits is a mask that lets nobody in, whatever ACL the folder hands down. */
async function inherits(folder: Folder, mode: number): Promise<boolean> {
  if ((mode & 0o070) === 0) return false;
  const answer = defaultAcls.get(folder) ?? hasDefaultAcl(folder.handle);
  defaultAcls.set(folder, answer);
  return await answer;
}

async function verify(
  file: OpenFile,
  path: string,
  bytes: Uint8Array,
  options: Access & Surroundings,
): Promise<FileStat> {
  const { mode, uid, gid, files = nodeFiles, alone = false } = options;
  const found = await files.stat(file);
  const isWhole =
    (alone || Buffer.compare(await readAll(file, bytes.length, files), bytes) === 0) &&
    found.size === BigInt(bytes.length);
  if (!isWhole)
    throw new AgentError("DEPLOY_FAILED", `Cannot write "${path}": the disk does not hold what was written`);
  const is = { mode: Number(found.mode & 0o7777n), uid: Number(found.uid), gid: Number(found.gid) };
  const wanted = { mode, uid: uid ?? is.uid, gid: gid ?? is.gid };
  if (is.mode !== wanted.mode || is.uid !== wanted.uid || is.gid !== wanted.gid) {
    const fact = `its file system keeps ${accessText(is)} in place of ${accessText(wanted)}`;
    const hint = `findmnt -T ${shellWord(dirname(path))} shows it: name a path on one that keeps both, or what this one has`;
    throw new AgentError("DEPLOY_FAILED", `Cannot write "${path}": ${fact}`, { hint });
  }
  return found;
}

function accessText({ mode, uid, gid }: Required<Ownership>): string {
  return `mode ${mode.toString(8).padStart(4, "0")} and owner ${uid}:${gid}`;
}

/** Who owns the folder can put another file there; that is then known, and not reported as ours. */
async function verifyPlace(held: FileStat, place: string, path: string, files: Files): Promise<FileStat> {
  const found = await files.lstat(place).catch(() => undefined);
  if (found?.ino === held.ino && found.dev === held.dev) return found;
  throw new AgentError("DEPLOY_FAILED", `Cannot write "${path}": another process replaced it at once`, {
    hint: `somebody else writes in "${dirname(path)}": another agent, configuration management, or an attack`,
  });
}

/** Points a symbolic link elsewhere (or makes it, or puts it in a file's place) by one rename. The folder is synced. */
export async function replaceLink(target: string, path: string, files: Files = nodeFiles): Promise<void> {
  await using folder = await openFolder(dirname(path), files);
  await replaceLinkIn(folder, basename(path), target, files);
  await folder.sync();
}

/** {@link replaceLink} in a folder that is held; the folder must be synced afterwards. */
export async function replaceLinkIn(folder: Folder, name: string, target: string, files: Files): Promise<void> {
  const temporary = temporaryName();
  try {
    await files.symlink(target, folder.at(temporary));
    await files.rename(folder.at(temporary), folder.at(name));
  } catch (error) {
    await files.unlink(folder.at(temporary)).catch(() => {});
    throw fileError("write", join(folder.path, name), error);
  }
}
