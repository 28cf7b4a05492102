import { execFileSync } from "node:child_process";
import { mkdtempDisposable } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { type Agent, type AgentOptions, createAgent } from "../../../src/agent/agent.ts";
import { AgentError, type Failure } from "../../../src/base/errors.ts";
import type { Log } from "../../../src/base/log.ts";
import { DAY, systemClock } from "../../../src/base/time.ts";
import { readFacts, writeFacts } from "../../../src/store/facts.ts";
import { layoutOf } from "../../../src/store/layout.ts";
import { modelCa, modelPki } from "../../property/model-ca.ts";
import { modelHost } from "../../property/model-host.ts";
import { simulatedTime } from "../../property/simulated-time.ts";
import { specFolder } from "../../property/spec-folder.ts";
import { streak } from "../core/given.ts";

const never = new AbortController().signal;

type World = Pick<AgentOptions, "layout" | "applier" | "createIssuer" | "specs">;

/** A host with one spec, of a lifetime of a day, whose clock stands still. `start`: an agent over it, other in some way. */
async function hostWithSpec() {
  const home = await mkdtempDisposable(join(tmpdir(), "certagent-managed-"));
  const time = simulatedTime();
  const scenario = { lifetime: DAY, rotate: false, lasts: 1, events: [] };
  const layout = layoutOf(home.path, home.path);
  const { issuer } = modelCa("good", scenario, time, await modelPki());
  const host = modelHost(scenario, time);
  const specs = specFolder([{ name: "web", issuer: "good" }], scenario);
  const world: World = { layout, applier: host.applier(layout), createIssuer: () => issuer, specs };
  const start = async ({
    warning = () => {},
    ...change
  }: Partial<World & Pick<Log, "warning">> = {}): Promise<Agent> => {
    const agent = createAgent({
      clock: { ...systemClock, now: time.wall, monotonic: time.monotonic },
      log: { debug: () => {}, info: () => {}, warning, error: () => {} },
      prove: host.prove,
      ...world,
      ...change,
    });
    await agent.reread();
    return agent;
  };
  return { ...world, issuer, time, start, [Symbol.asyncDispose]: home.remove };
}

async function until(agent: Agent, state: string): Promise<void> {
  await vi.waitFor(() => expect(agent.status(["web"])[0]?.state).toBe(state), { timeout: 10_000 });
}

test("nothing is looked at between an issuance and its deployment, which looks for itself", async () => {
  await using host = await hostWithSpec();
  const { applier, issuer } = host;
  const steps: string[] = [];
  const agent = await host.start({
    applier: {
      ...applier,
      observe: (...args) => (steps.push("look"), applier.observe(...args)),
      apply: (...args) => (steps.push("apply"), applier.apply(...args)),
    },
    createIssuer: () => ({ ...issuer, issue: (...args) => (steps.push("issue"), issuer.issue(...args)) }),
  });
  const stop = new AbortController();

  const running = agent.run(stop.signal, () => {});

  await until(agent, "current");
  expect(steps.slice(0, 4)).toEqual(["look", "issue", "apply", "look"]);
  stop.abort();
  await running;
});

test("a renewal that was asked for is deployed at once, whatever the back-off of a deployment that failed", async () => {
  await using host = await hostWithSpec(); // no back-off ever ends
  let isMended = false;
  const agent = await host.start({
    applier: {
      ...host.applier,
      apply: async (...args) => {
        if (isMended) return await host.applier.apply(...args);
        throw new AgentError("HOOK_FAILED", "Cannot run the before hook");
      },
    },
  });
  const stop = new AbortController();
  const running = agent.run(stop.signal, () => {});
  await until(agent, "failing");
  isMended = true;

  const outcomes = await agent.renew(["web"], () => {}, stop.signal);

  expect(outcomes).toMatchObject([{ ok: true, state: "current" }]);
  stop.abort();
  await running;
});

test("another default issuer is asked at once by the specs that take it, whose texts are the same", async () => {
  await using host = await hostWithSpec(); // nothing becomes due by itself
  const [web, api] = [
    { name: "web", issuer: "good" },
    { name: "api", issuer: "other" },
  ];
  const scenario = { lifetime: DAY, rotate: false, lasts: 1, events: [] };
  const asked: string[] = [];
  const agent = await host.start({
    specs: specFolder([web, api], scenario),
    createIssuer: (name) => ({
      ...host.issuer,
      issue: (order, ...args) => (asked.push(`${name}: ${order.request.subject}`), host.issuer.issue(order, ...args)),
    }),
  });
  const stop = new AbortController();
  const running = agent.run(stop.signal, () => {});
  await until(agent, "current");

  web.issuer = "other";
  await agent.reread();

  await vi.waitFor(() => expect(asked).toContain("other: web.internal"), { timeout: 5000 });
  stop.abort();
  await running;
});

