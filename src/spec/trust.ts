import type { Stats } from "node:fs";
import { lstat, readlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { failureOf } from "../base/errors.ts";
import type { FileStat } from "../base/file-calls.ts";
import { errnoOf, fileError, isMissing } from "../base/file-error.ts";
import { readRegular } from "../base/read-file.ts";
import { shellWord } from "../base/shell-word.ts";
import { fileProblem, type Problem } from "./problem.ts";
import { LARGEST_FILE } from "./source.ts";

/** Whose files are believed. */
export interface Trust {
  /** User numbers: root and the user that certagent runs as. */
  readonly users: readonly number[];
}

/** Why a file is not believed, and the command that mends it. */
export interface Distrust {
  readonly message: string;
  readonly hint: string;
}

/** As many links as the kernel follows. */
const MOST_LINKS = 40;

/**
 * Why the file that `stat` was taken of cannot be believed; undefined where it can. The group's write bit covers ACLs:
 * it is their mask, so no entry can give what it lacks.
 */
export function distrustOfFile(path: string, stat: FileStat, trust: Trust): Distrust | undefined {
  const message =
    stat.nlink > 1n
      ? `the file has ${stat.nlink} names (hard links), so it can change under another`
      : distrust(path, Number(stat.uid), Number(stat.mode), trust)?.message;
  return message === undefined ? undefined : { message, hint: copyOf(path) };
}

/** Not chown or chmod: who has the file open for writing goes on writing. */
function copyOf(path: string): string {
  const [file, copy] = [shellWord(path), shellWord(`${path}.new`)];
  return `read it, then: cp ${file} ${copy} && mv ${copy} ${file} makes it a file of its own`;
}

function distrust(path: string, uid: number, mode: number, { users }: Trust): Distrust | undefined {
  if (!users.includes(uid)) {
    return { message: `${path} belongs to user ${uid}, not to root`, hint: `chown root ${shellWord(path)}` };
  }
  if ((mode & 0o022) === 0) return undefined;
  const who = (mode & 0o002) === 0 ? "its group or an ACL" : "everybody";
  return { message: `${path} can be written by ${who}`, hint: closing(path, mode) };
}

/** How a folder is closed to others; one that is sticky (/tmp) has to stay open. */
function closing(path: string, mode: number): string {
  return (mode & 0o1000) !== 0
    ? "use another folder: this one is there for everybody"
    : `chmod go-w ${shellWord(path)}`;
}

/**
 * Why what stands in a folder cannot be believed: someone else could change the folder or one on the way to it, links
 * included. A sticky folder of root (/tmp) may be on the way, since nobody can move what others have there. Rejects
 * where the folder is not there.
 */
export async function distrustOfFolder(path: string, trust: Trust): Promise<Distrust | undefined> {
  const folders = await foldersTo(path);
  for (const [index, { path: folder, stat }] of folders.entries()) {
    const isSticky = (stat.mode & 0o1000) !== 0 && index < folders.length - 1;
    const found = distrust(folder, stat.uid, isSticky ? stat.mode & ~0o022 : stat.mode, trust);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** The user who has to read configuration and specs. */
export interface Reader {
  readonly uid: number;
  readonly gid: number;
}

/**
 * Why `reader` will not get at what `stat` was taken of; undefined where it will. A file is read, a folder is listed and
 * gone through. An ACL or a further group of the reader's could still let it in: that is not looked at.
 */
export function closedTo(
  reader: Reader,
  path: string,
  stat: Pick<Stats, "uid" | "gid" | "mode">,
): Distrust | undefined {
  if (reader.uid === 0) return undefined;
  const wanted = (stat.mode & 0o170000) === 0o040000 ? 0o5 : 0o4;
  const [who, shift] = stat.uid === reader.uid ? ["u", 6] : stat.gid === reader.gid ? ["g", 3] : ["o", 0];
  if (((stat.mode >> shift) & wanted) === wanted) return undefined;
  const may = wanted === 0o5 ? "rx" : "r";
  return {
    message: `${path} is closed to user ${reader.uid}, who is the agent's`,
    hint: `chmod ${who}+${may} ${shellWord(path)}`,
  };
}

interface Step {
  readonly path: string;
  readonly stat: Stats;
}

/** Every folder that decides where a path leads, the last one last. */
async function foldersTo(path: string): Promise<readonly Step[]> {
  const steps: Step[] = [{ path: "/", stat: await lstat("/") }];
  const rest = path.split("/").filter((part) => part !== "");
  let here = "/";
  let links = 0;
  for (let part = rest.shift(); part !== undefined; part = rest.shift()) {
    const next = join(here, part);
    const stat = await lstat(next);
    if (stat.isSymbolicLink() && links++ < MOST_LINKS) {
      const target = await readlink(next);
      rest.unshift(...target.split("/").filter((name) => name !== ""));
      if (target.startsWith("/")) here = "/";
      continue;
    }
    here = next;
    steps.push({ path: here, stat });
  }
  return steps;
}

export type TrustedRead =
  | { readonly bytes: Uint8Array; readonly stat: FileStat }
  | { readonly problem: Problem; readonly isMissing: boolean };

/**
 * Reads a file that has to be believed: a regular file of at most 64 KiB, judged on the descriptor that is read. A link
 * is not followed. `folder` says that the folder was judged before. Never rejects.
 */
export async function readTrusted(file: string, trust: Trust, folder?: "folder was judged"): Promise<TrustedRead> {
  try {
    const inFolder = folder === undefined ? await distrustOfFolder(dirname(file), trust) : undefined;
    const { bytes, stat } = await readRegular(file, LARGEST_FILE);
    const distrust = inFolder ?? distrustOfFile(file, stat, trust);
    // A copy of its own size: what was read stands at the head of a far larger buffer.
    return distrust === undefined
      ? { bytes: Buffer.from(bytes), stat }
      : { problem: fileProblem(file, distrust.message, distrust.hint), isMissing: false };
  } catch (error) {
    return { problem: unreadable(file, error), isMissing: isMissing(error) };
  }
}

/** Why a file cannot be read. */
export function unreadable(file: string, error: unknown): Problem {
  const { message, hint } = failureOf(fileError("read", file, error, "SPEC_INVALID"));
  const isLink = errnoOf(error) === "ELOOP";
  return fileProblem(file, message, isLink ? `${copyOf(file)}; its folder may be a link` : hint);
}
