import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdtempDisposable, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type Agent, type AgentOptions, createAgent } from "../../../src/agent/agent.ts";
import { controlled } from "../../../src/agent/controlled.ts";
import type { IssuerConfig } from "../../../src/agent/issuer-cache.ts";
import { type ManagedCertificate, manage } from "../../../src/agent/managed.ts";
import { AgentError, type Failure, failureOf } from "../../../src/base/errors.ts";
import type { Log } from "../../../src/base/log.ts";
import { DAY, HOUR, LONGEST_SLEEP, MINUTE, pause, SECOND, systemClock } from "../../../src/base/time.ts";
import type { Adopted, Applier } from "../../../src/core/applier.ts";
import type { CertificateRequest, Issued, Issuer, Order } from "../../../src/core/ports.ts";
import type { SpecFolder } from "../../../src/spec/folder.ts";
import { readFacts, writeFacts } from "../../../src/store/facts.ts";
import { layoutOf } from "../../../src/store/layout.ts";
import { generateKey } from "../../../src/x509/key.ts";
import { modelCa, modelPki } from "../../property/model-ca.ts";
import { modelHost } from "../../property/model-host.ts";
import { simulatedTime, turns } from "../../property/simulated-time.ts";
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
  }: Partial<World & Pick<Log, "warning"> & Pick<AgentOptions, "prove">> = {}): Promise<Agent> => {
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
  return { ...world, specs, issuer, time, host, start, [Symbol.asyncDispose]: home.remove };
}

/** The loop of an agent, until this is disposed of. */
function runs(agent: Agent): AsyncDisposable & { readonly signal: AbortSignal } {
  const stop = new AbortController();
  const running = agent.run(stop.signal, () => {});
  return {
    signal: stop.signal,
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await running;
    },
  };
}

