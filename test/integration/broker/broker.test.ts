/** The agent's way to a root side that is another process, over real files. */
import { existsSync, renameSync, unlinkSync } from "node:fs";
import { mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openBroker } from "../../../src/agent/broker.ts";
import type { RecoveringApplier } from "../../../src/apply/applier.ts";
import { AgentError } from "../../../src/base/errors.ts";
import { pause, SECOND, systemClock } from "../../../src/base/time.ts";
import { ALIVE, showAlive } from "../../../src/store/alive.ts";
import { writeReport } from "../../../src/store/reports.ts";
import { ASKED, NAME, never, output, pairAt, shellService } from "../apply/harness.ts";
import { hasty, hastyBy, reportOf, silent, twoSides } from "./harness.ts";

/** A root side that is asked as the real one is, and counts. */
function counted(applier: RecoveringApplier, change: Partial<RecoveringApplier> = {}) {
  const calls = { look: 0, apply: 0 };
  const counting: RecoveringApplier = {
    ...applier,
    ...change,
    look: async (...args) => {
      calls.look += 1;
      return await (change.look ?? applier.look)(...args);
    },
    apply: async (...args) => {
      calls.apply += 1;
      return await (change.apply ?? applier.apply)(...args);
    },
  };
  return { calls, applier: counting };
}

test("what is applied over files is deployed as in one process, and how things stand after it is known without asking", async () => {
  await using sides = await twoSides();
  const { host, remote } = sides;
  const { calls, applier } = counted(await host.open());
  sides.serving({ applier });
  const { number } = await host.issue();

  const before = (await remote.observe([{ ...ASKED, generation: number }], never)).get(NAME);
  expect(before).toMatchObject({ deployed: null, outputs: [{ state: "missing" }, { state: "missing" }] });
  const report = await remote.apply(NAME, never);

  expect(report).toMatchObject({ deployed: number, files: "written", failure: null });
  expect(pairAt(host)).toMatchObject({ key: expect.any(String) });
  const seen = calls.look;
  const after = (await remote.observe([{ ...ASKED, generation: number }], never)).get(NAME);
  expect(after).toMatchObject({ deployed: number, outputs: [{ state: "current" }, { state: "current" }] });
  expect(calls.look).toBe(seen);
});

test("a hundred that look at one time ask once, and each spec is looked at once", async () => {
  await using sides = await twoSides();
  const { host, remote } = sides;
  const real = await host.open();
  const seen = await real.look(NAME, never);
  // In no time: what takes more than a second is looked at again.
  const { calls, applier } = counted(real, { look: async () => seen });
  sides.serving({ applier });

  const all = await Promise.all(Array.from({ length: 100 }, () => remote.observe([ASKED], never)));

  expect(all.every((facts) => facts.has(NAME))).toBe(true);
  expect(calls.look).toBeLessThanOrEqual(2);
});

test("a spec that is not in force has no facts, and cannot be applied", async () => {
  await using sides = await twoSides();
  sides.serving();

  expect((await sides.remote.observe([{ ...ASKED, name: "other" }], never)).size).toBe(0);
  await expect(sides.remote.apply("other", never)).rejects.toMatchObject({ code: "SPEC_INVALID" });
});

test.each([
  { host: "127.0.0.1", port: 99_999 },
  { host: "127.0.0.1", port: 5432.5 },
  { host: "--help", port: 5432 },
])("a service whose own configuration says that it listens at %j keeps no fact from the agent", async (address) => {
  const probe = { address, starttls: "tls", serverName: null, timeout: SECOND } as const;
  await using sides = await twoSides({ services: [shellService({ defaultProbe: async () => probe })] });
  sides.serving();

  const facts = (await sides.remote.observe([ASKED], never)).get(NAME);

  expect(facts?.services).toMatchObject([{ type: "shell", probe: null }]);
});

