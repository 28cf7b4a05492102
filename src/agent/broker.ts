import { readdir, unlink } from "node:fs/promises";
import { join } from "node:path";
import { errorOf } from "../base/errors.ts";
import { makeFolders } from "../base/folder.ts";
import type { Log } from "../base/log.ts";
import { oneForAll } from "../base/one-for-all.ts";
import { type Clock, type Milliseconds, pause, SECOND } from "../base/time.ts";
import type { Applier, ApplyFacts, Asked } from "../core/applier.ts";
import type { Layout } from "../store/layout.ts";
import { adoptedFrom, adoption, application, nothing, observation } from "../store/reports.ts";
import { openBeliefs } from "./beliefs.ts";
import { createAsk } from "./broker-ask.ts";

export interface Broker extends Applier {
  /** Removes what an agent that ended had asked and nobody took. Once, before anything is asked. */
  recover(): Promise<void>;
}

/** What holds up its own facts on the other side is asked for again after a second, and then less and less often. */
const LONGEST_WAIT: Milliseconds = 16 * SECOND;

/**
 * The applier where the root side is another process, `certagent apply --requests`. What comes back is data: its form is
 * judged here, and what it claims by who uses it.
 */
export function openBroker(layout: Pick<Layout, "requests" | "reports">, clock: Clock, log: Log): Broker {
  const ask = createAsk(layout, clock, log);
  const beliefs = openBeliefs(clock);

  /** It ends for none of those who wait for it alone. */
  const observeAll = oneForAll(async () => {
    const observed = await ask({ kind: "observe" }, observation, new AbortController().signal);
    for (const one of observed.specs) beliefs.learn(one);
    return observed;
  });

  /** Asks until there are facts, or it is known that there are none. */
  const seek = async (asked: Asked, signal: AbortSignal): Promise<ApplyFacts | undefined> => {
    for (let wait = SECOND; ; wait = Math.min(2 * wait, LONGEST_WAIT)) {
      signal.throwIfAborted();
      const { specs, isWhole } = await unlessAborted(observeAll(), signal);
      const found = specs.find(({ name }) => name === asked.name);
      if (found !== undefined && "failure" in found) throw errorOf(found.failure);
      if (found !== undefined) beliefs.accept(asked);
      if (found !== undefined || isWhole) return found?.facts;
      await pause(wait, signal);
    }
  };

  return {
    recover: () => prepare(layout.requests),
    observe: async (asked, signal) => {
      const facts = asked.map(async (one) => [one.name, beliefs.about(one) ?? (await seek(one, signal))] as const);
      return new Map((await Promise.all(facts)).flatMap(([name, found]) => (found ? [[name, found] as const] : [])));
    },
    believedUntil: beliefs.until,
    adopt: async (spec, signal) => adoptedFrom(await ask({ kind: "adopt", spec }, adoption, signal)),
    apply: async (spec, signal, again = []) => {
      beliefs.forget(spec);
      const { report, observed } = await ask({ kind: "apply", spec, again }, application, signal);
      if (observed?.name === spec) beliefs.learn(observed);
      return report;
    },
    failed: async (spec, signal) => void (await ask({ kind: "failed", spec }, nothing, signal)),
    forget: async (issuer, _, signal) => void (await ask({ kind: "forget", issuer }, nothing, signal)),
  };
}

async function prepare(folder: string): Promise<void> {
  // Where that is not possible, the first request tells what is missing.
  await makeFolders(folder, { mode: 0o700 }).catch(() => {});
  const names = await readdir(folder).catch(() => []);
  for (const name of names) await unlink(join(folder, name)).catch(() => {});
}

/** What goes on for others is waited for no longer than `signal` says. */
async function unlessAborted<Result>(promise: Promise<Result>, signal: AbortSignal): Promise<Result> {
  const aborted = Promise.withResolvers<never>();
  const abort = (): void => aborted.reject(signal.reason);
  signal.addEventListener("abort", abort);
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