async function until(agent: Agent, state: string): Promise<void> {
  await expect.poll(() => agent.status(["web"])[0]?.state).toBe(state);
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

/** What one certificate of that host works with, and what its spec asks for. */
async function worldOf({ layout, applier, issuer, specs, host, time }: Awaited<ReturnType<typeof hostWithSpec>>) {
  const wanted = (await specs.read({ owners: async () => new Map() })).specs.get("web")?.desired;
  if (wanted === undefined) throw new Error("there is no spec");
  const world = {
    clock: { ...systemClock, now: time.wall, monotonic: time.monotonic },
    log: { debug: () => {}, info: () => {}, warning: () => {}, error: () => {} },
    layout,
    prove: host.prove,
    applier,
    issuer: () => issuer,
    issuing: async (_: string, issue: () => Promise<void>) => (await issue(), true),
    isAwaited: () => false,
    clockSuspectFor: () => null,
  };
  return { world, wanted };
}

test("files are put right while others keep the issuer busy", async () => {
  await using here = await hostWithSpec();
  const { applier, host } = here;
  const { world, wanted } = await worldOf(here);
  const steps: string[] = [];
  let busy = 0;
  const busily = {
    ...world,
    applier: {
      ...applier,
      apply: (...args: Parameters<typeof applier.apply>) => (steps.push("apply"), applier.apply(...args)),
    },
    issuing: async (_: string, issue: () => Promise<void>) => {
      busy -= 1;
      steps.push(busy < 0 ? "issue" : "busy");
      if (busy < 0) await issue();
      return busy < 0;
    },
  };
  const web = await manage(busily, wanted, null);
  await web.work(never);
  expect(steps).toEqual(["issue", "apply"]);
  steps.length = 0;

  busy = 12; // more often than a certificate needs to come to rest
  host.site("web").drifted = true;
  web.renew();
  await web.work(never);

  expect(steps).toEqual(["busy", "apply", ...Array.from({ length: 11 }, () => "busy"), "issue", "apply"]);
});

/** An agent that is killed while the CA is to answer, again and again, and how often that was asked. */
async function killedWhileAsking(here: Awaited<ReturnType<typeof hostWithSpec>>) {
  const { world, wanted } = await worldOf(here);
  let asked = 0;
  const live = async (act: (web: ManagedCertificate) => void = () => {}): Promise<ManagedCertificate> => {
    const killed = Promise.withResolvers<void>();
    const issue = (): Promise<Issued> => ((asked += 1), killed.resolve(), new Promise(() => {}));
    const web = await manage({ ...world, issuer: () => ({ ...here.issuer, issue }) }, wanted, null);
    act(web);
    await Promise.race([web.work(never), killed.promise]);
    return web;
  };
  return { world, wanted, live, asked: () => asked };
}

test("an agent that is killed while the CA is to answer asks no more often than one whose CA does not", async () => {
  await using here = await hostWithSpec();
  const { live, asked } = await killedWhileAsking(here);

  for (let life = 0; life < 240; life++, here.time.pass(15 * SECOND)) await live();

  expect(asked()).toBeGreaterThan(3);
  expect(asked()).toBeLessThan(12);
});

test("an agent that was killed while the CA was to answer says so, and asks again: at once after one kill, then with back-off", async () => {
  await using here = await hostWithSpec();
  const { world, wanted, live, asked } = await killedWhileAsking(here);
  await live();
  here.time.pass(SECOND);

  const { facts } = (await live()).view().observed;
  here.time.pass(SECOND);
  await live();
  const askedBy = asked();
  here.time.pass(2 * MINUTE);
  const web = await manage(world, wanted, null);
  await web.work(never);

  expect(facts.failures.issue).toMatchObject({
    code: "CUT_OFF",
    attempts: 1,
    since: here.time.wall() - 2 * MINUTE - 2 * SECOND,
  });
  expect(askedBy).toBe(2);
  expect(web.view().observed).toMatchObject({ generation: { number: 1 }, facts: { failures: { issue: null } } });
});

test("an agent that is killed in each renewal while a certificate is in force does not ask a fourth time", async () => {
  await using here = await hostWithSpec();
  const { world, wanted, live, asked } = await killedWhileAsking(here);
  await (await manage(world, wanted, null)).work(never);
  here.time.pass(0.7 * DAY);

  for (let life = 0; life < 230; life++, here.time.pass(MINUTE)) await live();

  expect(asked()).toBe(3);
  expect((await live()).view().observed.generation).toMatchObject({ number: 1 });
});

test("the failed hook is told of what fails after an agent was killed in it, once", async () => {
  await using here = await hostWithSpec();
  const { world, wanted, live } = await killedWhileAsking(here);
  await live();
  let told = 0;
  const desired = { ...wanted, hooks: { ...wanted.hooks, failed: ["/bin/true"] } };
  const refuses = () => Promise.reject(new AgentError("ISSUER_UNREACHABLE", "Cannot reach the CA"));
  const web = await manage(
    {
      ...world,
      applier: { ...world.applier, failed: async () => void (told += 1) },
      issuer: () => ({ ...here.issuer, issue: refuses }),
    },
    desired,
    null,
  );

  for (let round = 0; round < 10; round++, here.time.pass(LONGEST_SLEEP)) await web.work(never);

  expect(web.view().observed.facts.failures.issue?.attempts).toBeGreaterThan(2);
  expect(told).toBe(1);
});

test("a renewal by hand that an agent was killed in is no failure: nobody tries it again", async () => {
  await using here = await hostWithSpec();
  const { world, wanted, live } = await killedWhileAsking(here);
  await (await manage(world, wanted, null)).work(never);
  await live((web) => web.renew());
  const told: string[] = [];

  const log = { ...world.log, warning: (message: string) => void told.push(message) };
  const web = await manage({ ...world, log }, wanted, null);

  expect(web.view().observed.facts.failures.issue).toBeNull();
  expect(told).toEqual([]);
});

test.each([
  ["who asks for a renewal", (web: ManagedCertificate) => web.renew()],
  ["`once`", (web: ManagedCertificate) => web.hurry()],
])("%s has the CA asked at once, though an agent was killed again and again before it had answered", async (_, act) => {
  await using here = await hostWithSpec();
  const { live, asked } = await killedWhileAsking(here);
  await live();
  await live();

  await live(act);

  expect(asked()).toBe(3);
});

test("what a killed agent had asked long ago, or by a clock that was ahead, holds up nothing", async () => {
  await using here = await hostWithSpec();
  const { live, asked } = await killedWhileAsking(here);
  await live();
  here.time.pass(2 * DAY);

  await live();
  here.time.step(-MINUTE);
  await live();

  expect(asked()).toBe(3);
});

test.each([
  ["CREDENTIAL_MISSING", 2, "after that", 1],
  ["ISSUER_REJECTED", 2, "after that", 1],
  ["ISSUER_UNREACHABLE", 1, "after that", 1],
  ["CREDENTIAL_MISSING", 1, "before", -1],
  ["CREDENTIAL_MISSING", 1, "by a clock that was ahead", 3600],
  ["CREDENTIAL_MISSING", 1, "never", null],
] as const)(
  "what fails with %s is tried %d times where a secret was put in its place %s",
  async (code, tries, _, seconds) => {
    await using here = await hostWithSpec();
    const { world, wanted } = await worldOf(here);
    const failedAt = here.time.wall();
    let asked = 0;
    const issuer = {
      ...here.issuer,
      issue: () => ((asked += 1), Promise.reject(new AgentError(code, "Cannot mint"))),
      secretSince: async () => seconds && failedAt + seconds * SECOND,
    };
    const web = await manage({ ...world, issuer: () => issuer }, wanted, null);

    for (let look = 0; look < 3; look++, here.time.pass(3 * SECOND)) await web.work(never);

    expect(asked).toBe(tries);
  },
);

test("of a secret that somebody writes anew each minute a CA that refuses it hears three times an hour more, and no oftener", async () => {
  await using here = await hostWithSpec();
  const { world, wanted } = await worldOf(here);
  const writtenSince = (now: number): number => now - (now % MINUTE);
  let asked = 0;
  const issuer = {
    ...here.issuer,
    issue: () => ((asked += 1), Promise.reject(new AgentError("ISSUER_REJECTED", "Cannot mint"))),
    secretSince: async () => writtenSince(here.time.wall()),
  };
  const web = await manage({ ...world, issuer: () => issuer }, wanted, null);

  for (let round = 0; round < 720; round++, here.time.pass(LONGEST_SLEEP)) await web.work(never);

  // Twelve a half-hour apart, and three more in each of six hours.
  expect(asked).toBeGreaterThan(18);
  expect(asked).toBeLessThan(40);
});

test("who asks for the status of an agent that has just started is told what it sees, not what it has not seen yet", async () => {
  await using host = await hostWithSpec();
  const { applier, start, time } = host;
  await (await start()).once([], never);
  const look = Promise.withResolvers<void>();
  const agent = await start({
    applier: { ...applier, observe: async (...args) => (await look.promise, await applier.observe(...args)) },
  });
  const asked = controlled(agent, { version: "", pid: 1, since: time.wall(), apply: "broker" });
  await using _running = runs(agent);

  const status = asked.status(["web"]);
  expect(await Promise.race([status, turns(100)])).toBeUndefined();
  look.resolve();

  expect((await status).certificates).toMatchObject([{ state: "current", leaf: { generation: 1 } }]);
});

test("who asks for the plan of an agent that has just started is told what it sees, not what it has not seen yet", async () => {
  await using host = await hostWithSpec();
  const { applier, start } = host;
  await (await start()).once([], never);
  const look = Promise.withResolvers<void>();
  const agent = await start({
    applier: { ...applier, observe: async (...args) => (await look.promise, await applier.observe(...args)) },
  });
  await using _running = runs(agent);

  const planned = agent.plan(["web"], never);
  expect(await Promise.race([planned, turns(100)])).toBeUndefined();
  look.resolve();

  expect(await planned).toMatchObject([{ name: "web", action: "wait" }]);
});

test("a first look that hangs holds up nobody who asks for the status for long", async () => {
  await using host = await hostWithSpec();
  const agent = await host.start({ applier: { ...host.applier, observe: () => new Promise(() => {}) } });
  const asked = controlled(agent, { version: "", pid: 1, since: host.time.wall(), apply: "broker" });
  host.time.pass(MINUTE);

  expect((await asked.status([])).certificates).toMatchObject([{ name: "web", state: "pending" }]);
});

test("of files that nobody could look at since the start it is told that, and not that they are missing", async () => {
  await using host = await hostWithSpec();
  await (await host.start()).once([], never);
  const nobody = new AgentError("APPLY_UNREACHABLE", "Cannot have anything applied: nobody takes what is asked");
  const agent = await host.start({ applier: { ...host.applier, observe: () => Promise.reject(nobody) } });

  const [before] = agent.status(["web"]);
  await agent.look(never);
  const [after] = agent.status(["web"]);
  const [planned] = await agent.plan(["web"], never);

  const outputs = [{ state: "unknown" }];
  expect(before).toMatchObject({ outputs });
  expect(after).toMatchObject({
    state: "failing",
    failure: { code: "APPLY_UNREACHABLE" },
    outputs,
    leaf: { generation: 1 },
  });
  expect(planned).toMatchObject({ action: "wait", because: expect.stringMatching(/ was not looked at yet$/) });
});

test("no issuance is spent on a spec that the root side does not accept, and it goes on as soon as it does", async () => {
  await using host = await hostWithSpec();
  let isAccepted = false;
  let issuances = 0;
  const agent = await host.start({
    applier: {
      ...host.applier,
      observe: async (...args) => (isAccepted ? await host.applier.observe(...args) : new Map()),
    },
    createIssuer: () => ({
      ...host.issuer,
      issue: (...args) => {
        issuances += 1;
        return host.issuer.issue(...args);
      },
    }),
  });

  await agent.once([], never);
  const [status] = agent.status(["web"]);
  const before = issuances;
  isAccepted = true;
  await agent.once([], never);

  expect(status).toMatchObject({
    state: "failing",
    failure: { code: "SPEC_INVALID", message: expect.stringContaining("for the root side") },
  });
  expect([before, issuances]).toEqual([0, 1]);
  expect(agent.status(["web"])).toMatchObject([{ state: "current", failure: null }]);
});

test("what can never be looked at is told less and less often, and no later than it is tried", async () => {
  await using host = await hostWithSpec();
  const wanted = (await host.specs.read({ owners: async () => new Map() })).specs.get("web")?.desired;
  if (wanted === undefined) throw new Error("there is no spec");
  const told: unknown[] = [];
  const looks: number[] = [];
  const world = {
    ...host,
    clock: { ...systemClock, now: host.time.wall, monotonic: host.time.monotonic },
    log: { debug: () => {}, info: () => {}, warning: (line: string) => void told.push(line), error: () => {} },
    prove: host.host.prove,
    applier: {
      ...host.applier,
      observe: async () => {
        looks.push(host.time.wall());
        throw new AgentError("APPLY_UNREACHABLE", "Cannot have anything applied: nobody takes what is asked");
      },
    },
    issuer: () => host.issuer,
    issuing: () => Promise.resolve(true),
    isAwaited: () => false,
    clockSuspectFor: () => null,
  };
  const web = await manage(world, wanted, null);

  const begin = host.time.wall();
  while (host.time.wall() < begin + HOUR) {
    await web.work(never);
    host.time.pass(web.dueAt() - host.time.wall());
  }

  expect(looks.length).toBe(HOUR / LONGEST_SLEEP);
  expect(told.length).toBeGreaterThan(2);
  expect(told.length).toBeLessThan(10);
  expect(web.view().observed.facts.failures.apply).toMatchObject({ attempts: told.length });
});

test("what could not be deployed since the root side was away is, as soon as that can be asked again", async () => {
  await using host = await hostWithSpec();
  const wanted = (await host.specs.read({ owners: async () => new Map() })).specs.get("web")?.desired;
  if (wanted === undefined) throw new Error("there is no spec");
  let away: readonly string[] = [];
  const orNobody = (what: string): void => {
    if (away.includes(what)) throw new AgentError("APPLY_UNREACHABLE", "Cannot have anything applied: nobody takes it");
  };
  const world = {
    ...host,
    clock: { ...systemClock, now: host.time.wall, monotonic: host.time.monotonic },
    log: { debug: () => {}, info: () => {}, warning: () => {}, error: () => {} },
    prove: host.host.prove,
    applier: {
      ...host.applier,
      observe: async (...args: Parameters<Applier["observe"]>) => (orNobody("look"), host.applier.observe(...args)),
      apply: async (...args: Parameters<Applier["apply"]>) => (orNobody("apply"), host.applier.apply(...args)),
    },
    issuer: () => host.issuer,
    issuing: async (_: string, issue: () => Promise<void>) => (await issue(), true),
    isAwaited: () => false,
    clockSuspectFor: () => null,
  };
  const web = await manage(world, wanted, null);
  await web.work(never);
  away = ["apply"];
  web.renew();
  await web.work(never);
  away = ["look", "apply"];
  for (let look = 0; look < 20; look += 1) {
    host.time.pass(LONGEST_SLEEP);
    await web.work(never);
  }
  const tryAt = web.view().observed.facts.failures.apply?.tryAt ?? 0;
  away = [];

  await web.work(never);

  expect(tryAt).toBeGreaterThan(host.time.wall());
  expect(web.view().observed.apply.deployed).toBe(2);
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
  await using running = runs(agent);
  await until(agent, "failing");
  isMended = true;

  const outcomes = await agent.renew(["web"], () => {}, running.signal);

  expect(outcomes).toMatchObject([{ ok: true, state: "current" }]);
});

test("another default issuer is asked at once by the specs that take it, whose texts are the same", async () => {
  await using host = await hostWithSpec(); // nothing becomes due by itself
  const [web, api] = [
    { name: "web", issuer: "good" },
    { name: "api", issuer: "other" },
  ];
  const scenario = { lifetime: DAY, rotate: false, lasts: 1, events: [] };
  const asked: string[] = [];
  // The storm breaker holds what the first one would be asked for.
  const facts = await readFacts(host.layout.agent.facts("web"));
  const issuances = Array.from({ length: 3 }, host.time.wall);
  await writeFacts(host.layout.agent.facts("web"), { ...facts, digest: "version 0", issuances });
  const agent = await host.start({
    specs: specFolder([web, api], scenario),
    createIssuer: (name) => ({
      ...host.issuer,
      issue: (order, ...args) => (asked.push(`${name}: ${order.request.subject}`), host.issuer.issue(order, ...args)),
    }),
  });
  await using _running = runs(agent);
  await until(agent, "paused");

  web.issuer = "other";
  await agent.reread();

  await expect.poll(() => asked).toContain("other: web.internal");
});

test("another default issuer is asked at once, also where that was configured while no agent ran", async () => {
  await using host = await hostWithSpec(); // nothing becomes due by itself
  const scenario = { lifetime: DAY, rotate: false, lasts: 1, events: [] };
  await (await host.start()).once([], never);
  const facts = await readFacts(host.layout.agent.facts("web"));
  await writeFacts(host.layout.agent.facts("web"), { ...facts, issuances: Array.from({ length: 3 }, host.time.wall) });
  const asked: string[] = [];
  const agent = await host.start({
    specs: specFolder([{ name: "web", issuer: "other" }], scenario),
    createIssuer: (name) => ({ ...host.issuer, issue: (...args) => (asked.push(name), host.issuer.issue(...args)) }),
  });

  await agent.once([], never);

  expect(asked).toEqual(["other"]);
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

test("what a plan had looked at before a renewal that came meanwhile is not told as how things stand after it", async () => {
  await using here = await hostWithSpec();
  const { applier } = here;
  const [isHeld, goOn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let holdNext = false;
  const agent = await here.start({
    applier: {
      ...applier,
      observe: async (...args) => {
        const seen = await applier.observe(...args);
        if (!holdNext) return seen;
        holdNext = false;
        isHeld.resolve();
        await goOn.promise; // a service that takes its time
        return seen;
      },
    },
  });
  await using _running = runs(agent);
  await until(agent, "current");

  holdNext = true;
  const planned = agent.plan(["web"], never);
  await isHeld.promise;
  const renewal = agent.renew(["web"], () => {}, never);
  await Promise.race([renewal, pause(300)]); // it waits for that look, or is done by then
  goOn.resolve();
  await Promise.all([planned, renewal]);

  expect(await renewal).toMatchObject([{ ok: true, renewed: true }]);
  expect(agent.status(["web"])).toMatchObject([{ state: "current", leaf: { generation: 2 } }]);
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
  await using running = runs(agent);
  await until(agent, "failing");
  isThere = false;

  const outcomes = await agent.renew(["web"], () => {}, running.signal);

  expect(outcomes).toMatchObject([{ ok: true, state: "current" }]);
});

test.each([
  ["issued", "issue"],
  ["deployed", "apply"],
])("a renewal that the end of the agent cuts off before it is %s is not told as done", async (_, step) => {
  await using host = await hostWithSpec();
  const { applier, issuer } = host;
  const stop = new AbortController();
  let isSlow = false;
  const cutOff = async <Result>(name: string, act: () => Promise<Result>): Promise<Result> => {
    if (!isSlow || name !== step) return await act();
    stop.abort();
    throw new Error("certagent is stopping");
  };
  const agent = await host.start({
    applier: { ...applier, apply: (...args) => cutOff("apply", () => applier.apply(...args)) },
    createIssuer: () => ({ ...issuer, issue: (...args) => cutOff("issue", () => issuer.issue(...args)) }),
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
  await using running = runs(agent);
  await until(agent, "current");
  const oldest = join(host.layout.agent.generations("web"), "1.json");
  execFileSync("chattr", ["+i", oldest]);
  try {
    for (let renewals = 0; renewals < 3; renewals++) await agent.renew(["web"], () => {}, running.signal);
    await expect.poll(() => told).not.toEqual([]);
  } finally {
    execFileSync("chattr", ["-i", oldest]);
  }

  const reason = expect.stringMatching(/^Cannot remove ".*1\.json": operation not permitted$/);
  expect(told).toEqual([["cannot remove an old generation", expect.objectContaining({ certificate: "web", reason })]]);
  expect(agent.status(["web"])).toMatchObject([{ state: "current", failure: null }]);
});

/** A call that is held up the first time. */
function held() {
  const [begun, goOn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let calls = 0;
  const hold = async (): Promise<void> => {
    calls += 1;
    begun.resolve();
    if (calls === 1) await goOn.promise;
  };
  return { hold, begun: begun.promise, goOn: goOn.resolve, calls: () => calls };
}

test("what was seen of the services of a spec that was edited meanwhile is no proof for those that it has now", async () => {
  await using host = await hostWithSpec();
  const look = held();
  const agent = await host.start({ prove: async () => (await look.hold(), { served: true }) });
  await using _running = runs(agent);
  await look.begun;

  host.specs.edit("comment");
  await agent.reread();
  look.goOn();

  await until(agent, "current");
  expect(look.calls()).toBe(2);
});

test("while a service takes its time, as long as its spec gives it, its files are put right all the same", async () => {
  await using host = await hostWithSpec();
  const { site } = host.host;
  const read: SpecFolder["read"] = async (...args) => {
    const specs = await host.specs.read(...args);
    const web = specs.specs.get("web");
    const services = web?.desired?.services.map((service) => ({ ...service, timeout: HOUR })) ?? [];
    if (web?.desired === undefined) throw new Error("the spec is in force");
    return { ...specs, specs: new Map([["web", { ...web, desired: { ...web.desired, services } }]]) };
  };
  const looks: boolean[] = [];
  const prove: AgentOptions["prove"] = async (_target, _fingerprint, { timeout }) => {
    host.time.pass(timeout);
    looks.push(site("web").drifted);
    site("web").drifted = looks.length === 1;
    const failure = new AgentError("SERVICE_STALE", "Cannot see the certificate: another one is served");
    return looks.length < 20 ? { served: false, failure, other: undefined } : { served: true };
  };
  const agent = await host.start({ prove, specs: { ...host.specs, read } });
  await using _running = runs(agent);

  await until(agent, "current");

  expect(looks).toEqual(Array<boolean>(20).fill(false));
  expect(site("web").applies).toHaveLength(2);
});

test("what fails for a spec that was edited meanwhile holds up nothing that it asks for now", async () => {
  await using host = await hostWithSpec(); // no back-off ever ends
  const issuance = held();
  const issue: Issuer["issue"] = async (...args) => {
    await issuance.hold();
    if (issuance.calls() === 1) throw new AgentError("ISSUER_REJECTED", "Cannot mint: the name is not allowed");
    return await host.issuer.issue(...args);
  };
  const agent = await host.start({ createIssuer: () => ({ ...host.issuer, issue }) });
  await using _running = runs(agent);
  await issuance.begun;

  host.specs.edit("names");
  await agent.reread();
  issuance.goOn();

  await until(agent, "current");
});

test("a pair that did not fit a spec that was edited meanwhile is looked at for what it asks now", async () => {
  await using host = await hostWithSpec();
  const adoption = held();
  const applier: Applier = {
    ...host.applier,
    observe: async (...args) => {
      const facts = [...(await host.applier.observe(...args))];
      return new Map(facts.map(([name, one]) => [name, { ...one, adoptable: one.deployed === null }] as const));
    },
    adopt: async () => (await adoption.hold(), undefined),
  };
  const agent = await host.start({ applier });
  await using _running = runs(agent);
  await adoption.begun;

  host.specs.edit("names");
  await agent.reread();
  adoption.goOn();

  await until(agent, "current");
  expect(adoption.calls()).toBe(2);
});

test("a pair that did not fit is looked at again when a certificate is asked for again: another one may stand there", async () => {
  await using host = await hostWithSpec();
  let made: Adopted | undefined;
  let isThere = false;
  const issue = async (order: Order): Promise<never> => {
    made = { key: order.key, chain: (await host.issuer.issue(order, never)).chain };
    throw new AgentError("CREDENTIAL_MISSING", "Cannot get a certificate: no credential is left");
  };
  const applier: Applier = {
    ...host.applier,
    observe: async (...args) => {
      const facts = [...(await host.applier.observe(...args))];
      return new Map(facts.map(([name, one]) => [name, { ...one, adoptable: one.deployed === null }] as const));
    },
    adopt: async () => (isThere ? made : undefined),
  };
  const agent = await host.start({ applier, createIssuer: () => ({ ...host.issuer, issue }) });
  await agent.once([], never);
  expect(agent.status(["web"])).toMatchObject([{ state: "failing", failure: { code: "CREDENTIAL_MISSING" } }]);

  isThere = true;
  await agent.once([], never);

  expect(agent.status(["web"])).toMatchObject([{ state: "current", leaf: { generation: 1 }, failure: null }]);
});

test("a pair that could not be taken over is so at once when a renewal is asked for, and no secret is", async () => {
  await using here = await hostWithSpec();
  const { world, wanted } = await worldOf(here);
  const order = { request: wanted.request, key: await generateKey("ec-p256") };
  const pair = { key: order.key, chain: (await here.issuer.issue(order, never)).chain };
  let isAway = true;
  const asked: string[] = [];
  const issuer: Issuer = {
    ...here.issuer,
    roots: async (signal) => {
      if (isAway) throw new AgentError("ISSUER_UNREACHABLE", "Cannot reach the CA");
      return await here.issuer.roots(signal);
    },
    issue: async (wished, signal) => {
      asked.push(wished.current === undefined ? "mint" : "renew");
      return await here.issuer.issue(wished, signal);
    },
  };
  const applier: Applier = {
    ...here.applier,
    observe: async (...args) => {
      const facts = [...(await here.applier.observe(...args))];
      return new Map(facts.map(([name, one]) => [name, { ...one, adoptable: one.deployed === null }] as const));
    },
    adopt: async () => pair,
  };
  const web = await manage({ ...world, applier, issuer: () => issuer }, wanted, null);
  await web.work(never);
  web.renew();
  await web.work(never);
  expect(web.view().observed.facts.failures.issue).toMatchObject({ code: "ISSUER_UNREACHABLE", attempts: 2 });

  isAway = false;
  web.renew();
  await web.work(never);

  expect(asked).toEqual(["renew"]);
  expect(web.view().observed).toMatchObject({
    generation: { number: 2 },
    wish: null,
    facts: { failures: { issue: null } },
  });
});

test("the root side hears of a streak once, whatever is tried before the next failure", async () => {
  await using host = await hostWithSpec();
  const specs: SpecFolder = {
    read: async (context) => {
      const read = await host.specs.read(context);
      const entry = read.specs.get("web");
      if (entry?.desired === undefined) throw new Error("there is such a spec");
      const desired = { ...entry.desired, hooks: { before: null, after: null, failed: ["/bin/true"] } };
      return { ...read, specs: new Map([["web", { ...entry, desired }]]) };
    },
  };
  const issue = () => Promise.reject(new AgentError("CREDENTIAL_MISSING", "Cannot get a certificate"));
  const told: string[] = [];
  const applier: Applier = {
    ...host.applier,
    observe: async (...args) => {
      const facts = [...(await host.applier.observe(...args))];
      return new Map(facts.map(([name, one]) => [name, { ...one, adoptable: true }] as const));
    },
    adopt: async () => undefined,
    failed: async (name) => void told.push(name),
  };
  const agent = await host.start({ specs, applier, createIssuer: () => ({ ...host.issuer, issue }) });

  await agent.once([], never);
  await agent.once([], never);

  expect(told).toEqual(["web"]);
});

test("a SIGHUP that comes after the renewals of another one asks for its own, though one in between still reads", async () => {
  await using host = await hostWithSpec();
  const readings: PromiseWithResolvers<void>[] = [];
  let isHeld = false;
  const specs: SpecFolder = {
    read: async (context) => {
      const reading = Promise.withResolvers<void>();
      readings.push(reading);
      if (isHeld) await reading.promise;
      return await host.specs.read(context);
    },
  };
  const agent = await host.start({ specs });
  await agent.once([], never);
  isHeld = true;
  const isReading = async (count: number) => await expect.poll(() => readings.length).toBe(count);

  const first = agent.reload();
  await isReading(2);
  const second = agent.reload();
  readings[1]?.resolve();
  await first;
  await isReading(3);
  await agent.once([], never);
  expect(agent.status([])).toMatchObject([{ leaf: { generation: 2 } }]);
  const third = agent.reload();
  readings[2]?.resolve();
  await second;
  await isReading(4);
  readings[3]?.resolve();
  await third;
  await agent.once([], never);

  expect(agent.status([])).toMatchObject([{ leaf: { generation: 3 } }]);
});

test("a file is kept for the spec that has deployed it, not for one that asked for it before that", async () => {
  await using host = await hostWithSpec();
  let owners: ReadonlyMap<string, string> = new Map();
  let wanted: Readonly<Record<string, readonly string[]>> = { web: ["/etc/web.crt", "/etc/moved.crt"] };
  const specs: SpecFolder = {
    read: async (context) => {
      owners = await context.owners(Object.keys(wanted));
      const read = await host.specs.read(context);
      const entry = read.specs.get("web");
      const [output, digest] = [entry?.desired?.outputs[0], JSON.stringify(wanted)];
      if (entry?.desired === undefined || output === undefined) throw new Error("there is such a spec");
      const { desired } = entry;
      const entryOf = ([name, paths]: readonly [string, readonly string[]]) =>
        [
          name,
          {
            ...entry,
            name,
            desired: { ...desired, name, digest, outputs: paths.map((path) => ({ ...output, path })) },
          },
        ] as const;
      return { ...read, specs: new Map(Object.entries(wanted).map(entryOf)) };
    },
  };
  const before = await host.start({ specs });
  await before.once([], never);

  wanted = { app: ["/etc/moved.crt"], web: ["/etc/web.crt"] };
  await before.reread();
  await before.once([], never);
  const after = await host.start({ specs });
  expect(owners.get("/etc/moved.crt")).toBe("app");
  await after.reread();

  expect(owners).toEqual(
    new Map([
      ["/etc/moved.crt", "app"],
      ["/etc/web.crt", "web"],
    ]),
  );
});

test("what was looked at for a spec that was edited meanwhile is not gone by: its services may be others", async () => {
  await using host = await hostWithSpec();
  const look = held();
  const steps: string[] = [];
  const applier: Applier = {
    ...host.applier,
    observe: async (asked, signal) => {
      steps.push(`look at ${asked[0]?.digest}`);
      const seen = await host.applier.observe(asked, signal);
      await look.hold();
      return seen;
    },
  };
  const issue: Issuer["issue"] = (...args) => (steps.push("issue"), host.issuer.issue(...args));
  const agent = await host.start({ applier, createIssuer: () => ({ ...host.issuer, issue }) });
  await using _running = runs(agent);
  await look.begun;

  host.specs.edit("comment");
  await agent.reread();
  look.goOn();

  await until(agent, "current");
  expect(steps.slice(0, 3)).toEqual(["look at version 0", "look at version 1", "issue"]);
});

/** Five specs of one CA that are renewed at one time, of which the last waits for its turn at the CA. */
async function oneWaits(host: Awaited<ReturnType<typeof hostWithSpec>>) {
  const names = ["a", "b", "c", "d", "e"];
  const scenario = { lifetime: DAY, rotate: false, lasts: 1, events: [] };
  const folder = specFolder(
    names.map((name) => ({ name, issuer: "good" })),
    scenario,
  );
  const removed = new Set<string>();
  const specs: SpecFolder = {
    read: async (context) => {
      const all = await folder.read(context);
      return { ...all, specs: new Map([...all.specs].filter(([name]) => !removed.has(name))) };
    },
  };
  const [begun, goOn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const orders: Order[] = [];
  let isHeld = false;
  const issue: Issuer["issue"] = async (order, signal) => {
    orders.push(order);
    if (isHeld && orders.length === 4) begun.resolve();
    if (isHeld) await goOn.promise;
    return await host.issuer.issue(order, signal);
  };
  const agent = await host.start({ specs, createIssuer: () => ({ ...host.issuer, issue }) });
  const stop = new AbortController();
  const running = agent.run(stop.signal, () => {});
  const untilAll = (state: string): Promise<void> =>
    expect.poll(() => agent.status([]).map((one) => one.state)).toEqual(agent.names().map(() => state));
  await untilAll("current");
  isHeld = true;
  orders.length = 0;
  const renewing = agent.renew(names, () => {}, stop.signal);
  await begun.promise;
  return {
    agent,
    folder,
    removed,
    renewing,
    orders,
    untilAll,
    goOn: () => {
      isHeld = false;
      goOn.resolve();
    },
    end: async () => {
      stop.abort();
      await Promise.all([running, renewing]);
    },
  };
}

test("a spec that is edited while it waits for its turn at the CA is not renewed for names that it has no more", async () => {
  await using host = await hostWithSpec();
  const waiting = await oneWaits(host);

  waiting.folder.edit("names");
  await waiting.agent.reread();
  waiting.goOn();

  await waiting.untilAll("current");
  const renewals = waiting.orders.filter(({ current }) => current !== undefined);
  expect(renewals.map(({ request }) => request.names.length)).toEqual([1, 1, 1, 1]);
  await waiting.end();
});

test("what is in force is renewed as it is for as long as a change of its spec cannot be had, and the change is not forgotten", async () => {
  await using here = await hostWithSpec();
  const { world, wanted } = await worldOf(here);
  const { time } = here;
  let isSecretThere = true;
  const issue: Issuer["issue"] = async (order, signal) => {
    if (order.current !== undefined || isSecretThere) return await here.issuer.issue(order, signal);
    throw new AgentError("CREDENTIAL_MISSING", "Cannot ask the CA: no secret is there");
  };
  const web = await manage({ ...world, issuer: () => ({ ...here.issuer, issue }) }, wanted, null);
  await web.work(never);
  isSecretThere = false;
  const request = {
    ...wanted.request,
    names: [{ type: "dns" as const, value: "new.internal" }, ...wanted.request.names],
  };
  web.update({ ...wanted, digest: "edited", request }, null);

  const begin = time.wall();
  for (let hour = 0; hour < 72; hour++) {
    await web.work(never);
    const { observed } = web.view();
    expect(observed.generation?.chainNotAfter).toBeGreaterThan(time.wall());
    expect(observed.generation?.request).toEqual(wanted.request);
    expect(observed.apply.deployed).toBe(observed.generation?.number);
    expect(observed.facts.failures.issue?.code).toBe("CREDENTIAL_MISSING");
    expect(observed.facts.failures.issue?.since).toBe(begin);
    time.pass(HOUR);
  }
  isSecretThere = true;
  await web.work(never);

  const { observed } = web.view();
  expect(observed.generation?.request).toEqual(request);
  expect(observed.facts.failures).toEqual({ issue: null, apply: null, prove: null });
});

/** A root side whose service refuses what it is told of while that holds: it goes back. */
function refusing(
  { applier, host }: Pick<Awaited<ReturnType<typeof hostWithSpec>>, "applier" | "host">,
  isRefused: () => boolean,
): Applier {
  return {
    ...applier,
    apply: async (...args) => {
      const site = host.site("web");
      const { deployed, onDisk, served } = site;
      const report = await applier.apply(...args);
      if (!isRefused()) return report;
      Object.assign(site, { deployed, onDisk, served });
      const failure = failureOf(new AgentError("RELOAD_FAILED", "Cannot reload: it needs a client's certificate"));
      return { ...report, deployed, files: "rolled-back", failure };
    },
  };
}

test("what is in force is renewed as it is for as long as a service refuses a change, which needs no secret again", async () => {
  await using here = await hostWithSpec();
  const { world, wanted } = await worldOf(here);
  const { time } = here;
  const request = { ...wanted.request, usages: ["server"] as const };
  let isRefusing = true;
  const applier = refusing(here, () => isRefusing && web.view().observed.generation?.request.usages.length === 1);
  const minted: CertificateRequest[] = [];
  const issue: Issuer["issue"] = async (order, signal) => {
    if (order.current === undefined) minted.push(order.request);
    return await here.issuer.issue(order, signal);
  };
  const web = await manage({ ...world, applier, issuer: () => ({ ...here.issuer, issue }) }, wanted, null);
  await web.work(never);
  web.update({ ...wanted, digest: "edited", request }, null);

  for (let hour = 0; hour < 72; hour++) {
    await web.work(never);
    const { observed } = web.view();
    expect(observed.deployed?.chainNotAfter).toBeGreaterThan(time.wall());
    expect(observed.deployed?.request).toEqual(wanted.request);
    expect(observed.facts.failures.apply?.code).toBe("RELOAD_FAILED");
    time.pass(HOUR);
  }
  isRefusing = false;
  await web.work(never);

  const { observed } = web.view();
  expect(observed.deployed?.request).toEqual(request);
  expect(observed.facts).toMatchObject({ failures: { issue: null, apply: null, prove: null }, refused: null });
  expect(minted).toEqual([wanted.request, request]);
});

test("a kill right after what is in force was renewed does not lose what a service has refused until then", async () => {
  await using here = await hostWithSpec();
  const { world, wanted } = await worldOf(here);
  const { time, layout } = here;
  const edited = { ...wanted, digest: "edited", request: { ...wanted.request, usages: ["server"] as const } };
  const applier = refusing(here, () => web.view().observed.generation?.request.usages.length === 1);
  const kill = new AbortController();
  let [refused, onDisk] = [0, ""];
  const info = (_: string, { because }: { because?: unknown } = {}): void => {
    const [, number] = /^a service refuses generation (\d+)/.exec(String(because)) ?? [];
    if (number === undefined) return;
    [refused, onDisk] = [Number(number), readFileSync(layout.agent.facts("web"), "utf8")];
    kill.abort();
  };
  const web = await manage({ ...world, applier, log: { ...world.log, info } }, wanted, null);
  await web.work(never);
  web.update(edited, null);
  for (let hour = 0; hour < 24 && !kill.signal.aborted; hour++) {
    await web.work(kill.signal);
    time.pass(HOUR);
  }
  await writeFile(layout.agent.facts("web"), onDisk);

  const after = await manage({ ...world, applier }, edited, null);
  await after.look(never);
  expect(after.view().observed).toMatchObject({
    generation: { request: wanted.request },
    refused: { number: refused },
  });
});

test("where what is in force cannot be renewed either, both are told; and a CA that is busy is not asked for the change, too", async () => {
  await using here = await hostWithSpec();
  const { world, wanted } = await worldOf(here);
  let fault: AgentError | undefined;
  const asked: string[] = [];
  const issue: Issuer["issue"] = async (order, signal) => {
    if (fault === undefined) return await here.issuer.issue(order, signal);
    asked.push(order.current === undefined ? "mint" : "renew");
    throw order.current === undefined ? new AgentError("CREDENTIAL_MISSING", "Cannot mint: no secret is there") : fault;
  };
  const web = await manage({ ...world, issuer: () => ({ ...here.issuer, issue }) }, wanted, null);
  await web.work(never);
  web.update({ ...wanted, digest: "edited", request: { ...wanted.request, usages: ["server"] } }, null);
  const rungs = "Cannot renew over mTLS: it expired; cannot renew by token: refused; cannot mint: no secret is there";
  fault = new AgentError("ISSUER_REJECTED", rungs, { hint: "is it there?" });
  await web.work(never);
  here.time.pass(16 * HOUR);
  await web.work(never);

  expect(web.view().observed.facts.failures.issue).toMatchObject({
    code: "CREDENTIAL_MISSING",
    message:
      "Cannot mint: no secret is there; nor renew what is in force: cannot renew over mTLS: it expired; cannot renew by token: refused",
    hint: "is it there?",
  });
  expect(asked).toEqual(["mint", "renew", "mint"]);

  const retryAt = here.time.wall() + 3 * HOUR;
  fault = new AgentError("ISSUER_BUSY", "Cannot renew: the CA is busy", { retryAt });
  here.time.pass(HOUR);
  await web.work(never);

  expect(web.view().observed.facts.failures.issue).toMatchObject({ code: "ISSUER_BUSY", tryAt: retryAt });
  expect(asked).toEqual(["mint", "renew", "mint", "renew"]);
});

test("what is in force is renewed as it is although a change that cannot be had is asked for more often than it is tried again", async () => {
  await using here = await hostWithSpec();
  const { world, wanted } = await worldOf(here);
  const asked: string[] = [];
  const issue: Issuer["issue"] = async (order, signal) => {
    asked.push(order.current === undefined ? "mint" : "renew");
    if (order.current === undefined && asked.length > 1)
      throw new AgentError("CREDENTIAL_MISSING", "Cannot mint: no secret is there");
    return await here.issuer.issue(order, signal);
  };
  const web = await manage({ ...world, issuer: () => ({ ...here.issuer, issue }) }, wanted, null);
  await web.work(never);
  web.update({ ...wanted, digest: "edited", request: { ...wanted.request, usages: ["server"] } }, null);
  await web.work(never);
  expect(asked).toEqual(["mint", "mint"]);

  for (let wishes = 0; wishes < 20 * 4; wishes += 1) {
    here.time.pass(15 * MINUTE);
    web.renew();
    await web.work(never);
  }

  expect(asked.filter((how) => how === "renew")).toHaveLength(1);
  expect(web.view().observed.apply.deployed).toBe(2);
  expect(web.view().observed.facts.failures.issue).toMatchObject({ code: "CREDENTIAL_MISSING" });
  // Each wish is one for the change, and is tried at once.
  expect(asked.filter((how) => how === "mint")).toHaveLength(2 + 20 * 4);
});

test("who asks for a change that cannot be had has what is in force renewed once, though it is to be renewed again at once", async () => {
  await using here = await hostWithSpec();
  const { world, wanted } = await worldOf(here);
  const early = { ...wanted, renewBefore: 30 * DAY };
  const behind = { ...here.time, truth: () => here.time.truth() - 10 * HOUR };
  const old = modelCa("good", { lifetime: DAY, rotate: false, lasts: 1, events: [] }, behind, await modelPki()).issuer;
  const asked: string[] = [];
  const issue: Issuer["issue"] = async (order, signal) => {
    asked.push(order.current === undefined ? "mint" : "renew");
    if (order.current === undefined && asked.length > 1)
      throw new AgentError("CREDENTIAL_MISSING", "Cannot mint: no secret is there");
    return await old.issue(order, signal);
  };
  const web = await manage({ ...world, issuer: () => ({ ...old, issue }) }, early, null);
  await web.work(never);
  web.update({ ...early, digest: "edited", request: { ...early.request, usages: ["server"] } }, null);
  await web.work(never);
  const before = asked.length;

  here.time.pass(SECOND);
  web.renew();
  await web.work(never);

  expect(asked.slice(before)).toEqual(["renew", "mint"]);
});

test("a spec that is removed while it waits for its turn at the CA is renewed no more, and who waits for that is told", async () => {
  await using host = await hostWithSpec();
  const waiting = await oneWaits(host);
  const asked = new Set(waiting.orders.map(({ request }) => request.subject));

  for (const name of ["a", "b", "c", "d", "e"]) waiting.removed.add(name);
  await waiting.agent.reread();
  waiting.goOn();
  const outcomes = await waiting.renewing;

  for (const outcome of outcomes)
    expect(outcome).toMatchObject({ ok: false, message: "its spec was removed meanwhile" });
  expect(new Set(waiting.orders.map(({ request }) => request.subject))).toEqual(asked);
  await waiting.end();
});

test("who waits for the renewal of a spec that is removed before it begins is told", async () => {
  await using host = await hostWithSpec();
  const specs: SpecFolder = {
    ...host.specs,
    read: async (...args) => ({ ...(await host.specs.read(...args)), ...there }),
  };
  let there = {};
  const agent = await host.start({ specs });
  const renewing = agent.renew(["web"], () => {}, never);

  there = { specs: new Map() };
  await agent.reread();

  expect(await renewing).toMatchObject([{ ok: false, message: "its spec was removed meanwhile" }]);
});

test("what fails at an issuer that was configured anew meanwhile holds up nothing either", async () => {
  await using host = await hostWithSpec(); // no back-off ever ends
  const issuance = held();
  let config: unknown = "at the wrong address";
  const specs: SpecFolder = {
    read: async (context) => {
      const all = await host.specs.read(context);
      return { ...all, host: all.host && { ...all.host, issuers: new Map([["good", config as IssuerConfig]]) } };
    },
  };
  const issue: Issuer["issue"] = async (...args) => {
    await issuance.hold();
    if (issuance.calls() === 1) throw new AgentError("ISSUER_UNREACHABLE", "Cannot reach the CA: no answer");
    return await host.issuer.issue(...args);
  };
  const agent = await host.start({ specs, createIssuer: () => ({ ...host.issuer, issue }) });
  await using _running = runs(agent);
  await issuance.begun;

  config = "at the right one";
  await agent.reread();
  issuance.goOn();

  await until(agent, "current");
});

test("a spec that is removed while it is looked at is not deployed after that, nor told of as failing", async () => {
  await using host = await hostWithSpec();
  const { applier } = host;
  await (await host.start()).once([], never);
  const [looking, look] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const told: string[] = [];
  let isRemoved = false;
  const agent = await host.start({
    warning: (message) => void told.push(message),
    applier: {
      ...applier,
      observe: async (...args) => (looking.resolve(), await look.promise, await applier.observe(...args)),
      apply: async () => {
        throw new AgentError("SPEC_INVALID", 'Cannot apply "web": no such spec is in force');
      },
    },
    specs: {
      read: async (context) => {
        const all = await host.specs.read(context);
        return isRemoved ? { ...all, specs: new Map() } : all;
      },
    },
  });
  host.host.site("web").drifted = true;
  const working = agent.once([], never);
  await looking.promise;

  isRemoved = true;
  await agent.reread();
  look.resolve();
  await working;

  expect(told).toEqual([]);
  expect((await readFacts(host.layout.agent.facts("web"))).failures.apply).toBeNull();
});
