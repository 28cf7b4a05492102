/** How the agent asks the root side where that is another process: by files, and never waiting for it for ever. */
import { lstat } from "node:fs/promises";
import { basename, join } from "node:path";
import type { z } from "zod";
import { AgentError, errorOf } from "../base/errors.ts";
import { isMissing } from "../base/file-error.ts";
import { type Clock, type Milliseconds, pause, SECOND } from "../base/time.ts";
import { watchFolder } from "../base/watch-folder.ts";
import type { Layout } from "../store/layout.ts";
import { ALIVE, readReport, reportPath } from "../store/reports.ts";
import { type Request, requestName, withdrawRequest, writeRequest } from "../store/requests.ts";

/**
 * Asks, and waits for the report. Of one request only one asking is under way at a time. Throws `APPLY_UNREACHABLE`
 * where nobody takes it, and what the root side failed with.
 */
export type Ask = <Result>(request: Request, schema: z.ZodType<Result>, signal: AbortSignal) => Promise<Result>;

/** How soon a root side that was started by a request has taken it, on the busiest of hosts. */
const TAKEN_WITHIN: Milliseconds = 30 * SECOND;
/** A root side at work gives a sign of life every five seconds. */
const SILENCE: Milliseconds = 30 * SECOND;
/** Watching is not relied on. */
const LOOK_AGAIN: Milliseconds = SECOND;

export function createAsk(layout: Pick<Layout, "requests" | "reports">, clock: Clock): Ask {
  const turns = new Map<string, Promise<unknown>>();

  return async (request, schema, signal) => {
    const name = requestName(request);
    const before = turns.get(name) ?? Promise.resolve();
    const asking = before.then(
      () => askUntilAnswered(layout, clock, name, schema, signal),
      () => askUntilAnswered(layout, clock, name, schema, signal),
    );
    turns.set(name, asking);
    try {
      return await asking;
    } finally {
      if (turns.get(name) === asking) turns.delete(name);
    }
  };
}

async function askUntilAnswered<Result>(
  layout: Pick<Layout, "requests" | "reports">,
  clock: Clock,
  name: string,
  schema: z.ZodType<Result>,
  signal: AbortSignal,
): Promise<Result> {
  for (;;) {
    signal.throwIfAborted();
    // What an earlier root side left, of another version maybe, is not looked at.
    const old = await identityOf(reportPath(layout.reports, name));
    const token = await writeRequest(layout.requests, name).catch((error: unknown) => {
      throw isMissing(error) ? noFolder(layout.requests, error) : error;
    });
    const answer = await answerTo(layout, clock, { name, token, old }, schema, signal);
    if (answer === "lost") continue;
    if ("failure" in answer) throw errorOf(answer.failure);
    return answer.result;
  }
}

/** The report with this token; `lost` where the root side took the request and is gone since. */
async function answerTo<Result>(
  { requests, reports }: Pick<Layout, "requests" | "reports">,
  clock: Clock,
  { name, token, old }: { readonly name: string; readonly token: string; readonly old: string },
  schema: z.ZodType<Result>,
  signal: AbortSignal,
) {
  let wake = new AbortController();
  const path = reportPath(reports, name);
  // Not at every report: a hundred may be waited for, each by one of its own.
  using _watching = watchFolder(reports, (changed) => {
    if (changed === null || changed === basename(path)) wake.abort();
  });
  const asked = clock.monotonic();
  let [seen, sign, signAt] = [old, "", asked];
  for (;;) {
    wake = new AbortController();
    const identity = await identityOf(path);
    if (identity !== seen) {
      seen = identity;
      const answer = await readReport(path, schema);
      if (answer?.token === token) return answer;
    }
    const isTaken = (await identityOf(join(requests, name))) === "";
    const alive = await identityOf(join(reports, ALIVE));
    const now = clock.monotonic();
    if (!isTaken || alive !== sign) [sign, signAt] = [alive, now];
    if (signal.aborted) await withdrawRequest(requests, name);
    signal.throwIfAborted();
    if (!isTaken && now - asked > TAKEN_WITHIN) throw notTaken(requests);
    if (isTaken && now - signAt > SILENCE) return "lost";
    await pause(LOOK_AGAIN, AbortSignal.any([signal, wake.signal]));
  }
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
