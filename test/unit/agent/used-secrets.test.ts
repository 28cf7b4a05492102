/** Whether an issuer hears that no spec needs what it keeps of a used secret any more. */
import { mkdtempDisposable } from "node:fs/promises";
import { tmpdir } from "node:os";
import { beforeAll, expect, test } from "vitest";
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

/** An agent over two specs of one CA, which can be away, for one of them perhaps. */
async function start(awayFor?: string) {
  const home = await mkdtempDisposable(`${tmpdir()}/certagent-used-secrets-`);
  const time = simulatedTime();
  const scenario = { lifetime: DAY, rotate: false, lasts: 1, events: [] };
  const layout = layoutOf(home.path, home.path);
  const model = modelCa("good", scenario, time, pki).issuer;
  const host = modelHost(scenario, time);
  const inFolder = [
    { name: "web", issuer: "good" },
    { name: "mail", issuer: "good" },
  ];
  const specs = specFolder(inFolder, scenario);
  const told = { noneWaits: 0 };
  const ca = { isAway: false };
  const issuer: Issuer = {
    ...model,
    issue: (order, signal) => {
      if (!ca.isAway && order.request.subject !== awayFor) return model.issue(order, signal);
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
    inFolder,
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
  await expect.poll(() => states()).toEqual([state, state]);
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

test("where the last spec that waits is removed, none waits any more", async () => {
  await using host = await start("web.internal");
  const states = () => host.agent.status([]).map(({ name, state }) => `${name} ${state}`);
  await expect.poll(states).toEqual(["mail current", "web failing"]);
  const before = host.told.noneWaits;

  host.inFolder.shift();
  await host.agent.reread();

  expect([before, host.told.noneWaits]).toEqual([0, 1]);
});