test("a pair that stands there comes to the agent, and its report does not stay", async () => {
  await using sides = await twoSides();
  const { host, remote } = sides;
  const leaf = await host.pki.issue({ names: ["web.internal"] });
  await writeFile(host.path("web.crt"), leaf.pem);
  await writeFile(host.path("web.key"), leaf.key.toPem(), { mode: 0o600 });
  const serving = sides.serving();

  const adopted = await remote.adopt(NAME, never);

  expect(adopted?.key.keyId).toBe(leaf.key.keyId);
  expect(adopted?.chain[0].fingerprint).toBe(leaf.leaf.fingerprint);
  expect((await stat(reportOf(sides, `adopt@${NAME}`))).mode & 0o777).toBe(0o400);
  await serving.stop();
  expect((await readdir(host.layout.reports)).filter((name) => name.startsWith("adopt"))).toEqual([]);
});

test("failures of the root side arrive with their code and hint", async () => {
  await using sides = await twoSides({ outputs: [output("key", "/nowhere/deep/deeper/web.key")] });
  sides.serving();
  await sides.host.issue();

  const report = await sides.remote.apply(NAME, never);

  expect(report.failure).toMatchObject({ code: "DEPLOY_FAILED", hint: expect.stringContaining("mkdir") });
});

test("a hook that hangs holds up its own apply, and nobody's looks", async () => {
  await using sides = await twoSides();
  const { host, remote } = sides;
  await host.issue();
  const hanging = Promise.withResolvers<never>();
  const { applier } = counted(await host.open(), { apply: () => hanging.promise });
  sides.serving({ applier });

  const applying = remote.apply(NAME, never).catch((error: unknown) => error);
  expect((await remote.observe([ASKED], never)).has(NAME)).toBe(true);
  expect((await remote.observe([{ ...ASKED, afresh: true }], never)).has(NAME)).toBe(true);

  hanging.reject(new AgentError("HOOK_FAILED", "Cannot go on"));
  expect(await applying).toMatchObject({ code: "HOOK_FAILED" });
});

test("a spec that cannot be looked at holds up its own facts alone, and gets them when it can", async () => {
  await using sides = await twoSides({ services: [shellService({})] });
  const { host, remote } = sides;
  const slow = Promise.withResolvers<void>();
  const real = await host.open();
  const { applier } = counted(real, {
    specs: async () => [NAME, "slow"],
    look: async (name, signal) => {
      if (name === "slow") await slow.promise;
      return await real.look(NAME, signal);
    },
  });
  sides.serving({ applier });

  const slowFacts = remote.observe([{ ...ASKED, name: "slow" }], never);
  expect((await remote.observe([ASKED], never)).has(NAME)).toBe(true);
  expect((await remote.observe([{ ...ASKED, afresh: true }], never)).has(NAME)).toBe(true);

  slow.resolve();
  expect((await slowFacts).has("slow")).toBe(true);
});

test("a spec that is looked at slowly each time, on a busy host, gets its facts all the same", async () => {
  await using sides = await twoSides();
  const { host, remote } = sides;
  const real = await host.open();
  const { calls, applier } = counted(real, {
    look: async (...args) => {
      if (calls.look > 9) throw new Error("it is looked at again and again");
      await pause(1.5 * SECOND);
      return await real.look(...args);
    },
  });
  sides.serving({ applier });

  expect((await remote.observe([ASKED], never)).has(NAME)).toBe(true);
});

test("of a look that does not end who asks is told that it hangs, and waits no longer", async () => {
  await using sides = await twoSides();
  const { requests, reports } = sides.host.layout;
  await mkdir(reports, { recursive: true });
  const over = new AbortController();
  const asked = new Set<string>();
  /** A root side whose looks have not ended when it answers. */
  const serving = (async () => {
    while (!over.signal.aborted) {
      for (const name of (await readdir(requests)).filter((one) => !one.startsWith("."))) {
        asked.add(name);
        const token = await readFile(join(requests, name), "utf8");
        await writeReport(join(reports, `${name}.json`), { token, result: { specs: [], isWhole: false } }, 1, {
          mode: 0o400,
        });
        await rm(join(requests, name));
      }
      await pause(10);
    }
  })();

  await using _serving = { [Symbol.asyncDispose]: () => (over.abort(), serving) };

  const looking = sides.remote.observe([ASKED], never);

  await expect(looking).rejects.toMatchObject({ code: "DEPLOY_FAILED", message: expect.stringContaining(NAME) });
  expect([...asked]).toEqual(["observe", `look@${NAME}`]);
});

