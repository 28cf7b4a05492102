/** Whether an issuer hears that no spec needs what it keeps of a used secret any more. */
import { mkdtempDisposable } from "node:fs/promises";
import { tmpdir } from "node:os";
import { beforeAll, expect, test, vi } from "vitest";
import { type Agent, createAgent } from "../../../src/agent/agent.ts";
import { AgentError } from "../../../src/base/errors.ts";
import { DAY, systemClock } from "../../../src/base/time.ts";
import type { Issuer } from "../../../src/core/ports.ts";
import { layoutOf } from "../../../src/store/layout.ts";
import { type ModelPki, modelCa, modelPki } from "../../property/model-ca.ts";
import { modelHost } from "../../property/model-host.ts";
import { simulatedTime } from "../../property/simulated-time.ts";
import { specFolder } from "../../property/spec-folder.ts";

let pki: ModelPki;
beforeAll(async () => {
  pki = await modelPki();
});

/** An agent over two specs of one CA, which can be away. */
async function start() {
  const home = await mkdtempDisposable(`${tmpdir()}/certagent-used-secrets-`);
  const time = simulatedTime();
  const scenario = { lifetime: DAY, rotate: false, lasts: 1, events: [] };
  const layout = layoutOf(home.path, home.path);
  const model = modelCa("good", scenario, time, pki).issuer;
  const host = modelHost(scenario, time);
  const specs = specFolder(
    [
      { name: "web", issuer: "good" },
      { name: "mail", issuer: "good" },
    ],
    scenario,
  );
  const told = { noneWaits: 0 };
  const ca = { isAway: false };
  const issuer: Issuer = {
    ...model,
    issue: (order, signal) => {
      if (!ca.isAway) return model.issue(order, signal);
      return Promise.reject(new AgentError("ISSUER_UNREACHABLE", "Cannot reach the CA: connection refused"));
    },
    holdsSecret: () => true,
    noneWaits: () => {
      told.noneWaits += 1;
    },
  };
  const agent = createAgent({
    clock: { ...systemClock, now: time.wall, monotonic: time.monotonic },
    log: { debug: () => {}, info: () => {}, warning: () => {}, error: () => {} },
    layout,
    applier: host.applier(layout),
    prove: host.prove,
    specs,
    createIssuer: () => issuer,
  });
  await agent.reread();
  const stop = new AbortController();
  const running = agent.run(stop.signal, () => {});
  return {
    agent,
    ca,
    specs,
    told,
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await running;
      await home.remove();
    },
  };
}

async function until(agent: Agent, state: string): Promise<void> {
  const states = () => agent.status([]).map((status) => status.state);
  await vi.waitFor(() => expect(states()).toEqual([state, state]), { timeout: 10_000 });
}

test("once every spec has its certificate, none waits any more", async () => {
  await using host = await start();

  await until(host.agent, "current");

  expect(host.told.noneWaits).toBe(1);
});

test("specs whose names were edited wait for a CA that is away", async () => {
  await using host = await start();
  await until(host.agent, "current");
  const before = host.told.noneWaits;

  host.ca.isAway = true;
  host.specs.edit("names");
  await host.agent.reread();
  await until(host.agent, "failing");

  expect(host.told.noneWaits).toBe(before);
});
