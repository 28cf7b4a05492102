import { mkdtempDisposable } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Agent } from "../../../src/agent/agent.ts";
import { daemon } from "../../../src/agent/daemon.ts";
import { systemClock } from "../../../src/base/time.ts";

test("a thousand certificates that come to rest are not each a summary of a thousand, and the last state is told", async () => {
  await using home = await mkdtempDisposable(join(tmpdir(), "certagent-daemon-"));
  const told: string[] = [];
  let looks = 0;
  const silent = () => undefined;
  const agent = {
    reread: () => Promise.resolve(),
    names: () => [],
    status: () => {
      looks += 1;
      return [];
    },
    run: async (_signal, onTick) => {
      for (let atWork = 1000; atWork >= 0; atWork--) onTick(atWork);
    },
  } satisfies Partial<Agent> as unknown as Agent;

  await daemon({
    agent,
    clock: { ...systemClock, monotonic: () => 0 },
    log: { debug: silent, info: silent, warning: silent, error: silent },
    notifier: {
      ready: silent,
      reloading: silent,
      stopping: silent,
      watchdog: silent,
      extendTimeout: silent,
      watchdogEvery: null,
      status: (line) => void told.push(line),
      flush: () => Promise.resolve(),
    },
    signals: { listen: silent },
    control: join(home.path, "control"),
    identity: { version: "0", pid: 1, since: 0, apply: "direct" },
    watched: [],
    recover: () => Promise.resolve(),
    sweep: () => Promise.resolve(),
  });

  expect(looks).toBe(2);
  expect(told).toEqual(["0 of 0 certificates are as they should be"]);
});
