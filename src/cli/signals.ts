export const AGENT_SIGNALS = ["SIGHUP", "SIGUSR1", "SIGTERM", "SIGINT"] as const;
export type AgentSignal = (typeof AGENT_SIGNALS)[number];

/** Signals of this process. Those that came before anybody listened come first. */
export interface Signals {
  listen(handler: (signal: AgentSignal) => void): void;
}

/** A signal that aborts at SIGTERM, SIGINT and SIGHUP: for commands that end by themselves. */
export function stopSignal(signals: Signals): AbortSignal {
  const stop = new AbortController();
  signals.listen((signal) => {
    if (signal !== "SIGUSR1") stop.abort();
  });
  return stop.signal;
}
