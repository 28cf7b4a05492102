import { asAgentError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { giveMemoryBack } from "../base/malloc.ts";
import type { Notifier } from "../base/notify.ts";
import { type Clock, SECOND } from "../base/time.ts";
import { needsAttention } from "../core/status.ts";
import type { Agent } from "./agent.ts";
import { openControl } from "./control.ts";
import { controlled, type Identity } from "./controlled.ts";
import { startHeartbeat } from "./heartbeat.ts";
import { watchSpecs } from "./watch-specs.ts";

export interface DaemonOptions {
  readonly agent: Agent;
  readonly clock: Clock;
  readonly log: Log;
  readonly notifier: Notifier;
  readonly signals: { listen(handler: (signal: "SIGHUP" | "SIGUSR1" | "SIGTERM" | "SIGINT") => void): void };
  /** The folder of the control socket. */
  readonly control: string;
  readonly identity: Identity;
  /** Where configuration and specs are. */
  readonly watched: readonly string[];
  /** Finishes what a killed process left undone. */
  readonly recover: () => Promise<void>;
  /** Removes what such a one left where nothing is written before the agent works. */
  readonly sweep: () => Promise<void>;
}

/**
 * The agent with all that it hears and tells as a service: files that change, signals, the control socket, the service
 * manager. Ready once what was left undone is finished and all specs are read. Ends by SIGTERM or SIGINT.
 */
export async function daemon(options: DaemonOptions): Promise<void> {
  const { agent, clock, log, notifier, signals, identity } = options;
  const stop = new AbortController();
  const readiness = tellReadiness(notifier);
  signals.listen((signal) => {
    if (signal === "SIGHUP") void reload(options, readiness);
    else if (signal === "SIGUSR1") logStatus(agent, log);
    else if (!stop.signal.aborted) {
      log.info("stopping", { signal });
      notifier.stopping();
      stop.abort();
    }
  });
  await options.recover().catch((error: unknown) => logFailure(log, "cannot finish what was left undone", error));
  await agent.reread();
  await using control = await openControl(options.control, controlled(agent, identity), log);
  await using watcher = watchSpecs(
    options.watched,
    () => void agent.reread().catch((error: unknown) => logFailure(log, "cannot read configuration and specs", error)),
    (error) => logFailure(log, "cannot watch configuration and specs, reading them now and then", error),
  );
  using heartbeat = startHeartbeat(notifier.watchdogEvery, clock, () => notifier.watchdog());
  readiness.ready();
  log.info("ready", { version: identity.version, specs: agent.names().length });
  const tell = summaries(options);
  let wasAtWork = false;
  await options.sweep();
  await agent.run(stop.signal, (atWork) => {
    heartbeat.beat();
    tell(atWork);
    void watcher.look();
    void control.look();
    if (wasAtWork && atWork === 0) void giveMemoryBack();
    wasAtWork = atWork > 0;
  });
  await notifier.flush();
}

type Readiness = Pick<Notifier, "ready" | "reloading">;

/**
 * READY follows the last of all that is under way, the start among it: the service manager takes the first one that it
 * hears for the end of whatever it waits for.
 */
function tellReadiness(notifier: Notifier): Readiness {
  let isStarting = true;
  let underWay = 1;
  return {
    reloading: () => {
      underWay += 1;
      if (!isStarting) notifier.reloading();
    },
    ready: () => {
      underWay -= 1;
      if (underWay > 0) return;
      isStarting = false;
      notifier.ready();
    },
  };
}

/** What follows SIGHUP. The renewals themselves go on after READY. */
async function reload({ agent, log }: DaemonOptions, readiness: Readiness): Promise<void> {
  log.info("reading everything again, and renewing every certificate", { signal: "SIGHUP" });
  readiness.reloading();
  await agent.reload().catch((error: unknown) => logFailure(log, "cannot reload", error));
  readiness.ready();
}

function logStatus(agent: Agent, log: Log): void {
  for (const { name, state, because, leaf, next, failure } of agent.status([])) {
    log.info("status", {
      certificate: name,
      state,
      because,
      not_after: leaf?.not_after,
      next: next?.action,
      at: next?.at,
      code: failure?.code,
    });
  }
}

/** A summary looks at every certificate, and most rounds change nothing: while one is under way there is none for so long. */
const BETWEEN_SUMMARIES = 10 * SECOND;

/** Tells the service manager how things stand, where that has changed: when all are at rest, and now and then in between. */
function summaries({ agent, clock, notifier }: DaemonOptions): (atWork: number) => void {
  let told = "";
  let lookedAt = clock.monotonic(); // what nobody has looked at yet would be told as not as it should be
  let wasAtRest = false;
  return (atWork) => {
    const now = clock.monotonic();
    if (wasAtRest) lookedAt = now;
    wasAtRest = atWork === 0;
    if (atWork > 0 && now - lookedAt < BETWEEN_SUMMARIES) return;
    lookedAt = now;
    const summary = summaryOf(agent);
    if (summary !== told) notifier.status(summary);
    told = summary;
  };
}

function summaryOf(agent: Agent): string {
  const all = agent.status([]);
  const bad = all.filter(needsAttention);
  const rest = bad.length === 0 ? "" : `; not so: ${bad.map(({ name }) => name).join(", ")}`;
  return `${all.length - bad.length} of ${all.length} certificates are as they should be${rest}`.slice(0, 500);
}

function logFailure(log: Log, message: string, thrown: unknown): void {
  const { message: reason, hint } = asAgentError(thrown);
  log.warning(message, { reason, hint });
}
