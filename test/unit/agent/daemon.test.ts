import { mkdtempDisposable, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { expect, test, vi } from "vitest";
import type { Agent } from "../../../src/agent/agent.ts";
import { controlSocket } from "../../../src/agent/control-protocol.ts";
import { type DaemonOptions, daemon } from "../../../src/agent/daemon.ts";
import { systemClock } from "../../../src/base/time.ts";
import { askStatus } from "../../../src/cli/control-client.ts";
import type { CertificateStatus } from "../../../src/core/status-document.ts";

const silent = () => undefined;

const deaf: DaemonOptions["notifier"] = {
  ready: silent,
  reloading: silent,
  stopping: silent,
  watchdog: silent,
  extendTimeout: silent,
  watchdogEvery: null,
  status: silent,
  flush: () => Promise.resolve(),
};

/** The daemon of an agent that is this, with a folder of its own. */
function daemonOf(
  agent: Partial<Agent>,
  control: string,
  onStatus: (line: string) => void = silent,
  more: Partial<DaemonOptions> = {},
): Promise<void> {
  const options: Omit<DaemonOptions, "agent"> = {
    clock: { ...systemClock, monotonic: () => 0 },
    log: { debug: silent, info: silent, warning: silent, error: silent },
    notifier: { ...deaf, status: onStatus },
    signals: { listen: silent },
    control,
    identity: { version: "0", pid: 1, since: 0, apply: "direct" },
    watched: [],
    recover: () => Promise.resolve(),
    sweep: () => Promise.resolve(),
  };
  const idle = { reread: () => Promise.resolve(), names: () => [], problems: () => [], seen: () => Promise.resolve() };
  return daemon({ ...options, ...more, agent: { ...idle, ...agent } as unknown as Agent });
}

test("a thousand certificates that come to rest are not each a summary of a thousand, and the last state is told", async () => {
  await using home = await mkdtempDisposable(join(tmpdir(), "certagent-daemon-"));
  const told: string[] = [];
  let looks = 0;
  const status = () => {
    looks += 1;
    return [];
  };
  const run: Agent["run"] = async (_signal, onTick) => {
    for (let atWork = 1000; atWork >= 0; atWork--) onTick(atWork);
  };

  await daemonOf({ status, run }, join(home.path, "control"), (line) => void told.push(line));

  expect(looks).toBe(1);
  expect(told).toEqual(["0 of 0 certificates are as they should be"]);
});

test("what was not looked at yet is not told as not as it should be", async () => {
  await using home = await mkdtempDisposable(join(tmpdir(), "certagent-daemon-"));
  const told: string[] = [];
  let state: CertificateStatus["state"] = "pending";
  const status = () => [{ name: "web", state, failure: null } as CertificateStatus];
  const run: Agent["run"] = async (_signal, onTick) => {
    onTick(1);
    state = "current";
    onTick(0);
  };

  await daemonOf({ status, run }, join(home.path, "control"), (line) => void told.push(line));

  expect(told).toEqual(["1 of 1 certificates are as they should be"]);
});

test("who asks is answered again by the next round after the control socket was removed", async () => {
  await using home = await mkdtempDisposable(join(tmpdir(), "certagent-daemon-"));
  const control = join(home.path, "control");
  const run: Agent["run"] = async (_signal, onTick) => {
    await rm(controlSocket(control));
    onTick(0);
    await vi.waitFor(async () => expect(await askStatus(control, [])).toBeDefined(), { timeout: 120_000 });
  };

  await expect(daemonOf({ status: () => [], run }, control)).resolves.toBeUndefined();
});

test("a service manager hears READY when the last of several reloads is done, and none before the start is", async () => {
  await using home = await mkdtempDisposable(join(tmpdir(), "certagent-daemon-"));
  const told: string[] = [];
  const notifier = { ...deaf, ready: () => void told.push("READY"), reloading: () => void told.push("RELOADING") };
  const over: (() => void)[] = [];
  const reload = (): Promise<void> => new Promise((resolve) => over.push(resolve));
  let hup: (signal: "SIGHUP") => void = silent;
  const signals: DaemonOptions["signals"] = {
    listen: (handler) => {
      hup = handler;
      hup("SIGHUP");
      over.pop()?.();
    },
  };
  const recover = async (): Promise<void> => {
    await setImmediate();
    expect(told).toEqual([]);
  };
  const run: Agent["run"] = async () => {
    for (const _ of ["one", "another"]) hup("SIGHUP");
    over.shift()?.();
    await setImmediate();
    told.push("one is over");
    over.shift()?.();
    await setImmediate();
  };

  await daemonOf({ reload, run }, join(home.path, "control"), silent, { notifier, signals, recover });

  expect(told).toEqual(["READY", "RELOADING", "RELOADING", "one is over", "READY"]);
});
