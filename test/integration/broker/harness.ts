/** Both sides in one process, with nothing between them but files. */
import { join } from "node:path";
import { type Broker, openBroker } from "../../../src/agent/broker.ts";
import type { RecoveringApplier } from "../../../src/apply/applier.ts";
import { serve } from "../../../src/apply/requests/serve.ts";
import { type Clock, type Milliseconds, SECOND, systemClock } from "../../../src/base/time.ts";
import { makeHost, type TestHost } from "../apply/harness.ts";

/** A log that nobody reads. */
export const silent = { debug: () => {}, info: () => {}, warning: () => {}, error: () => {} };

export interface TwoSides extends AsyncDisposable {
  readonly host: TestHost;
  readonly remote: Broker;
  /** What the agent's side has warned of. */
  readonly told: readonly string[];
  /** Serves until it is told to stop, or has nothing more to do for `linger`. */
  serving(options?: { linger?: Milliseconds; applier?: RecoveringApplier }): Serving;
}

export interface Serving extends AsyncDisposable {
  /** Ends it, as SIGTERM does. */
  stop(): Promise<void>;
  readonly ended: Promise<void>;
}

/** A clock with seconds that pass in so small a part of one: nobody has to wait for half a minute. */
export const hastyBy = (times: number): Clock => ({
  ...systemClock,
  monotonic: () => systemClock.monotonic() * times,
});

export const hasty = hastyBy(50);

export async function twoSides(change: Parameters<typeof makeHost>[0] = {}, clock = systemClock): Promise<TwoSides> {
  const host = await makeHost(change);
  const told: string[] = [];
  const log = { ...silent, warning: (line: string) => void told.push(line) };
  const remote = openBroker(host.layout, clock, log);
  await remote.recover();
  const opened: Serving[] = [];
  return {
    host,
    remote,
    told,
    serving: ({ linger = 60 * SECOND, applier } = {}) => {
      const stop = new AbortController();
      const ended = (async () => {
        const options = { layout: host.layout, clock: systemClock, log: silent, linger };
        await serve({ ...options, applier: applier ?? (await host.open()) }, stop.signal);
      })();
      const serving = {
        ended,
        stop: async () => {
          stop.abort();
          await ended;
        },
        [Symbol.asyncDispose]: async () => await serving.stop(),
      };
      opened.push(serving);
      return serving;
    },
    [Symbol.asyncDispose]: async () => {
      for (const one of opened) await one.stop();
      await host[Symbol.asyncDispose]();
    },
  };
}

export function reportOf({ host }: TwoSides, request: string): string {
  return join(host.layout.reports, `${request}.json`);
}
