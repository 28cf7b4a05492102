/** What the agent asks lies in its own folder, where it may put anything: all of it is taken away, and little is read. */
import { lstat } from "node:fs/promises";
import { moveEntry, temporaryName } from "../base/atomic-file.ts";
import { type FileStat, fileCalls } from "../base/file-calls.ts";
import { isMissing } from "../base/file-error.ts";
import type { Folder } from "../base/folder.ts";
import { readRegular } from "../base/read-file.ts";
import { type RawName, rawNames, rawPath, removeEntry } from "../base/remove-entry.ts";
import { type Instant, MINUTE } from "../base/time.ts";
import { LARGEST_REQUEST, type Request, requestNamed, TOKEN } from "../store/requests.ts";

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
  /** How much else was removed. */
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
 * that begins with a dot, is left for a minute, unless there is too much of it.
 */
export async function takeRequests(folder: Folder, now: Instant): Promise<Catch> {
  const owner = await fileCalls.stat(folder.handle);
  const taken: Taken[] = [];
  let [junk, unfinished] = [0, 0];
  for (const name of await rawNames(folder, AT_ONE_TIME)) {
    if (name.startsWith(".") && (await isYoung(folder, name, now)) && (unfinished += 1) <= MOST_UNFINISHED) continue;
    const request = requestNamed(name);
    const found = request === undefined ? "junk" : await takeOne(folder, name, owner);
    if (typeof found === "object" && request !== undefined) taken.push({ name, request, ...found });
    if (found !== "junk") continue;
    // What cannot be removed is not counted: it would be met again and again.
    if (await removeEntry(folder, name, LARGEST_JUNK)) junk += 1;
  }
  return { taken, junk };
}

/** Also one that is gone: it has its name now, and is met under that. */
async function isYoung(folder: Folder, name: RawName, now: Instant): Promise<boolean> {
  const stat = await lstat(rawPath(folder, name)).catch(() => undefined);
  return stat === undefined || Math.abs(now - stat.ctimeMs) < MINUTE;
}

/** Takes a request away before it is read: one that comes meanwhile is another one. Gone where it was taken back. */
async function takeOne(
  folder: Folder,
  name: string,
  owner: FileStat,
): Promise<Pick<Taken, "token" | "askedAt"> | "junk" | "gone"> {
  const as = temporaryName();
  try {
    await moveEntry(folder.at(name), folder, as);
  } catch (error) {
    return isMissing(error) ? "gone" : "junk";
  }
  try {
    const { bytes, stat } = await readRegular(folder.at(as), LARGEST_REQUEST);
    const token = bytes.toString("latin1");
    return stat.uid === owner.uid && TOKEN.test(token) ? { token, askedAt: Number(stat.mtimeMs) } : "junk";
  } catch {
    return "junk";
  } finally {
    await removeEntry(folder, as, LARGEST_JUNK);
  }
}
