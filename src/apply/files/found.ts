import { basename, dirname, join, resolve } from "node:path";
import { type Grant, grantsText, readGrants } from "../../base/acl.ts";
import { AgentError } from "../../base/errors.ts";
import type { FileStat } from "../../base/file-calls.ts";
import { errnoOf, fileError, isMissing, rethrow } from "../../base/file-error.ts";
import type { Folder } from "../../base/folder.ts";
import { readRegular } from "../../base/read-file.ts";
import { shellWord } from "../../base/shell-word.ts";
import { isOurs, NOBODY, reach } from "../../base/trusted-folder.ts";
import type { Host } from "../host.ts";
import type { ExactAccess } from "./access.ts";

/** More than any certificate file: what is longer is somebody's data. */
const LIMIT = 1024 * 1024;
const MOST_LINKS = 8;

/** A file at an output's path, as it was when it was looked at. */
export interface FoundFile {
  readonly kind: "file";
  readonly bytes: Buffer;
  readonly stat: FileStat;
  readonly access: ExactAccess;
  /** Where the link at the path leads; null where the file itself stands there. */
  readonly link: string | null;
}

/** A file of certagent's that cannot be read any more, which is written anew like any other that somebody changed. */
interface SpoiltFile {
  readonly kind: "spoilt";
  readonly because: string;
  readonly link: null;
}

export type Found =
  | FoundFile
  | SpoiltFile
  | { readonly kind: "missing" }
  | { readonly kind: "link"; readonly link: string };

export const MISSING: Found = { kind: "missing" };

/**
 * What stands at a name. `isOurs`: certagent has written the file of that name. Links are read through only where root
 * made them and nobody else could have: a planted one would have root copy a secret. But where one leads to `own`, into
 * certagent's own sets, it does not matter who made it. Throws `DEPLOY_FAILED` for what certagent never replaces: a FIFO,
 * a device, a socket, a folder, a file with several names.
 */
export async function find(
  host: Host,
  folder: Folder,
  name: string,
  wanted: ExactAccess,
  own: string | null,
  isOurs = false,
): Promise<Found> {
  return await findIn(host, folder, name, { wanted, own, isOurs, links: MOST_LINKS });
}

interface Looking {
  readonly wanted: ExactAccess;
  readonly own: string | null;
  readonly isOurs: boolean;
  /** How many links may still be followed. */
  readonly links: number;
}

async function findIn(host: Host, folder: Folder, name: string, looking: Looking): Promise<Found> {
  const path = join(folder.path, name);
  const stat = await host.files.lstat(folder.at(name)).catch(rethrow("look at", path)).catch(absent);
  if (stat === undefined) return MISSING;
  if (stat.isSymbolicLink()) return await readThrough(host, folder, name, looking);
  refuseOthers(path, stat);
  if (stat.size > BigInt(LIMIT)) {
    const fact = "is far too long for a certificate";
    if (looking.isOurs) return { kind: "spoilt", because: fact, link: null };
    throw refusal(path, `the file there ${fact}`, `ls -l ${shellWord(path)}`);
  }
  // An entry may shut out whom the bits for others let in. Where the group has no bits nobody is let in by any, nor are they taken off.
  let grants: readonly Grant[] = [];
  const file = await readRegular(folder.at(name), LIMIT, host.files, async (handle, { mode }) => {
    if (looking.wanted.grants.length > 0 || (Number(mode) & 0o070) !== 0) grants = await readGrants(handle);
  }).catch((error: unknown) => {
    if (!looking.isOurs || errnoOf(error) !== "EIO") throw fileError("read", path, error);
  });
  if (file === undefined) return { kind: "spoilt", because: "cannot be read: input/output error", link: null };
  refuseOthers(path, file.stat);
  const { mode, uid, gid } = file.stat;
  const access = { mode: Number(mode & 0o7777n), uid: Number(uid), gid: Number(gid), grants };
  return { kind: "file", bytes: file.bytes, stat: file.stat, access, link: null };
}

/** The mask of an ACL is the group's bits: only where these let more in than others' does an ACL let anybody in. */
export function aclMatters(mode: number, wanted: ExactAccess): boolean {
  return wanted.grants.length > 0 || ((mode >> 3) & ~mode & 0o7) !== 0;
}

function refusal(path: string, fact: string, hint: string): AgentError {
  return new AgentError("DEPLOY_FAILED", `Cannot write "${path}": ${fact}`, { hint });
}

function refuseOthers(path: string, stat: FileStat): void {
  if (stat.isDirectory()) throw refusal(path, "a folder stands there", "name a file in the spec, or remove the folder");
  if (!stat.isFile()) {
    const kind = stat.isFIFO() ? "a FIFO" : stat.isSocket() ? "a socket" : "a device";
    throw refusal(path, `${kind} stands there`, `rm ${shellWord(path)}, or name another path in the spec`);
  }
  if (stat.nlink > 1n) {
    const hint = `find / -xdev -inum ${stat.ino} shows its other names; rm ${shellWord(path)} leaves those`;
    throw refusal(path, `the file there has ${stat.nlink} names (hard links)`, hint);
  }
}

async function readThrough(host: Host, folder: Folder, name: string, looking: Looking): Promise<Found> {
  const link = await host.files.readlink(folder.at(name)).catch(rethrow("read", join(folder.path, name)));
  if (looking.links === 0) return { kind: "link", link };
  const target = resolve(folder.path, link);
  try {
    if (link !== looking.own && !(await isRootsLink(host, folder, name))) return { kind: "link", link };
    await using reached = await reach(dirname(target), NOBODY, host.files);
    if (reached.missing !== null) return { kind: "link", link };
    const further = { ...looking, isOurs: false, links: looking.links - 1 };
    const found = await findIn(host, reached.folder, basename(target), further);
    return found.kind === "file" ? { ...found, link } : { kind: "link", link };
  } catch {
    return { kind: "link", link }; // not to be read through: it is replaced unread
  }
}

/** Whether nobody but root could have made a link, or put it in its folder. */
async function isRootsLink(host: Host, folder: Folder, name: string): Promise<boolean> {
  await using trusted = await reach(folder.path, NOBODY, host.files);
  const stat = await host.files.lstat(trusted.folder.at(name));
  return trusted.missing === null && isOurs(stat.uid);
}

function absent(error: unknown): undefined {
  if (!isMissing(error)) throw error;
}

/** What differs between how a file is and how it should be, for people; undefined where nothing does. */
export function differenceOfAccess(found: ExactAccess, wanted: ExactAccess): string | undefined {
  if (found.mode !== wanted.mode) return `has mode ${octal(found.mode)}, the spec says ${octal(wanted.mode)}`;
  if (found.uid !== wanted.uid) return `belongs to user ${found.uid}, the spec says ${wanted.uid}`;
  if (found.gid !== wanted.gid) return `belongs to group ${found.gid}, the spec says ${wanted.gid}`;
  const [is, should] = [grantsText(found.grants), grantsText(wanted.grants)];
  return is === should ? undefined : `has ${is === "" ? "no ACL" : `the ACL ${is}`}, the spec says ${should || "none"}`;
}

function octal(mode: number): string {
  return mode.toString(8).padStart(4, "0");
}
