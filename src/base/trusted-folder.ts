/**
 * Reaching a folder so that nobody but root (or the user that certagent runs as) and the file's own owner had a say in
 * where that leads: the shape of sshd's `safe_path` and systemd's CHASE_SAFE, component by component through
 * descriptors.
 */
import { constants } from "node:fs";
import { join } from "node:path";
import { ownGid, ownUid } from "./accounts.ts";
import type { Files } from "./atomic-file.ts";
import { AgentError } from "./errors.ts";
import { type FileStat, O_PATH } from "./file-calls.ts";
import { fileError, isMissing, rethrow } from "./file-error.ts";
import { type Folder, holdFolder, makeFolderIn } from "./folder.ts";
import { shellWord } from "./shell-word.ts";

/** Enough to walk through a folder without reading it, and to tell a link from a folder. */
const STEP = O_PATH | constants.O_NOFOLLOW;
const MOST_LINKS = 20;

/** For an owner that may have had no say: no user has this number. */
export const NOBODY = -1;

/** A folder, or the last one that is there and the name of the one that is missing in it. */
export interface Reached extends AsyncDisposable {
  readonly folder: Folder;
  readonly missing: string | null;
}

/**
 * Walks to the folder at `path` for a file of user `owner`. Throws `DEPLOY_FAILED` where others could lead the way, or
 * where more than the last folder is missing; `held` is then released.
 */
export async function reach(path: string, owner: number, files: Files): Promise<Reached> {
  return await walk(path, owner, false, files);
}

/**
 * The same to a folder that may itself be anybody's and open to all, where only a name in it is looked at or removed:
 * that is no more than its owner could do. Throws `DEPLOY_FAILED` where it is missing, too.
 */
export async function reachAnyones(path: string, files: Files): Promise<Folder> {
  const { folder, missing } = await walk(path, NOBODY, true, files);
  if (missing === null) return folder;
  await folder[Symbol.asyncDispose]();
  throw refused(path, "it is missing", `ls -ld ${shellWord(folder.path)}`);
}

/** A folder on the way. */
type Place = Pick<Folder, "path" | "at" | typeof Symbol.asyncDispose>;

/** Nobody can put another one in its place, so that nothing need be held open. */
const TOP: Place = { path: "/", at: (name) => `/${name}`, [Symbol.asyncDispose]: async () => {} };

async function walk(path: string, owner: number, lastIsAnyones: boolean, files: Files): Promise<Reached> {
  const way = path.split("/").filter((part) => part !== "");
  let folder = TOP;
  try {
    let mayLink = MOST_LINKS;
    let isOwners = false;
    for (let part = way.shift(); part !== undefined; part = way.shift()) {
      const place = join(folder.path, part);
      const found = await hold(folder, part, files);
      if (found === undefined) return await ending(folder, part, way, path, files);
      const { next, stat } = found;
      if (stat.isSymbolicLink()) {
        await next[Symbol.asyncDispose]();
        if (mayLink-- === 0 || isOwners || !isOurs(stat.uid)) {
          throw refused(place, "it is a link that another user made or could move", `ls -l ${shellWord(place)}`);
        }
        const target = await files.readlink(folder.at(part)).catch(rethrow("read", place));
        way.unshift(...target.split("/").filter((step) => step !== ""));
        if (target.startsWith("/")) folder = await swap(folder, TOP);
        continue;
      }
      folder = await swap(folder, next);
      if (!stat.isDirectory()) throw notAFolder(place);
      if (lastIsAnyones && way.length === 0) break;
      isOwners = checkOwner(place, stat, owner, isOwners);
      checkWriters(place, stat, isOwners, way.length === 0);
    }
    return await ending(folder, null, way, path, files);
  } catch (error) {
    await folder[Symbol.asyncDispose]();
    throw error;
  }
}

/** Like {@link reach}, and makes the last folder where it is missing (0755). `made` is told its path. */
export async function reachOrMake(
  path: string,
  owner: number,
  files: Files,
  made: (path: string) => void,
): Promise<Folder> {
  const { folder, missing } = await reach(path, owner, files);
  if (missing === null) return folder;
  await using parent = folder;
  if (await makeFolderIn(parent, missing, { mode: 0o755 }, files)) made(join(parent.path, missing));
  const again = await reach(path, owner, files); // whoever owns the parent may have put another folder in its place
  if (again.missing === null) return again.folder;
  await again[Symbol.asyncDispose]();
  throw refused(path, "another process removed it at once", `ls -ld ${shellWord(parent.path)}`);
}