test("what was seen of a spec before it was applied, and is told after that, is not believed", async () => {
  await using sides = await twoSides();
  const { host, remote } = sides;
  const { number } = await host.issue();
  const asked = { ...ASKED, generation: number };
  const [slow, seen] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const real = await host.open();
  const { applier } = counted(real, {
    specs: async () => [NAME, "slow"],
    look: async (name, signal) => {
      if (name === "slow") await slow.promise;
      const found = await real.look(NAME, signal);
      seen.resolve();
      return found;
    },
  });
  sides.serving({ applier });

  const looking = remote.observe([{ ...asked, afresh: true }], never);
  await seen.promise;
  await remote.apply(NAME, never);
  slow.resolve();
  await looking;

  expect((await remote.observe([asked], never)).get(NAME)).toMatchObject({ deployed: number });
});

test("a look that failed fails for its spec, with the reason", async () => {
  await using sides = await twoSides();
  const { applier } = counted(await sides.host.open(), {
    look: () => Promise.reject(new AgentError("STATE_UNUSABLE", "Cannot read it")),
  });
  sides.serving({ applier });

  await expect(sides.remote.observe([ASKED], never)).rejects.toMatchObject({ code: "STATE_UNUSABLE" });
});

test("nobody who serves is an error with what to look at, and the request stays for who comes", async () => {
  await using sides = await twoSides({}, hasty);
  const { host, remote } = sides;

  await expect(remote.apply(NAME, never)).rejects.toMatchObject({
    code: "APPLY_UNREACHABLE",
    hint: expect.stringContaining("systemctl status certagent-apply.path"),
  });

  expect(await readdir(host.layout.requests)).toEqual([`apply@${NAME}`]);
});

test("once it is known that nobody serves, who asks next is told sooner; who serves again is given time", async () => {
  let [looks, now, step] = [0, 0, 10 * SECOND];
  const look = (): number => {
    looks += 1;
    now += step;
    return now;
  };
  const clock = { ...systemClock, monotonic: look };
  await using sides = await twoSides({}, clock);
  const { host, remote } = sides;
  const { number } = await host.issue();
  const looksOf = async (): Promise<number> => {
    const before = looks;
    await expect(remote.apply(NAME, never)).rejects.toMatchObject({ code: "APPLY_UNREACHABLE" });
    return looks - before;
  };

  const [first, second] = [await looksOf(), await looksOf()];
  step = 0;
  const serving = sides.serving();
  expect(await remote.apply(NAME, never)).toMatchObject({ deployed: number });
  await serving.stop();
  step = 10 * SECOND;
  const third = await looksOf();

  expect(second).toBeLessThan(first);
  expect(third).toBe(first);
});

test("a root side that was too slow to take a request, and took it then, is given time for the next", async () => {
  let looks = 0;
  const look = (): number => {
    looks += 1;
    return looks * 10 * SECOND;
  };
  const clock = { ...systemClock, monotonic: look };
  await using sides = await twoSides({}, clock);
  const { host, remote } = sides;
  const looksOf = async (): Promise<number> => {
    const before = looks;
    await expect(remote.apply(NAME, never)).rejects.toMatchObject({ code: "APPLY_UNREACHABLE" });
    return looks - before;
  };
  const [inTime, soon] = [await looksOf(), await looksOf()];

  await rm(join(host.layout.requests, `apply@${NAME}`));

  expect(await looksOf()).toBe(inTime);
  expect(soon).toBeLessThan(inTime);
});

