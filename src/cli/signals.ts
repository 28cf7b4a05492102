import type { Log } from "../base/log.ts";
import { type Milliseconds, pause, SECOND } from "../base/time.ts";

export const AGENT_SIGNALS = ["SIGHUP", "SIGUSR1", "SIGTERM", "SIGINT"] as const;
export type AgentSignal = (typeof AGENT_SIGNALS)[number];

/** Signals of this process. Those that came before anybody listened come first. */
export interface Signals {
  listen(handler: (signal: AgentSignal) => void): void;
  /** Aborts at the first SIGTERM or SIGINT, whether anybody listens yet or not. */
  readonly stop: AbortSignal;
}

/** What is left of the ten seconds that a stop may take is for the last lines of the log. */
const LONGEST_STOP: Milliseconds = 9 * SECOND;

/** Resolves when a stop takes too long: a file system that is away holds up every way to an orderly end. */
export async function overdue({ stop }: Signals, log: Log): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  if (stop.aborted) resolve();
  else stop.addEventListener("abort", () => resolve(), { once: true });
  await promise;
  await pause(LONGEST_STOP);
  log.warning("ended although something hangs, as by a kill", {
    hint: "a file system that certagent reads or writes may be away: findmnt",
  });
}

/** A signal that aborts at SIGTERM, SIGINT and SIGHUP: for commands that end by themselves. */
export function stopSignal(signals: Signals): AbortSignal {
  const stop = new AbortController();
  signals.listen((signal) => {
    if (signal !== "SIGUSR1") stop.abort();
  });
  return stop.signal;
}