/** What has a name in a folder, be it a folder, a link or something else; undefined where nothing has it. */
async function hold(
  folder: Place,
  name: string,
  files: Files,
): Promise<{ readonly next: Folder; readonly stat: FileStat } | undefined> {
  const path = join(folder.path, name);
  const handle = await files.open(folder.at(name), STEP).catch(rethrow("look at", path)).catch(absent);
  if (handle === undefined) return undefined;
  const next = holdFolder(path, handle, files);
  try {
    return { next, stat: await files.stat(handle) };
  } catch (error) {
    await next[Symbol.asyncDispose]();
    throw fileError("look at", path, error);
  }
}

/** The last folder is opened for reading too: a descriptor that only names cannot be synced. */
async function ending(
  folder: Place,
  missing: string | null,
  rest: string[],
  path: string,
  files: Files,
): Promise<Reached> {
  if (rest.length > 0) {
    const first = join(folder.path, missing ?? "");
    throw refused(path, `the folders from "${first}" on are missing`, `mkdir -p ${shellWord(path)}`);
  }
  const readable = await files
    .open(folder.at("."), constants.O_RDONLY | constants.O_DIRECTORY)
    .catch(rethrow("open", folder.path));
  await folder[Symbol.asyncDispose]();
  const held = holdFolder(folder.path, readable, files);
  return { folder: held, missing, [Symbol.asyncDispose]: () => held[Symbol.asyncDispose]() };
}

async function swap(old: Place, next: Place): Promise<Place> {
  await old[Symbol.asyncDispose]();
  return next;
}

/** Whether the way has come into folders of the file's owner: from there on that user may have made any link. */
function checkOwner(path: string, { uid }: FileStat, owner: number, isOwners: boolean): boolean {
  if (Number(uid) === owner && !isOurs(uid)) return true;
  if (isOurs(uid)) return isOwners;
  if (owner === NOBODY) throw refused(path, `it belongs to user ${uid}, not to root`, `chown root ${shellWord(path)}`);
  const fact = `it belongs to user ${uid}, neither to root nor to the file's owner`;
  throw refused(path, fact, `chown root ${shellWord(path)}, or owner: "${uid}" for the output`);
}

/**
 * A sticky folder (/tmp) lets nobody move what belongs to others, so one may pass through it. In a folder of the file's
 * owner nothing is believed anyway, and whom that user lets in is the user's own affair (Debian's /etc/redis is 2770).
 */
function checkWriters(path: string, { mode, uid, gid }: FileStat, isOwners: boolean, isLast: boolean): void {
  const isSticky = (mode & 0o1000n) !== 0n;
  if ((mode & 0o022n) === 0n || (isSticky && !isLast)) return;
  const isPrivateGroup =
    (mode & 0o002n) === 0n && ownUid() !== 0 && Number(uid) === ownUid() && Number(gid) === ownGid();
  const isOwnersGroup = (mode & 0o002n) === 0n && isOwners;
  if (isPrivateGroup || isOwnersGroup) return;
  const who = (mode & 0o002n) !== 0n ? "everybody" : "its group (or a user that its ACL names)";
  const remedy = isSticky
    ? "name a path elsewhere: this folder is there for everybody"
    : `chmod go-w ${shellWord(path)}`;
  throw refused(path, `${who} may write there`, remedy);
}

/** Root, or the user that certagent runs as. */
export function isOurs(uid: FileStat["uid"]): boolean {
  return uid === 0n || Number(uid) === ownUid();
}

function absent(error: unknown): undefined {
  if (!isMissing(error)) throw error;
}

/** In the kernel's own word, as a call that wants a folder would have said it. */
function notAFolder(path: string): unknown {
  return fileError("open", path, Object.assign(new Error("not a folder"), { code: "ENOTDIR" }));
}

function refused(path: string, fact: string, remedy: string): AgentError {
  return new AgentError("DEPLOY_FAILED", `Cannot use "${path}": ${fact}`, { hint: remedy });
}