test("no folder for requests is an error that says so", async () => {
  await using sides = await twoSides();
  await rm(sides.host.layout.requests, { recursive: true });

  await expect(sides.remote.apply(NAME, never)).rejects.toMatchObject({
    code: "APPLY_UNREACHABLE",
    message: expect.stringContaining("there is no folder"),
  });
});

test("a root side that took a request and is gone is asked again at once, and that is told", async () => {
  await using sides = await twoSides();
  const { host, remote } = sides;
  const { number } = await host.issue();
  await mkdir(host.layout.reports, { recursive: true });
  const killed = await showAlive(host.layout.reports, { mode: 0o400 });
  const applying = remote.apply(NAME, never);
  await expect.poll(() => readdir(host.layout.requests)).toEqual([`apply@${NAME}`]);
  await rm(`${host.layout.requests}/apply@${NAME}`);
  await killed[Symbol.asyncDispose]();

  await expect.poll(() => readdir(host.layout.requests)).toEqual([`apply@${NAME}`]);
  sides.serving();

  expect(await applying).toMatchObject({ deployed: number, failure: null });
  expect(sides.told).toEqual(["the root side ended before it answered, and is asked again"]);
});

test("a root side that took a request and was gone before anybody looked is not mistaken for the next one", async () => {
  let next = "";
  const clock = {
    ...systemClock,
    // Between the asking and the first look.
    monotonic: () => {
      const request = `${host.layout.requests}/apply@${NAME}`;
      if (existsSync(next) && existsSync(request)) {
        unlinkSync(request);
        renameSync(next, `${host.layout.reports}/${ALIVE}`);
      }
      return systemClock.monotonic();
    },
  };
  await using sides = await twoSides({}, clock);
  const { host, remote } = sides;
  const { number } = await host.issue();
  const elsewhere = host.path("elsewhere");
  for (const folder of [host.layout.reports, elsewhere]) await mkdir(folder, { recursive: true });
  await using _first = await showAlive(host.layout.reports, { mode: 0o400 });
  await using _second = await showAlive(elsewhere, { mode: 0o400 });
  next = `${elsewhere}/${ALIVE}`;
  const applying = remote.apply(NAME, never);

  await expect.poll(() => sides.told).toEqual(["the root side ended before it answered, and is asked again"]);
  sides.serving();

  expect(await applying).toMatchObject({ deployed: number, failure: null });
});

test("a root side that ends each time before it answers is a failure with where to look, and not asked for ever", async () => {
  await using sides = await twoSides();
  const { layout } = sides.host;
  await mkdir(layout.reports, { recursive: true });
  let taken = 0;
  let isOver = false;
  const applying = sides.remote.apply(NAME, never).finally(() => {
    isOver = true;
  });
  const ending = (async () => {
    while (!isOver) {
      const alive = await showAlive(layout.reports, { mode: 0o400 });
      // As the real one, it does not stay for ever where nobody asks.
      for (let looks = 0; looks < 50 && !isOver && (await readdir(layout.requests)).length === 0; looks++) {
        await pause(20);
      }
      const took = rm(`${layout.requests}/apply@${NAME}`).then(
        () => 1,
        () => 0,
      );
      taken += await took;
      await alive[Symbol.asyncDispose]();
    }
  })();

  await expect(applying).rejects.toMatchObject({
    code: "APPLY_UNREACHABLE",
    message: expect.stringContaining("ends before it answers"),
    hint: expect.stringContaining("journalctl -u certagent-apply"),
  });
  await ending;
  expect(taken).toBeGreaterThan(2);
});

