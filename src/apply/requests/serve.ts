/** The root side as a process of its own: takes what the agent asks, does it, and reports. */
import { unlink } from "node:fs/promises";
import { join } from "node:path";
import type { Access } from "../../base/atomic-file.ts";
import { asAgentError, failureOf } from "../../base/errors.ts";
import { fileCalls } from "../../base/file-calls.ts";
import { type Folder, makeFolders, openFolder } from "../../base/folder.ts";
import type { Log } from "../../base/log.ts";
import { rawNames } from "../../base/remove-entry.ts";
import { type Clock, type Milliseconds, pause, repeat, SECOND, withDeadline } from "../../base/time.ts";
import { watchFolder } from "../../base/watch-folder.ts";
import { ALIVE, showAlive } from "../../store/alive.ts";
import type { Layout } from "../../store/layout.ts";
import { reportPath, writeReport } from "../../store/reports.ts";
import type { RecoveringApplier } from "../applier.ts";
import { createAnswerer } from "./answer.ts";
import { openDesk } from "./desk.ts";
import { type Catch, type Taken, takeRequests } from "./take.ts";

export interface ServeOptions {
  readonly applier: RecoveringApplier;
  readonly layout: Layout;
  readonly clock: Clock;
  readonly log: Log;
  /** How long it waits for more when there is nothing to do. */
  readonly linger: Milliseconds;
  /** Called every few seconds while work is under way. */
  readonly alive?: () => void;
  /** Asked before requests are taken. False: they are for a process that is started anew, and stay where they are. */
  readonly mayServe?: () => Promise<boolean>;
}

/** Long enough for the agent to ask what follows from an answer. */
export const LINGER: Milliseconds = 2 * SECOND;
/** The mode of the folder of reports, which the agent looks into. */
const REPORTS = 0o755;
/** Watching is not relied on. */
const LOOK_AGAIN: Milliseconds = SECOND;
/** Who keeps adding what is no request would have it removed for ever, and nobody served. */
const LONGEST_TAKE: Milliseconds = SECOND;
const SIGN_OF_LIFE: Milliseconds = 5 * SECOND;
/** A key that was handed over lies there no longer than this. */
const KEY_LIES: Milliseconds = 10 * SECOND;
/** What is left of the ten seconds that a stop may take. */
const DRAIN: Milliseconds = 8 * SECOND;

/**
 * Serves requests until none came for a while and none is under way, or until `signal` aborts. What is asked while it
 * works is done as well. Throws `DEPLOY_FAILED` where there is no folder of requests or none for reports.
 */
export async function serve(options: ServeOptions, signal: AbortSignal): Promise<void> {
  const { applier, layout, clock, log, linger } = options;
  await using requests = await openFolder(layout.requests);
  await makeFolders(layout.reports, { mode: REPORTS });
  await using reports = await openFolder(layout.reports); // who asks waits for ever where answers have no place
  await fileCalls.chmod(reports.handle, REPORTS).catch(() => {}); // a folder made by hand may be closed to the agent
  await sweepReports(layout.reports, await applier.specs().catch(() => []));
  await using _keys = { [Symbol.asyncDispose]: () => sweepKeys(layout.reports) };
  const access = await accessOfAgent(requests);
  // Where it cannot be told, on a full disk, the agent asks more often than it had to.
  await using _shown = await showAlive(layout.reports, access).catch(() => undefined);
  let wake = new AbortController();
  const answer = createAnswerer(applier, clock);
  const desk = openDesk({
    known: (asked) => applier.specs(asked),
    answer: (taken) => answer(taken, signal),
    report: (taken, outcome) => report(options, taken, outcome, access, signal),
    log,
    onIdle: () => wake.abort(),
  });
  using _watching = watchFolder(layout.requests, () => wake.abort());
  using _alive = repeat(SIGN_OF_LIFE, () => {
    if (desk.isBusy()) options.alive?.();
  });
  let busyUntil = clock.monotonic();
  while (!signal.aborted) {
    wake = new AbortController();
    // What is under way, a hook that hangs perhaps, holds nobody up: then it goes on as it is.
    const isAsked = !desk.isBusy() && (await rawNames(requests, 1).catch(() => [])).length > 0;
    if (isAsked && (await options.mayServe?.()) === false) return;
    using late = withDeadline(LONGEST_TAKE);
    const { taken, junk } = await takeRequests(requests, clock.now(), late).catch((error: unknown): Catch => {
      // What is under way is finished all the same.
      log.warning("cannot take requests", { folder: layout.requests, reason: failureOf(error).message });
      return { taken: [], junk: 0 };
    });
    if (junk > 0) log.warning("removed what is no request", { folder: layout.requests, entries: junk });
    await desk.take(taken);
    if (taken.length + junk > 0 || desk.isBusy()) busyUntil = clock.monotonic();
    const left = busyUntil + linger - clock.monotonic();
    if (left <= 0) return;
    // There may be more of it than is taken at one time.
    if (taken.length + junk === 0) {
      await pause(Math.min(left, LOOK_AGAIN), AbortSignal.any([signal, wake.signal]));
    }
  }
  await Promise.race([desk.settled(), pause(DRAIN)]);
}

/** Reports are for the agent alone, whatever group its user is in: they may hold a key, and the words of programs. */
async function accessOfAgent(requests: Folder): Promise<Access> {
  const { uid, gid } = await fileCalls.stat(requests.handle);
  return { mode: 0o400, uid: Number(uid), gid: Number(gid) };
}

async function report(
  { layout, clock, log }: ServeOptions,
  { name, request, token }: Taken,
  outcome: { readonly result: unknown } | { readonly thrown: unknown },
  access: Access,
  signal: AbortSignal,
): Promise<void> {
  // Whoever asks again is told; nothing has failed.
  if ("thrown" in outcome && signal.aborted) return;
  const path = reportPath(layout.reports, name);
  const answer =
    "thrown" in outcome ? { token, failure: failureOf(outcome.thrown) } : { token, result: outcome.result };
  try {
    await writeReport(path, answer, clock.now(), access);
  } catch (error) {
    const { message, hint } = asAgentError(error);
    log.warning("cannot report", { request: name, reason: message, hint });
  }
  if (request.kind === "adopt") void pause(KEY_LIES, signal).then(() => unlink(path).catch(() => {}));
}

/**
 * An earlier process may have left keys, halves of reports, and answers about what is made up: those would fill the file
 * system in time. What is about a spec in force stays, since who asked may not have read it yet.
 */
async function sweepReports(folder: string, specs: readonly string[]): Promise<void> {
  const kept = new Set([
    ALIVE,
    ...["observe", ...specs.flatMap((name) => [`look@${name}`, `apply@${name}`, `failed@${name}`])].map(
      (name) => `${name}.json`,
    ),
  ]);
  await removeReports(folder, (name) => !kept.has(name));
}

async function sweepKeys(folder: string): Promise<void> {
  await removeReports(folder, (name) => name.startsWith("adopt@"));
}

async function removeReports(folder: string, which: (name: string) => boolean): Promise<void> {
  const names = await fileCalls.readdir(folder).catch(() => []);
  for (const name of names) if (which(name)) await unlink(join(folder, name)).catch(() => {});
}
