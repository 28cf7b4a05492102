import { mkdtempDisposable } from "node:fs/promises";
import { tmpdir } from "node:os";
import { expect, test } from "vitest";
import { createAgent } from "../../../src/agent/agent.ts";
import { AgentError, failureOf } from "../../../src/base/errors.ts";
import { DAY, pause, SECOND, systemClock } from "../../../src/base/time.ts";
import type { ApplyReport } from "../../../src/core/applier.ts";
import { layoutOf } from "../../../src/store/layout.ts";
import { modelCa, modelPki } from "../../property/model-ca.ts";
import { modelHost } from "../../property/model-host.ts";
import { simulatedTime } from "../../property/simulated-time.ts";
import { specFolder } from "../../property/spec-folder.ts";

/** Two specs of one service, which refuses `web` until `mail` has written; of a clock by which no back-off ever ends. */
async function refusedFirst(refusals: number, how: "fails" | "waits" | "late" | "obstructed" = "fails") {
  const stack = new AsyncDisposableStack();
  const home = stack.use(await mkdtempDisposable(`${tmpdir()}/certagent-refused-`));
  const time = simulatedTime();
  const scenario = { lifetime: DAY, rotate: false, lasts: 1, events: [] };
  const layout = layoutOf(home.path, home.path);
  const { issuer } = modelCa("good", scenario, time, await modelPki());
  const host = modelHost(scenario, time);
  const applier = host.applier(layout);
  const refused = Promise.withResolvers<void>();
  const tries: string[] = [];
  let looks = 0;
  let now = time.wall();
  const agent = createAgent({
    clock: { ...systemClock, now: () => now++ },
    log: { debug: () => {}, info: () => {}, warning: () => {}, error: () => {} },
    layout,
    applier: {
      ...applier,
      observe: async (asked, signal) => {
        looks += 1;
        const found = await applier.observe(asked, signal);
        const web = found.get("web");
        if (how !== "obstructed" || web === undefined || tries.length === 0) return found;
        const obstacle = { code: "DEPLOY_FAILED", message: "no room", hint: null, retryAt: null } as const;
        return new Map([["web", { ...web, obstacle }]]);
      },
      apply: async (name, signal, again): Promise<ApplyReport> => {
        tries.push(name);
        if (name === "mail") await refused.promise;
        if (name === "mail" || tries.filter((tried) => tried === "web").length > refusals)
          return await applier.apply(name, signal, again);
        refused.resolve();
        if (how === "late") await expect.poll(() => stateOf("mail")).toBe("current");
        const failure = failureOf(new AgentError("RELOAD_FAILED", "Cannot check: mail.crt is missing"));
        const report = { deployed: 1, files: "written", actions: [], repaired: [] } as const;
        if (how !== "waits") return { ...report, services: [], failure };
        await applier.apply(name, signal, again);
        const service = { type: "nginx", outcome: "broken-before", failure, note: null } as const;
        host.site(name).reloaded = null;
        return { ...report, services: [service], failure: null };
      },
    },
    prove: host.prove,
    specs: specFolder(
      ["web", "mail"].map((name) => ({ name, issuer: "good" })),
      scenario,
    ),
    createIssuer: () => issuer,
  });
  const stateOf = (name: string) => agent.status([name])[0]?.state;
  await agent.reread();
  return { agent, stateOf, tries, looks: () => looks, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

test.each(["fails", "waits", "late"] as const)(
  "what a service refused for what another spec had not written yet is tried again once that is there (%s)",
  async (how) => {
    await using world = await refusedFirst(1, how);
    const stop = new AbortController();
    const running = world.agent.run(stop.signal, () => {});

    await expect.poll(() => ["web", "mail"].map(world.stateOf)).toEqual(["current", "current"]);

    stop.abort();
    await running;
  },
);

test("once, and no more often, where it is refused again", async () => {
  await using world = await refusedFirst(9);

  await world.agent.once([], new AbortController().signal);

  expect(world.stateOf("web")).toBe("failing");
  expect(world.tries.toSorted()).toEqual(["mail", "web", "web"]);
});

test("what cannot be tried again now, since something else is in its way, is not looked at without a pause", async () => {
  await using world = await refusedFirst(9, "obstructed");
  const stop = new AbortController();
  const running = world.agent.run(stop.signal, () => {});
  await expect.poll(() => world.stateOf("mail")).toBe("current");

  await pause(SECOND / 2);

  expect(world.looks()).toBeLessThan(20);
  stop.abort();
  await running;
});