test("a root side that took a request and ends without an answer is known to be gone, another one being there or not", async () => {
  await using sides = await twoSides();
  const { host, remote } = sides;
  const { number } = await host.issue();
  const real = await host.open();
  const taken = Promise.withResolvers<void>();
  const { applier } = counted(real, {
    apply: async (_, signal) => {
      taken.resolve();
      return await new Promise((_resolve, reject) =>
        signal.addEventListener("abort", () => reject(new Error("stopped"))),
      );
    },
  });
  const first = sides.serving({ applier });
  const applying = remote.apply(NAME, never);
  await taken.promise;

  const second = sides.serving({ applier: real });
  await first.stop();

  expect(await applying).toMatchObject({ deployed: number, failure: null });
  expect(sides.told).toHaveLength(1);
  await second.stop();
});

test("a root side that takes long to come to a request, for others came before it, is not taken for one that takes nothing", async () => {
  await using sides = await twoSides({}, hastyBy(10)); // who serves then has three seconds to begin
  const { host, remote } = sides;
  const { number } = await host.issue();
  await mkdir(host.layout.reports, { recursive: true });
  const alive = await showAlive(host.layout.reports, { mode: 0o400 });

  const applying = remote.apply(NAME, never);
  await pause(4 * SECOND); // for the agent's clock more than half a minute
  await alive[Symbol.asyncDispose]();
  sides.serving();

  expect(await applying).toMatchObject({ deployed: number, failure: null });
});

test("a root side that works for long is not taken for one that is gone", async () => {
  await using sides = await twoSides({}, hasty);
  const { host, remote } = sides;
  await host.issue();
  const real = await host.open();
  const { calls, applier } = counted(real, {
    apply: async (...args) => {
      await pause(4 * SECOND); // for the agent's clock more than three minutes
      return await real.apply(...args);
    },
  });
  sides.serving({ applier });

  expect(await remote.apply(NAME, never)).toMatchObject({ failure: null });
  expect([calls.apply, sides.told]).toEqual([1, []]);
});

test("a report that got lost, and one of another asking, are no answers", async () => {
  await using sides = await twoSides({}, hasty);
  const { host, remote } = sides;
  const { number } = await host.issue();
  const serving = sides.serving();
  await remote.apply(NAME, never);
  const old = await readFile(reportOf(sides, `apply@${NAME}`), "utf8");
  await serving.stop();
  const applying = remote.apply(NAME, never);
  await expect.poll(() => readdir(host.layout.requests)).toEqual([`apply@${NAME}`]);
  await rm(`${host.layout.requests}/apply@${NAME}`);
  await rm(reportOf(sides, `apply@${NAME}`));
  await writeFile(reportOf(sides, `apply@${NAME}`), old);

  sides.serving();

  expect(await applying).toMatchObject({ deployed: number, files: "unchanged", failure: null });
});

test("what an older root side left, in words that nobody understands, does not disturb", async () => {
  await using sides = await twoSides();
  const { host, remote } = sides;
  await host.issue();
  const serving = sides.serving();
  await remote.apply(NAME, never);
  await serving.stop();
  await rm(reportOf(sides, `apply@${NAME}`));
  await writeFile(reportOf(sides, `apply@${NAME}`), "from another time");
  sides.serving();

  expect(await remote.apply(NAME, never)).toMatchObject({ failure: null });
});

