/** What the agent asks lies in its own folder, where it may put anything: all of it is taken away, and little is read. */
import { lstat, unlink } from "node:fs/promises";
import { moveEntry, temporaryName } from "../../base/atomic-file.ts";
import { type FileStat, fileCalls } from "../../base/file-calls.ts";
import { isMissing } from "../../base/file-error.ts";
import type { Folder } from "../../base/folder.ts";
import { readRegular } from "../../base/read-file.ts";
import { type RawName, rawNames, rawPath, removeEntry } from "../../base/remove-entry.ts";
import { type Instant, MINUTE } from "../../base/time.ts";
import { LARGEST_REQUEST, type Request, requestIn, requestNamed } from "../../store/requests.ts";

/** A request that nobody else will take. */
export interface Taken {
  /** The name of its file. */
  readonly name: string;
  readonly request: Request;
  readonly token: string;
  readonly askedAt: Instant;
}

export interface Catch {
  readonly taken: readonly Taken[];
  /** How much else was removed, with the one that there was no time left for. */
  readonly junk: number;
}

/** So many names are looked at in one go; the next follows at once where there are more. */
const AT_ONE_TIME = 1000;
/** So many may be just being written. The agent writes few at a time; more would only hide what is behind them. */
const MOST_UNFINISHED = 100;
/** So many entries are removed for one name, a folder that is full for instance. */
const LARGEST_JUNK = 100_000;

/**
 * Takes and removes what is in the folder of requests, whatever it is. Only what is just being written, under a name
 * that begins with a dot, is left for a minute, unless there is too much of it. Requests come first, however much junk
 * there is; when `signal` aborts, the rest of that is left for the next time.
 */
export async function takeRequests(folder: Folder, now: Instant, signal: AbortSignal): Promise<Catch> {
  const owner = await fileCalls.stat(folder.handle);
  const others = await rawNames(folder, AT_ONE_TIME, (name) => !isRequest(name));
  const taken: Taken[] = [];
  const junk: RawName[] = [];
  for (const name of await rawNames(folder, AT_ONE_TIME, isRequest)) {
    const found = await takeOne(folder, name, owner);
    if (typeof found === "object") taken.push(found);
    else if (found !== undefined) junk.push(found);
  }
  let unfinished = 0;
  for (const name of others) {
    if (name.startsWith(".") && (await isYoung(folder, name, now)) && (unfinished += 1) <= MOST_UNFINISHED) continue;
    junk.push(name);
  }
  return { taken, junk: await removeJunk(folder, junk, signal) };
}

const isRequest = (name: RawName): boolean => requestNamed(name) !== undefined;

async function removeJunk(folder: Folder, names: readonly RawName[], signal: AbortSignal): Promise<number> {
  let count = 0;
  for (const name of names) {
    const isGone = await removeEntry(folder, name, LARGEST_JUNK, signal);
    // What cannot be removed is not counted: it would be met again and again.
    if (isGone || signal.aborted) count += 1;
    if (signal.aborted) break;
  }
  return count;
}

/** Also one that is gone: it has its name now, and is met under that. */
async function isYoung(folder: Folder, name: RawName, now: Instant): Promise<boolean> {
  const stat = await lstat(rawPath(folder, name)).catch(() => undefined);
  return stat === undefined || Math.abs(now - stat.ctimeMs) < MINUTE;
}

/**
 * Takes a request away before it is read: one that comes meanwhile is another one. Where it is none, answers the name
 * that it has now; undefined where it was taken back.
 */
async function takeOne(folder: Folder, name: string, owner: FileStat): Promise<Taken | RawName | undefined> {
  const named = requestNamed(name);
  if (named === undefined) return name;
  const as = temporaryName();
  try {
    await moveEntry(folder.at(name), folder, as);
  } catch (error) {
    return isMissing(error) ? undefined : name;
  }
  try {
    const { bytes, stat } = await readRegular(folder.at(as), LARGEST_REQUEST);
    const asked = requestIn(named, bytes.toString("latin1"));
    if (stat.uid !== owner.uid || asked === undefined) return as;
    await unlink(folder.at(as)).catch(() => {});
    return { name, ...asked, askedAt: Number(stat.mtimeMs) };
  } catch {
    return as;
  }
}