test("a plan is made from a look of its own, whatever was believed", async () => {
  await using host = await hostWithSpec();
  const { applier } = host;
  const looks: unknown[] = [];
  const agent = await host.start({
    applier: {
      ...applier,
      observe: (asked, signal) => (looks.push(...asked.map(({ afresh }) => afresh)), applier.observe(asked, signal)),
    },
  });
  await agent.once([], never);
  looks.length = 0;

  await agent.plan(["web"], never);

  expect(looks).toEqual([true]);
});

test("a renewal that was asked for looks whether what was in its way still is, whatever was believed", async () => {
  await using host = await hostWithSpec();
  const { applier } = host;
  let isThere = true;
  let obstacle: Failure | null = { code: "DEPLOY_FAILED", message: "/srv is missing", hint: null, retryAt: null };
  const agent = await host.start({
    applier: {
      ...applier,
      observe: async (asked, signal) => {
        if (!isThere && asked.every(({ afresh }) => afresh === true)) obstacle = null;
        const facts = await applier.observe(asked, signal);
        return new Map([...facts].map(([name, each]) => [name, { ...each, obstacle }]));
      },
    },
  });
  const stop = new AbortController();
  const running = agent.run(stop.signal, () => {});
  await until(agent, "failing");
  isThere = false;

  const outcomes = await agent.renew(["web"], () => {}, stop.signal);

  expect(outcomes).toMatchObject([{ ok: true, state: "current" }]);
  stop.abort();
  await running;
});

test("a renewal that the end of the agent cuts off before it is deployed is not told as done", async () => {
  await using host = await hostWithSpec();
  const stop = new AbortController();
  let isSlow = false;
  const agent = await host.start({
    applier: {
      ...host.applier,
      apply: async (...args) => {
        if (!isSlow) return await host.applier.apply(...args);
        stop.abort();
        throw new Error("certagent is stopping");
      },
    },
  });
  const running = agent.run(stop.signal, () => {});
  await until(agent, "current");
  isSlow = true;

  const outcomes = await agent.renew(["web"], () => {}, new AbortController().signal);

  expect(outcomes).toMatchObject([{ ok: false, message: expect.stringContaining("the agent was stopped") }]);
  await running;
});

test("a failure that is over is not told of from disk, before the agent has run again and afterwards", async () => {
  await using host = await hostWithSpec();
  const { start, layout, time } = host;
  await (await start()).once([], never);
  const path = layout.agent.facts("web");
  const facts = await readFacts(path);
  // A renewal that was asked for failed, and the wish was lost with the process.
  const issue = streak({ since: time.wall(), at: time.wall(), tryAt: time.wall() });
  await writeFacts(path, { ...facts, failures: { ...facts.failures, issue } });

  const looking = await start();
  await looking.look(never);
  const working = await start();
  await working.once([], never);

  expect(looking.status(["web"])).toMatchObject([{ state: "current", failure: null }]);
  expect((await readFacts(path)).failures.issue).toBeNull();
});

test("an old generation that cannot be removed is told of, and leaves the certificate as it is", async () => {
  await using host = await hostWithSpec();
  const told: unknown[] = [];
  const agent = await host.start({ warning: (message, fields) => void told.push([message, fields]) });
  const stop = new AbortController();
  const running = agent.run(stop.signal, () => {});
  await until(agent, "current");
  const oldest = join(host.layout.agent.generations("web"), "1.json");
  execFileSync("chattr", ["+i", oldest]);
  try {
    for (let renewals = 0; renewals < 3; renewals++) await agent.renew(["web"], () => {}, stop.signal);
    await vi.waitFor(() => expect(told).not.toEqual([]), { timeout: 10_000 });
  } finally {
    execFileSync("chattr", ["-i", oldest]);
  }

  const reason = expect.stringMatching(/^Cannot remove ".*1\.json": operation not permitted$/);
  expect(told).toEqual([["cannot remove an old generation", expect.objectContaining({ certificate: "web", reason })]]);
  expect(agent.status(["web"])).toMatchObject([{ state: "current", failure: null }]);
  stop.abort();
  await running;
});
