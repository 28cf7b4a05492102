import { readdir, unlink } from "node:fs/promises";
import { join } from "node:path";
import { AgentError, asAgentError, errorOf } from "../base/errors.ts";
import { makeFolders } from "../base/folder.ts";
import type { Log } from "../base/log.ts";
import { oneForAll } from "../base/one-for-all.ts";
import { type Clock, pause, SECOND } from "../base/time.ts";
import type { Applier, ApplyFacts, Asked } from "../core/applier.ts";
import type { Layout } from "../store/layout.ts";
import { adoptedFrom, adoption, application, nothing, observation } from "../store/reports.ts";
import type { Request } from "../store/requests.ts";
import { openBeliefs } from "./beliefs.ts";
import { createAsk } from "./broker-ask.ts";

export interface Broker extends Applier {
  /** Removes what an agent that ended had asked and nobody took. Once, before anything is asked. */
  recover(): Promise<void>;
}

/** So often all are asked for; what holds up its own facts then is asked for alone, and waited for. */
const ASKED_WITH_ALL = 2;

/**
 * The applier where the root side is another process, `certagent apply --requests`. What comes back is data: its form is
 * judged here, and what it claims by who uses it.
 */
export function openBroker(layout: Pick<Layout, "requests" | "reports">, clock: Clock, log: Log): Broker {
  const ask = createAsk(layout, clock, log);
  const beliefs = openBeliefs(clock);

  /** Without those that were applied meanwhile: they are looked at again. */
  const learn = async (request: Request, signal: AbortSignal) => {
    const since = clock.monotonic();
    const observed = await ask(request, observation, signal);
    const specs = observed.specs.filter((one) => beliefs.learn(one, since));
    return { specs, isWhole: observed.isWhole && specs.length === observed.specs.length, isLate: !observed.isWhole };
  };

  /** It ends for none of those who wait for it alone. */
  const observeAll = oneForAll(() => learn({ kind: "observe" }, new AbortController().signal));

  const lookAt = (spec: string, signal: AbortSignal): ReturnType<typeof learn> =>
    learn({ kind: "look", spec }, signal).catch((error: unknown) => {
      if (asAgentError(error).code === "SPEC_INVALID") return { specs: [], isWhole: true, isLate: false }; // it was removed meanwhile
      throw error;
    });

  /** Asks until there are facts, or it is known that there are none. Throws `DEPLOY_FAILED` where a look does not end. */
  const seek = async (asked: Asked, signal: AbortSignal): Promise<ApplyFacts | undefined> => {
    for (let tries = 0; ; tries++) {
      signal.throwIfAborted();
      const isAlone = tries >= ASKED_WITH_ALL;
      const looking = isAlone ? lookAt(asked.name, signal) : observeAll();
      const { specs, isWhole, isLate } = await unlessAborted(looking, signal);
      const found = specs.find(({ name }) => name === asked.name);
      if (found !== undefined && "failure" in found) throw errorOf(found.failure);
      if (found !== undefined) beliefs.accept(asked);
      if (found !== undefined || isWhole) return found?.facts;
      if (isAlone && isLate) throw lookHangs(asked.name);
      await pause(SECOND, signal);
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
      const applying = ask({ kind: "apply", spec, again }, application, signal);
      const { report, observed } = await applying.finally(() => beliefs.forget(spec));
      if (observed?.name === spec) beliefs.learn(observed, clock.monotonic());
      return report;
    },
    failed: async (spec, signal) => void (await ask({ kind: "failed", spec }, nothing, signal)),
    forget: async (issuer, _, signal) => void (await ask({ kind: "forget", issuer }, nothing, signal)),
  };
}

function lookHangs(name: string): AgentError {
  const message = `Cannot look at the files and services of "${name}": that has not ended within a minute`;
  return new AgentError("DEPLOY_FAILED", message, {
    hint: "a file system or a service that the spec names hangs: findmnt; systemctl status",
  });
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
