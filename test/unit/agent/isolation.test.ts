import { mkdtempDisposable } from "node:fs/promises";
import { tmpdir } from "node:os";
import { expect, test } from "vitest";
import { createAgent } from "../../../src/agent/agent.ts";
import { AgentError } from "../../../src/base/errors.ts";
import { type Clock, DAY, MINUTE, type Milliseconds, systemClock } from "../../../src/base/time.ts";
import type { Issuer } from "../../../src/core/ports.ts";
import { layoutOf } from "../../../src/store/layout.ts";
import { modelCa, modelPki } from "../../property/model-ca.ts";
import { modelHost } from "../../property/model-host.ts";
import { simulatedTime } from "../../property/simulated-time.ts";
import { specFolder } from "../../property/spec-folder.ts";

test("ten specs whose CA never answers do not delay the certificate of another CA", async () => {
  await using world = await worldOf(DAY);

  await expect.poll(() => world.stateOf("web")).toBe("current");

  expect(world.stateOf("stuck-0")).toBe("pending");
});

test("nor when it is tried again after a failure", async () => {
  await using world = await worldOf(2 * MINUTE, { failures: 1 });

  await expect.poll(() => world.stateOf("web")).toBe("current");

  expect(world.stateOf("stuck-0")).toBe("pending");
});

/** An agent at work for ten specs of a CA that never answers, and one of a CA that fails so often first. */
async function worldOf(lifetime: Milliseconds, { failures = 0 } = {}) {
  const stack = new AsyncDisposableStack();
  const home = stack.use(await mkdtempDisposable(`${tmpdir()}/certagent-isolation-`));
  const time = simulatedTime();
  const ahead = time.wall() - systemClock.now();
  const clock: Clock = {
    ...systemClock,
    now: () => systemClock.now() + ahead,
    sleepUntil: (instant, signal) => systemClock.sleepUntil(instant - ahead, signal),
  };
  const scenario = { lifetime, rotate: false, lasts: 1, events: [] };
  const layout = layoutOf(home.path, home.path);
  const stuck = Array.from({ length: 10 }, (_, index) => ({ name: `stuck-${index}`, issuer: "silent" }));
  const model = modelCa("good", scenario, time, await modelPki()).issuer;
  let left = failures;
  const good: Issuer = {
    ...model,
    issue: async (order, signal) => {
      if (left-- > 0) throw new AgentError("ISSUER_UNREACHABLE", "down");
      return await model.issue(order, signal);
    },
  };
  const host = modelHost(scenario, time);
  const stop = new AbortController();
  const agent = createAgent({
    clock,
    log: { debug: () => {}, info: () => {}, warning: () => {}, error: () => {} },
    layout,
    applier: host.applier(layout),
    prove: host.prove,
    specs: specFolder([...stuck, { name: "web", issuer: "good" }], scenario),
    createIssuer: (name) => (name === "good" ? good : { ...model, issue: untilAborted }),
  });
  await agent.reread();
  const running = agent.run(stop.signal, () => {});
  stack.defer(async () => {
    stop.abort();
    await running;
  });
  return {
    stateOf: (name: string) => agent.status([name])[0]?.state,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** What a call to a silent CA is: it ends when the agent is stopped. */
function untilAborted(_: unknown, signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    const end = (): void => reject(new Error("aborted"));
    if (signal.aborted) end();
    signal.addEventListener("abort", end, { once: true });
  });
}
