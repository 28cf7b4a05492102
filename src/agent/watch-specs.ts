import { once } from "node:events";
import { access, constants, realpath, stat } from "node:fs/promises";
import { dirname } from "node:path";
import type { FSWatcher } from "chokidar";
import { AgentError, asAgentError } from "../base/errors.ts";
import { errnoOf } from "../base/file-error.ts";
import { oneForAll } from "../base/one-for-all.ts";
import { LONGEST_SLEEP, type Milliseconds, pause, SECOND, withDeadline } from "../base/time.ts";

/** An editor and a package manager write several files, and one in several steps. */
const SETTLING: Milliseconds = 100;
/** How soon a folder that is not there is looked for again: nothing tells of its coming. */
const LOOK_AGAIN: Milliseconds = 5 * SECOND;
/** How soon what cannot be watched is read and tried again. */
const TRY_AGAIN: Milliseconds = LONGEST_SLEEP;
/** A watcher that takes longer to begin is of no use. */
const STARTING: Milliseconds = 10 * SECOND;

const TOO_LATE = "Cannot watch for changes: that has not begun within ten seconds; a file system may hang";

export interface SpecWatcher extends AsyncDisposable {
  /** Watches anew where another folder stands at a path: a mount makes no event, nor does a link on the way that is switched. */
  look(): Promise<void>;
}

/**
 * Calls `onChange` soon after something changed in the folders or files at these paths, until disposed of; also where
 * one is missing, or goes away and comes back. Events get lost, so nobody may rely on it alone. `onFailure` hears why
 * watching does not work.
 */
export function watchSpecs(
  paths: readonly string[],
  onChange: () => void,
  onFailure: (error: unknown) => void,
): SpecWatcher {
  const stop = new AbortController();
  let watcher: FSWatcher | undefined;
  let watched = "";
  let isSettling = false;
  let isFailed = false;
  let told = "";

  const standing = async (): Promise<string> => (await Promise.all(paths.map(identityOf))).join(" ");

  /** A folder that was removed or replaced is watched no more: then everything is watched anew. */
  const rewatch = async (): Promise<void> => {
    // Loaded when the agent is ready: nothing before that waits for it.
    const [{ watch }, found] = await Promise.all([import("chokidar"), standing()]);
    if (found === watched || stop.signal.aborted) return;
    watched = found;
    await watcher?.close();
    watcher = watch([...paths], { ignoreInitial: true, depth: 0, ignorePermissionErrors: true });
    watcher.on("all", () => void settle()).on("error", fail);
    // Of modes and owners, which are what a refusal asks to change, and of whatever else is in a folder that is looked at.
    watcher.on("raw", (_event, _name, about) => {
      const { watchedPath = "" } = about as { watchedPath?: string };
      if (paths.some((path) => path === watchedPath || path === dirname(watchedPath))) void settle();
    });
    if (found.includes(MISSING)) void lookAgain();
    // What is written before it is ready makes no event.
    using starting = withDeadline(STARTING, stop.signal);
    await once(watcher, "ready", { signal: starting }).catch((error: unknown) => {
      throw starting.aborted ? new AgentError("STATE_UNUSABLE", TOO_LATE, { cause: error, hint: "findmnt" }) : error;
    });
    told = "";
  };
  /** What failed is told once, and tried again with everything being read. */
  const fail = (error: unknown): void => {
    if (stop.signal.aborted) return;
    void tryAgain();
    const failure = failureOfWatching(error);
    if (failure.message !== told) onFailure(failure);
    told = failure.message;
  };
  const tryAgain = async (): Promise<void> => {
    if (isFailed) return;
    isFailed = true;
    await pause(TRY_AGAIN, stop.signal);
    [isFailed, watched] = [false, ""];
    if (!stop.signal.aborted) await settle();
  };
  const settle = async (): Promise<void> => {
    if (isSettling) return;
    isSettling = true;
    await pause(SETTLING, stop.signal);
    await rewatch().catch(fail);
    isSettling = false;
    if (!stop.signal.aborted) onChange();
  };
  const lookAgain = async (): Promise<void> => {
    const before = watched;
    while (watched === before && !stop.signal.aborted) {
      await pause(LOOK_AGAIN, stop.signal);
      await look();
    }
  };
  // A file system that hangs holds one look, not one of each round.
  const look = oneForAll(async () => {
    if ((await standing()) !== watched) await settle();
  });
  void settle();
  return {
    look,
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await watcher?.close();
    },
  };
}

/** What inotify lacks has the names of what files lack, and another remedy. */
function failureOfWatching(error: unknown): AgentError {
  const lacking = { EMFILE: "instances", ENOSPC: "watches" }[errnoOf(error) ?? ""];
  if (lacking === undefined) return asAgentError(error);
  return new AgentError("STATE_UNUSABLE", `Cannot watch for changes: this user has no inotify ${lacking} left`, {
    cause: error,
    hint: `sysctl fs.inotify.max_user_${lacking} shows the bound, sysctl -w raises it`,
  });
}

const MISSING = "missing";

/** Tells a folder from one that was put in its place; files are watched by their names, whatever takes their place. */
async function identityOf(path: string): Promise<string> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) return MISSING;
  const identity = `${found.dev}:${found.ino}`;
  if ((await realpath(path).catch(() => path)) !== path) return `${identity} by a link`;
  if (!found.isDirectory()) return "file";
  // One that is closed to us cannot be watched, and nothing tells of its being opened.
  const isOpen = access(path, constants.R_OK | constants.X_OK).then(
    () => true,
    () => false,
  );
  return (await isOpen) ? identity : MISSING;
}
