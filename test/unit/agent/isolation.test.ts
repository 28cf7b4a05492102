import { mkdtempDisposable } from "node:fs/promises";
import { tmpdir } from "node:os";
import { expect, test, vi } from "vitest";
import { createAgent } from "../../../src/agent/agent.ts";
import { DAY, systemClock } from "../../../src/base/time.ts";
import { layoutOf } from "../../../src/store/layout.ts";
import { modelCa, modelPki } from "../../property/model-ca.ts";
import { modelHost } from "../../property/model-host.ts";
import { simulatedTime } from "../../property/simulated-time.ts";
import { specFolder } from "../../property/spec-folder.ts";

test("ten specs whose CA never answers do not delay the certificate of another CA", async () => {
  await using home = await mkdtempDisposable(`${tmpdir()}/certagent-isolation-`);
  const time = simulatedTime();
  const scenario = { lifetime: DAY, rotate: false, lasts: 1, events: [] };
  const layout = layoutOf(home.path, home.path);
  const stuck = Array.from({ length: 10 }, (_, index) => ({ name: `stuck-${index}`, issuer: "silent" }));
  const model = modelCa("good", scenario, time, await modelPki()).issuer;
  const host = modelHost(scenario, time);
  const stop = new AbortController();
  const agent = createAgent({
    clock: { ...systemClock, now: time.wall, monotonic: time.monotonic },
    log: { debug: () => {}, info: () => {}, warning: () => {}, error: () => {} },
    layout,
    applier: host.applier(layout),
    prove: host.prove,
    specs: specFolder([...stuck, { name: "web", issuer: "good" }], scenario),
    createIssuer: (name) => (name === "good" ? model : { ...model, issue: untilAborted }),
  });
  await agent.reread();

  const running = agent.run(stop.signal, () => {});

  await vi.waitFor(() => expect(agent.status(["web"])[0]?.state).toBe("current"), { timeout: 10_000 });
  expect(agent.status(["stuck-0"])[0]?.state).toBe("pending");
  stop.abort();
  await running;
});

/** What a call to a silent CA is: it ends when the agent is stopped. */
function untilAborted(_: unknown, signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    const end = (): void => reject(new Error("aborted"));
    if (signal.aborted) end();
    signal.addEventListener("abort", end, { once: true });
  });
}
