/** How the agent asks the root side where that is another process: by files, and never waiting for it for ever. */
import { lstat } from "node:fs/promises";
import { basename, join } from "node:path";
import type { z } from "zod";
import { AgentError, errorOf } from "../base/errors.ts";
import { isMissing } from "../base/file-error.ts";
import { createLocks } from "../base/locks.ts";
import type { Log } from "../base/log.ts";
import { oneForAll } from "../base/one-for-all.ts";
import { semaphores } from "../base/semaphore.ts";
import { type Clock, type Milliseconds, pause, SECOND } from "../base/time.ts";
import { watchFolder } from "../base/watch-folder.ts";
import { ALIVE, whoIsAlive } from "../store/alive.ts";
import type { Layout } from "../store/layout.ts";
import { readReport, reportPath } from "../store/reports.ts";
import { type Request, requestName, withdrawRequest, writeRequest } from "../store/requests.ts";

/**
 * Asks, and waits for the report. Of one request only one asking is under way at a time. Throws `APPLY_UNREACHABLE`
 * where nobody takes it or nobody answers, and what the root side failed with.
 */
export type Ask = <Result>(request: Request, schema: z.ZodType<Result>, signal: AbortSignal) => Promise<Result>;

/** How soon a root side that was started by a request has taken it, on the busiest of hosts. */
const TAKEN_WITHIN: Milliseconds = 30 * SECOND;
/** The same where it did not take the last one: a person who asks for a plan is told sooner, and nothing is lost. */
const TAKEN_AGAIN_WITHIN: Milliseconds = 5 * SECOND;
/** One that ends before it answers is asked again at once, and then after these times. */
const ASKED_AGAIN_AFTER: readonly Milliseconds[] = [0, SECOND, 2 * SECOND, 4 * SECOND];
const ENDED_HINT = "journalctl -u certagent-apply says why";
/** Of a hundred that are just being written the root side takes more for junk that an intruder hides requests behind. */
const WRITTEN_AT_ONE_TIME = 16;
/** Watching is not relied on: so many who wait look again each second, and of more each waits longer. */
const LOOK_AGAIN: Milliseconds = SECOND;
const LOOKS_AT_ONE_TIME = 32;

interface Site extends Pick<Layout, "requests" | "reports"> {
  readonly clock: Clock;
  readonly log: Log;
  readonly bell: Bell;
  /** As {@link writeRequest}, a few at one time. */
  readonly write: (request: Request) => Promise<string>;
  /** Who is alive, looked at after it was asked for. */
  readonly who: () => Promise<string>;
  /** Whether somebody took the last request. */
  isServed: boolean;
  /** Requests, by their names, that nobody took in time, and that lie there for who comes. */
  readonly left: Set<string>;
}

export function createAsk({ requests, reports }: Pick<Layout, "requests" | "reports">, clock: Clock, log: Log): Ask {
  const who = oneForAll(() => whoIsAlive(reports));
  const withLock = createLocks();
  const inTurn = semaphores(WRITTEN_AT_ONE_TIME);
  const write: Site["write"] = async (request) => {
    let token = "";
    await inTurn(requests, async () => {
      token = await writeRequest(requests, request);
    });
    return token;
  };
  const bell = bellAt(reports);
  const site: Site = { requests, reports, clock, log, bell, write, who, isServed: true, left: new Set() };
  return async (request, schema, signal) =>
    await withLock(requestName(request), () => askUntilAnswered(site, request, schema, signal));
}

async function askUntilAnswered<Result>(
  site: Site,
  request: Request,
  schema: z.ZodType<Result>,
  signal: AbortSignal,
): Promise<Result> {
  const name = requestName(request);
  for (const wait of [...ASKED_AGAIN_AFTER, undefined]) {
    signal.throwIfAborted();
    // What an earlier root side left, of another version maybe, is not looked at.
    const old = await identityOf(reportPath(site.reports, name));
    // Who has taken the last one meanwhile only takes long to come, and would be too late again.
    if (site.left.delete(name) && (await identityOf(join(site.requests, name))) === "") site.isServed = true;
    // Before it can be taken: who takes it and is gone at once is not mistaken for who comes after that one.
    const before = await site.who();
    const token = await site.write(request).catch((error: unknown) => {
      throw isMissing(error) ? noFolder(site.requests, error) : error;
    });
    const answer = await answerTo(site, { name, token, old, before }, schema, signal);
    site.isServed = true;
    if (answer === "lost") {
      if (wait === undefined) break;
      site.log.warning("the root side ended before it answered, and is asked again", {
        request: name,
        hint: ENDED_HINT,
      });
      await pause(wait, signal);
      continue;
    }
    if ("failure" in answer) throw errorOf(answer.failure);
    return answer.result;
  }
  throw new AgentError("APPLY_UNREACHABLE", "Cannot have anything applied: the root side ends before it answers", {
    hint: ENDED_HINT,
  });
}