test("who stops waiting takes the request back, and others wait on", async () => {
  await using sides = await twoSides();
  const { host, remote } = sides;
  const stop = new AbortController();
  const stopped = remote.apply(NAME, stop.signal);
  const looking = remote.observe([ASKED], stop.signal);
  const waiting = remote.observe([ASKED], never);
  await expect.poll(() => readdir(host.layout.requests)).toHaveLength(2);

  stop.abort();
  const outcomes = await Promise.allSettled([stopped, looking]);
  expect(outcomes.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  expect(await readdir(host.layout.requests)).toEqual(["observe"]);

  sides.serving();
  expect((await waiting).has(NAME)).toBe(true);
});

test("an agent that starts again clears away what the one before had asked", async () => {
  await using sides = await twoSides();
  const { host, remote } = sides;
  for (const name of ["apply@web", "observe", ".certagent-0123456789abcdef"]) {
    await writeFile(`${host.layout.requests}/${name}`, "ab");
  }

  await remote.recover();

  expect(await readdir(host.layout.requests)).toEqual([]);
});

test("an agent that starts again while its request is served asks again, and gets the answer to its own", async () => {
  await using sides = await twoSides();
  const { host } = sides;
  const { number } = await host.issue();
  const real = await host.open();
  const [entered, go] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const { calls, applier } = counted(real, {
    apply: async (...args) => {
      entered.resolve();
      await go.promise;
      return await real.apply(...args);
    },
  });
  sides.serving({ applier });
  void sides.remote.apply(NAME, never).catch(() => {});
  await entered.promise;

  const second = openBroker(host.layout, systemClock, silent);
  await second.recover();
  const applying = second.apply(NAME, never);
  await expect.poll(() => readdir(host.layout.requests)).toEqual([]);
  go.resolve();

  expect(await applying).toMatchObject({ deployed: number, files: "unchanged" });
  expect(calls.apply).toBe(2);
});

test("requests that come while others are served are served too, and then it ends by itself", async () => {
  await using sides = await twoSides();
  const { host, remote } = sides;
  await host.issue();
  const serving = sides.serving({ linger: 5 * SECOND });
  for (let round = 0; round < 5; round += 1) {
    await remote.apply(NAME, never);
    await pause(SECOND / 5);
  }

  await serving.ended;

  expect(await readdir(host.layout.requests)).toEqual([]);
});

test("who asks about a spec that is in force does not have all of them read again", async () => {
  await using sides = await twoSides();
  const { host, remote } = sides;
  let reads = 0;
  const applier = await host.open(undefined, { onRead: () => void (reads += 1), specIsCurrent: async () => true });
  sides.serving({ applier });
  await host.issue();
  await remote.apply(NAME, never);
  const before = reads;

  for (let round = 0; round < 5; round += 1) await remote.apply(NAME, never);

  expect(reads).toBe(before);
});

test("the answers of an earlier process are gone, so that made up names do not add up", async () => {
  await using sides = await twoSides();
  const { host, remote } = sides;
  for (const name of ["apply@made-up-1.json", "adopt@web.json", ".certagent-0123456789abcdef"]) {
    await mkdir(host.layout.reports, { recursive: true });
    await writeFile(`${host.layout.reports}/${name}`, "{}");
  }
  sides.serving();

  await remote.observe([ASKED], never);

  expect((await readdir(host.layout.reports)).toSorted()).toEqual(["alive", "observe.json"]);
});

test("ten thousand requests for specs that do not exist cost a handful of answers", async () => {
  await using sides = await twoSides();
  const { host, remote } = sides;
  for (let index = 0; index < 10_000; index += 1) await writeFile(`${host.layout.requests}/apply@no-${index}`, "ab");
  await writeFile(`${host.layout.requests}/junk`, "ab");
  const before = process.cpuUsage();
  sides.serving();

  expect((await remote.observe([ASKED], never)).has(NAME)).toBe(true);
  await expect.poll(() => readdir(host.layout.requests)).toEqual([]);

  const { user, system } = process.cpuUsage(before);
  expect((user + system) / 1e6, "seconds of processor time").toBeLessThan(20);
  expect((await readdir(host.layout.reports)).length).toBeLessThan(100);
});

test("of three hundred requests that are made at one time few are just being written, as many would pass for junk", async () => {
  await using sides = await twoSides();
  const { host, remote } = sides;
  const over = new AbortController();

  const asking = Array.from({ length: 300 }, (_, index) =>
    remote.apply(`h${index}`, over.signal).catch(() => undefined),
  );
  let most = 0;
  for (let whole = 0; whole < asking.length; ) {
    const names = await readdir(host.layout.requests);
    const unfinished = names.filter((name) => name.startsWith(".")).length;
    most = Math.max(most, unfinished);
    whole = names.length - unfinished;
  }
  over.abort();
  await Promise.all(asking);

  expect(most).toBeLessThanOrEqual(16);
});