interface Asking {
  readonly name: string;
  readonly token: string;
  /** The report that stood there before, and who was alive. */
  readonly old: string;
  readonly before: string;
}

/** The report with this token; `lost` where the root side that took the request is gone, or another one is there. */
async function answerTo<Result>(
  site: Site,
  { name, token, old, before: first }: Asking,
  schema: z.ZodType<Result>,
  signal: AbortSignal,
) {
  const { requests, reports, clock } = site;
  let wake = new AbortController();
  const path = reportPath(reports, name);
  using _listening = site.bell.listen(basename(path), () => wake.abort());
  const patience = site.isServed ? TAKEN_WITHIN : TAKEN_AGAIN_WITHIN;
  let takenBy = clock.monotonic() + patience;
  let seen = old;
  let isTaken = false;
  let before = first;
  const readAnswer = async () => {
    const identity = await identityOf(path);
    if (identity === seen) return undefined;
    seen = identity;
    const answer = await readReport(path, schema);
    return answer?.token === token ? answer : undefined;
  };
  for (;;) {
    wake = new AbortController();
    const answer = await readAnswer();
    if (answer !== undefined) return answer;
    isTaken ||= (await identityOf(join(requests, name))) === "";
    const who = await site.who();
    const isLost = isTaken && (who === "" || (before !== "" && who !== before));
    // One that is at work has thousands of others to take; one that hangs is ended by systemd.
    if (who !== "") takenBy = clock.monotonic() + patience;
    const isLate = !isTaken && clock.monotonic() > takenBy;
    // Once more, after that: who took it and is gone then has reported before, or never will.
    const last = isLost || isLate || signal.aborted ? await readAnswer() : undefined;
    if (last !== undefined) return last;
    if (signal.aborted) await withdrawRequest(requests, name);
    signal.throwIfAborted();
    if (isLate) {
      site.isServed = false;
      site.left.add(name);
      throw notTaken(requests);
    }
    if (isLost) return "lost";
    before = who;
    const turns = Math.ceil(site.bell.listeners() / LOOKS_AT_ONE_TIME);
    await pause(LOOK_AGAIN * turns, AbortSignal.any([signal, wake.signal]));
  }
}

/** Tells who waits that something has changed. */
interface Bell {
  /** `ring` hears of this file and of who is alive, not of every report: a hundred may be waited for, by one each. */
  listen(name: string, ring: () => void): Disposable;
  /** How many listen. */
  listeners(): number;
}

/** One watches the folder for all who wait at one time. */
function bellAt(folder: string): Bell {
  const waiting = new Map<string, () => void>();
  let watching: Disposable | undefined;
  const onChange = (changed: string | null): void => {
    if (changed !== null && changed !== ALIVE) waiting.get(changed)?.();
    else for (const ring of waiting.values()) ring();
  };
  return {
    listeners: () => waiting.size,
    listen: (name, ring) => {
      waiting.set(name, ring);
      watching ??= watchFolder(folder, onChange);
      return {
        [Symbol.dispose]: () => {
          waiting.delete(name);
          if (waiting.size > 0) return;
          watching?.[Symbol.dispose]();
          watching = undefined;
        },
      };
    },
  };
}

/** Differs for each file that has had a name; empty where there is none. */
async function identityOf(path: string): Promise<string> {
  const stat = await lstat(path, { bigint: true }).catch(() => undefined);
  return stat === undefined ? "" : `${stat.ino} ${stat.mtimeNs}`;
}

function notTaken(folder: string): AgentError {
  const message = `Cannot have anything applied: nobody takes what is asked in "${folder}"`;
  return new AgentError("APPLY_UNREACHABLE", message, {
    hint: "systemctl status certagent-apply.path certagent-apply.service shows why; systemctl restart certagent-apply.path starts it",
  });
}

function noFolder(folder: string, cause: unknown): AgentError {
  return new AgentError("APPLY_UNREACHABLE", `Cannot have anything applied: there is no folder "${folder}"`, {
    cause,
    hint: "systemd-tmpfiles --create certagent.conf makes it, where the package is installed; else use --apply direct",
  });
}
