import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { chmod, readdir, readlink, rm, stat, symlink, truncate, utimes, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { expect, test } from "vitest";
import { nodeFiles } from "../../../src/base/atomic-file.ts";
import { connect } from "../../../src/base/connect.ts";
import { AgentError } from "../../../src/base/errors.ts";
import { type Clock, HOUR, MINUTE, SECOND, systemClock } from "../../../src/base/time.ts";
import type { Liveness, Service } from "../../../src/core/ports.ts";
import { targetAt } from "../../../src/services/recipe.ts";
import { openGenerations } from "../../../src/store/generations.ts";
import { earliestExpiry } from "../../../src/x509/chain.ts";
import { freePort, listens, startDaemon } from "../../servers/daemon.ts";
import { serviceOf } from "../../servers/service.ts";
import { ASKED, makeHost, NAME, never, output, pairAt, shellService, type TestHost, text } from "./harness.ts";

/** A deployed and reloaded generation, and a service whose commands leave a trace. */
async function served(
  change: Parameters<typeof shellService>[0] = {},
  more: readonly Service[] = [],
): Promise<TestHost> {
  const host = await makeHost({}, { fast: true });
  const service = shellService({ ...traced(host), ...change, reloadBy: `echo reload >> ${host.folder}/trace` });
  host.desired = { ...host.desired, services: [service, ...more] };
  await host.issue();
  const report = await (await host.open()).apply(NAME, never);
  expect(report.failure).toBeNull();
  await writeFile(`${host.folder}/trace`, "");
  host.desired = { ...host.desired, services: [shellService({ ...traced(host), ...change }), ...more] };
  return host;
}

const traced = ({ folder }: TestHost) => ({
  preflightBy: `echo preflight >> ${folder}/trace; test ! -e ${folder}/broken`,
  reloadBy: `echo reload >> ${folder}/trace`,
  aliveBy: `test ! -e ${folder}/down`,
});

const trace = async (host: TestHost): Promise<string[]> => (await text(`${host.folder}/trace`)).trim().split("\n");

test("a renewal checks before, deploys, checks after, and reloads", async () => {
  await using host = await served();
  await host.issue();

  const report = await (await host.open()).apply(NAME, never);

  expect(report).toMatchObject({ deployed: 2, files: "written", failure: null });
  expect(report.services).toEqual([{ type: "shell", outcome: "reloaded", failure: null, note: null }]);
  expect(await trace(host)).toEqual(["preflight", "preflight", "reload"]);
});

test("the first issue has nothing to check before", async () => {
  await using host = await makeHost({}, { fast: true });
  host.desired = { ...host.desired, services: [shellService(traced(host))] };
  await host.issue();

  await (await host.open()).apply(NAME, never);

  expect(await trace(host)).toEqual(["preflight", "reload"]);
});

test("a configuration that was broken before: files are deployed, the reload waits, its words are told", async () => {
  await using host = await served();
  const { chain } = await host.issue();
  await writeFile(`${host.folder}/broken`, "");

  const report = await (await host.open()).apply(NAME, never);

  expect(report).toMatchObject({ deployed: 2, files: "written", failure: null });
  expect(report.services[0]).toMatchObject({ outcome: "broken-before", failure: { code: "RELOAD_FAILED" } });
  expect(pairAt(host)).toMatchObject({ leaf: chain[0].fingerprint });
  expect(await trace(host)).not.toContain("reload");
});

test("once what was broken before is mended, the waiting reload is run", async () => {
  await using host = await served();
  await host.issue();
  await writeFile(`${host.folder}/broken`, "");
  const applier = await host.open();
  await applier.apply(NAME, never);
  await applier.apply(NAME, never);
  await rm(`${host.folder}/broken`);

  const report = await applier.apply(NAME, never);

  expect(report).toMatchObject({ deployed: 2, files: "unchanged" });
  expect(report.services[0]).toMatchObject({ outcome: "reloaded" });
});

test("fine before and broken by the new files: back to the old pair, as fresh files, without a reload", async () => {
  await using host = await served();
  const old = pairAt(host);
  await utimes(host.path("web.crt"), 1, 1);
  const newer = await host.issue();
  const line = newer.chain[0].pem.split("\n").at(-3);
  const refusing = shellService({ ...traced(host), preflightBy: `! grep -qF '${line}' ${host.path("web.crt")}` });
  host.desired = { ...host.desired, services: [refusing] };

  const report = await (await host.open()).apply(NAME, never);

  expect(report).toMatchObject({ deployed: 1, files: "rolled-back", failure: { code: "RELOAD_FAILED" } });
  expect(report.failure?.message).toContain("went back to generation 1");
  expect(pairAt(host)).toEqual(old);
  expect((await stat(host.path("web.crt"))).mtimeMs).toBeGreaterThan(1_000_000);
  expect(await trace(host)).not.toContain("reload");
});

test("a reload that fails: back to the old pair, and reloaded again", async () => {
  await using host = await served();
  const old = pairAt(host);
  const { chain } = await host.issue();
  const line = chain[0].pem.split("\n").at(-3);
  const refusing = `echo reload >> ${host.folder}/trace; ! grep -qF '${line}' ${host.path("web.crt")}`;
  host.desired = { ...host.desired, services: [shellService({ ...traced(host), reloadBy: refusing })] };
  const applier = await host.open();

  const report = await applier.apply(NAME, never);
  const facts = (await applier.observe([ASKED], never)).get(NAME);

  expect(report).toMatchObject({ deployed: 1, files: "rolled-back", failure: { code: "RELOAD_FAILED" } });
  expect(report.services[0]).toMatchObject({ outcome: "failed", note: "went back to generation 1" });
  expect(pairAt(host)).toEqual(old);
  expect((await trace(host)).filter((line) => line === "reload")).toHaveLength(2);
  expect(facts).toMatchObject({ deployed: 1, services: [{ reloaded: { generation: 2 } }] });
});

test("a mode that somebody else gave a file of certagent's is not gone back to", async () => {
  await using host = await served();
  const old = pairAt(host);
  await chmod(host.path("web.key"), 0o666);
  await host.issue();
  host.desired = { ...host.desired, services: [shellService({ ...traced(host), reloadBy: "false" })] };

  const report = await (await host.open()).apply(NAME, never);

  expect(report).toMatchObject({ deployed: 1, files: "rolled-back" });
  expect(pairAt(host)).toEqual(old);
  expect((await stat(host.path("web.key"))).mode & 0o777).toBe(0o600);
});

test.each([
  ["the key", "gone", (path: string) => rm(path)],
  ["the key", "torn", (path: string) => truncate(path, 100)],
  ["the certificate", "gone", (path: string) => rm(path)],
  ["the certificate", "torn", (path: string) => truncate(path, 100)],
])("the old pair comes back whole although %s was %s when it was renewed", async (which, _, spoil) => {
  await using host = await served();
  const old = pairAt(host);
  await spoil(host.path(which === "the key" ? "web.key" : "web.crt"));
  await host.issue();
  host.desired = { ...host.desired, services: [shellService({ ...traced(host), reloadBy: "false" })] };

  const report = await (await host.open()).apply(NAME, never);

  expect(report).toMatchObject({ deployed: 1, files: "rolled-back", failure: { code: "RELOAD_FAILED" } });
  expect(pairAt(host)).toEqual(old);
});

test.each([
  ["gone", (path: string) => rm(path)],
  ["torn", (path: string) => truncate(path, 100)],
])("a certificate that was %s stays put right, though the service refuses its reload", async (_, spoil) => {
  await using host = await served();
  const old = pairAt(host);
  await spoil(host.path("web.crt"));
  host.desired = { ...host.desired, services: [shellService({ ...traced(host), reloadBy: "false" })] };

  const report = await (await host.open()).apply(NAME, never);

  expect(report).toMatchObject({ deployed: 1, failure: { code: "RELOAD_FAILED" } });
  expect(pairAt(host)).toEqual(old);
});

test.each(["", "another key"])(
  "where paths have changed, and something stood at one of the new ones (%j), the old pair is gone back to",
  async (found) => {
    await using host = await served();
    const old = pairAt(host);
    await host.issue();
    const [crt, key] = [host.path("new.crt"), host.path("new.key")];
    const foreign = generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" });
    await writeFile(key, found === "" ? "" : foreign, { mode: 0o600 });
    const refusing = shellService({ ...traced(host), reloadBy: "false" });
    const outputs = [output("fullchain", crt), output("key", key)];
    host.desired = { ...host.desired, services: [refusing], outputs };

    const report = await (await host.open()).apply(NAME, never);

    expect(report).toMatchObject({ deployed: 1, files: "rolled-back" });
    expect(pairAt({ path: (file) => host.path(file.replace("web", "new")) })).toEqual(old);
  },
);

test("where paths have changed with the generation, the old pair is gone back to at the new ones", async () => {
  await using host = await served();
  const old = pairAt(host);
  const outputs = host.desired.outputs.map((one) => ({ ...one, path: one.path.replace("/tls/web", "/tls/new/web") }));
  host.desired = {
    ...host.desired,
    digest: "2",
    outputs,
    services: [shellService({ ...traced(host), reloadBy: "false" })],
  };
  await host.issue();

  const report = await (await host.open()).apply(NAME, never);

  expect(report).toMatchObject({ deployed: 1, files: "rolled-back", failure: { code: "RELOAD_FAILED" } });
  expect(pairAt({ path: (file) => host.path(`new/${file}`) })).toEqual(old);
  expect(pairAt(host)).toEqual(old);
});

test("a service that ran before and is down after its reload: back to the old pair", async () => {
  await using host = await served();
  const old = pairAt(host);
  await host.issue();
  const dying = `echo reload >> ${host.folder}/trace; touch ${host.folder}/down`;
  host.desired = { ...host.desired, services: [shellService({ ...traced(host), reloadBy: dying, timeout: 300 })] };

  const report = await (await host.open()).apply(NAME, never);

  expect(report).toMatchObject({ deployed: 1, files: "rolled-back" });
  expect(report.failure?.message).toContain("it ran before and is down after it");
  expect(pairAt(host)).toEqual(old);
});

/** What its service dies of was applied. */
async function diedOfNewFiles(host: TestHost) {
  const dying = shellService({ ...traced(host), reloadBy: `touch ${host.folder}/down`, timeout: 300 });
  host.desired = { ...host.desired, services: [dying] };
  const applier = await host.open();
  await applier.apply(NAME, never);
  return applier;
}

test("a service that died of new files is not given them while it is down, and is once it runs again", async () => {
  await using host = await served();
  const old = pairAt(host);
  await host.issue();
  const applier = await diedOfNewFiles(host);

  const held = await applier.apply(NAME, never);
  const inTheMeantime = pairAt(host);
  host.desired = { ...host.desired, services: [shellService(traced(host))] };
  await rm(`${host.folder}/down`);
  const taken = await applier.apply(NAME, never);

  expect(held).toMatchObject({ deployed: 1, files: "unchanged", failure: { code: "SERVICE_DOWN" } });
  expect(held.failure?.message).toContain("the pair of before stays in place");
  expect(inTheMeantime).toEqual(old);
  expect(taken).toMatchObject({ deployed: 2, files: "written", failure: null });
});

test("a service that died of new files gets newer ones while it is down", async () => {
  await using host = await served();
  await host.issue();
  const applier = await diedOfNewFiles(host);
  await host.issue();

  const report = await applier.apply(NAME, never);

  expect(report).toMatchObject({ deployed: 3, files: "written", failure: null, services: [{ outcome: "down" }] });
});

test.each(["files", "link"] as const)(
  "a service that died of new files finds the pair of before whatever becomes of that meanwhile, layout %s",
  async (layout) => {
    await using host = await served();
    host.desired = { ...host.desired, layout };
    await (await host.open()).apply(NAME, never);
    const old = pairAt(host);
    await host.issue();
    const applier = await diedOfNewFiles(host);
    await rm(host.path("web.key"));
    await rm(host.path("web.crt"));
    await writeFile(host.path("web.crt"), "spoilt");

    const held = await applier.apply(NAME, never);

    expect(held).toMatchObject({ deployed: 1, files: "written", failure: { code: "SERVICE_DOWN" } });
    expect(held.repaired.toSorted()).toEqual([host.path("web.crt"), host.path("web.key")]);
    expect(pairAt(host)).toEqual(old);
    expect(await applier.apply(NAME, never)).toMatchObject({ files: "unchanged", failure: { code: "SERVICE_DOWN" } });
  },
);

test("a service that an operator stops before it is told: its files stay, and it is not started", async () => {
  await using host = await served();
  const { chain } = await host.issue();
  const down = `${host.folder}/down`;
  const service = shellService(traced(host));
  const reload: Service["reload"] = async () => {
    await writeFile(down, "");
    throw new AgentError("SERVICE_DOWN", "Cannot reload web: it is inactive (dead)");
  };
  host.desired = { ...host.desired, services: [{ ...service, reload }] };
  const applier = await host.open();

  const stopped = await applier.apply(NAME, never);
  await rm(down);
  host.desired = { ...host.desired, services: [service] };
  const started = await applier.apply(NAME, never);

  expect(stopped).toMatchObject({ deployed: 2, files: "written", failure: null, services: [{ outcome: "down" }] });
  expect(pairAt(host)).toMatchObject({ leaf: chain[0].fingerprint });
  expect(started).toMatchObject({ deployed: 2, files: "unchanged", services: [{ outcome: "reloaded" }] });
});

test("a service that is down a moment after its reload command has ended: back to the old pair", async () => {
  const port = await freePort();
  await using server = await startDaemon([process.execPath, "--eval", dyingOfHup(port)], () => listens({ port }));
  await using host = await served();
  const old = pairAt(host);
  await host.issue();
  const liveness = async () => ((await listens({ port })) ? "up" : "down") as Liveness;
  const told = serviceOf({ type: "command", reload: ["/bin/sh", "-c", `kill -HUP ${server.pid}`], timeout: "1s" });
  host.desired = { ...host.desired, services: [{ ...told, liveness }] };

  const report = await (await host.open()).apply(NAME, never);

  expect(report).toMatchObject({ deployed: 1, files: "rolled-back" });
  expect(report.failure?.message).toContain("it ran before and is down after it");
  expect(pairAt(host)).toEqual(old);
});

/** A clock whose sleeps are over at once, and count all the same; `onSleep` hears how much was slept so far. */
function swiftClock(onSleep: (slept: number) => Promise<void> = async () => {}): Clock & { slept(): number } {
  let slept = 0;
  const now = (): number => systemClock.now() + slept;
  return {
    now,
    monotonic: () => systemClock.monotonic() + slept,
    sleepUntil: async (instant) => {
      slept += Math.max(0, instant - now());
      await onSleep(slept);
    },
    slept: () => slept,
  };
}

test("where no unit tells, a service that takes its time after a restart is waited for, as long as its timeout says", async () => {
  const port = await freePort();
  await using host = await served();
  await host.issue();
  const server = createServer();
  const listen = async (): Promise<void> => void (await once(server.listen(port, "127.0.0.1"), "listening"));
  await listen();
  let back = Number.POSITIVE_INFINITY;
  const clock = swiftClock(async (slept) => {
    if (slept >= back && !server.listening) await listen();
  });
  const reload = async (): Promise<undefined> => {
    await new Promise((resolve) => server.close(resolve));
    back = clock.slept() + 6 * SECOND;
  };
  const liveness = async (): Promise<Liveness> => "unknown";
  const probe = targetAt({ host: "127.0.0.1", port });
  host.desired = { ...host.desired, services: [shellService({ liveness, reload, probe, timeout: MINUTE })] };

  const report = await (await host.open(undefined, { clock, connect })).apply(NAME, never);

  expect(report).toMatchObject({ deployed: 2, failure: null, services: [{ outcome: "reloaded" }] });
  expect(clock.slept()).toBeGreaterThanOrEqual(6 * SECOND);
  server.close();
});

test("a unit that its reload has ended is not waited for as long as its timeout says", async () => {
  await using host = await served();
  const old = pairAt(host);
  await host.issue();
  let isUp = true;
  const liveness = async (): Promise<Liveness> => (isUp ? "up" : "down");
  const reload = async (): Promise<undefined> => void (isUp = false);
  host.desired = { ...host.desired, services: [shellService({ liveness, reload, timeout: HOUR })] };

  const clock = swiftClock();
  const applier = await host.open(undefined, { clock });

  expect(await applier.apply(NAME, never)).toMatchObject({ deployed: 1, files: "rolled-back" });
  expect(pairAt(host)).toEqual(old);
  expect(clock.slept()).toBeLessThan(MINUTE);
});

/** A server that ends a tenth of a second after the signal. */
function dyingOfHup(port: number): string {
  return `require("net").createServer().listen(${port}, "127.0.0.1"); process.on("SIGHUP", () => setTimeout(process.exit, 100));`;
}

test("the first issue whose reload fails keeps its files", async () => {
  await using host = await makeHost({}, { fast: true });
  host.desired = { ...host.desired, services: [shellService({ reloadBy: "echo no; false" })] };
  const { chain } = await host.issue();

  const report = await (await host.open()).apply(NAME, never);

  expect(report).toMatchObject({ deployed: 1, files: "written", failure: { code: "RELOAD_FAILED" } });
  expect(pairAt(host)).toMatchObject({ leaf: chain[0].fingerprint });
});

test("a foreign pair comes back where the first reload fails", async () => {
  await using host = await makeHost({}, { fast: true });
  const foreign = await host.pki.issue({ names: ["other.internal"] });
  await writeFile(host.path("web.crt"), foreign.pem, { mode: 0o640 });
  await writeFile(host.path("web.key"), foreign.key.toPem(), { mode: 0o640 });
  await chmod(host.path("web.key"), 0o640);
  host.desired = { ...host.desired, services: [shellService({ reloadBy: "false" })] };
  await host.issue();

  const report = await (await host.open()).apply(NAME, never);

  expect(report).toMatchObject({ deployed: null, files: "rolled-back" });
  expect(pairAt(host)).toMatchObject({ leaf: foreign.leaf.fingerprint });
  expect((await stat(host.path("web.key"))).mode & 0o777).toBe(0o640);
});

test("others' links that are gone back to are others' still, and what is written there again is no repair", async () => {
  await using host = await makeHost({}, { fast: true });
  const foreign = await host.pki.issue({ names: ["other.internal"] });
  const archive = (file: string): string => join(host.folder, file);
  await writeFile(archive("web.crt"), foreign.pem);
  await writeFile(archive("web.key"), foreign.key.toPem(), { mode: 0o600 });
  for (const file of ["web.crt", "web.key"]) await symlink(archive(file), host.path(file));
  host.desired = { ...host.desired, services: [shellService({ reloadBy: "false" })] };
  await host.issue();
  const applier = await host.open();
  await applier.apply(NAME, never);

  const facts = (await applier.observe([ASKED], never)).get(NAME);
  const report = await applier.apply(NAME, never);

  expect(await readlink(host.path("web.key"))).toBe(archive("web.key"));
  expect(facts).toMatchObject({ deployed: null, outputs: [{ state: "foreign" }, { state: "foreign" }] });
  expect(report).toMatchObject({ files: "rolled-back", repaired: [] });
});

test("a service that is down gets its files and no commands; when it runs, it is reloaded", async () => {
  await using host = await served();
  await host.issue();
  await writeFile(`${host.folder}/down`, "");
  const applier = await host.open();

  const placed = await applier.apply(NAME, never);
  const commands = await trace(host);
  await rm(`${host.folder}/down`);
  const taken = await applier.apply(NAME, never);

  expect(placed).toMatchObject({ deployed: 2, files: "written", failure: null, services: [{ outcome: "down" }] });
  expect(commands).toEqual([""]);
  expect(taken).toMatchObject({ files: "unchanged", services: [{ outcome: "reloaded" }] });
});

test("outside its maintenance window a service waits, with its files in place", async () => {
  const closed = { at: (now: number) => ({ open: false, nextOpensAt: now + 3_600_000 }) };
  await using host = await served({ window: closed });
  const old = await openGenerations(host.layout.agent.generations(NAME)).read(1);
  const { chain } = await host.issue();
  const applier = await host.open();

  const report = await applier.apply(NAME, never);
  const facts = (await applier.observe([ASKED], never)).get(NAME);

  expect(facts?.services).toMatchObject([{ servedUntil: earliestExpiry(old.chain) }]);
  expect(report).toMatchObject({ deployed: 2, failure: null, services: [{ outcome: "waits" }] });
  expect(pairAt(host)).toMatchObject({ leaf: chain[0].fingerprint });
  expect(await trace(host)).not.toContain("reload");
});

test("a window that opens too late for the old certificate is not waited for", async () => {
  const closed = { at: (now: number) => ({ open: false, nextOpensAt: now + 365 * 86_400_000 }) };
  await using host = await served({ window: closed });
  await host.issue();

  const report = await (await host.open()).apply(NAME, never);

  expect(report.services[0]).toMatchObject({ outcome: "reloaded" });
});

test("killed after the files and before the reload: the next start goes back where the service refuses", async () => {
  await using host = await served();
  const old = pairAt(host);
  await host.issue();
  const hanging = shellService({ ...traced(host) });
  const { promise: reached, resolve } = Promise.withResolvers<void>();
  host.desired = {
    ...host.desired,
    services: [{ ...hanging, reload: () => (resolve(), new Promise<never>(() => {})) }],
  };
  void (await host.open()).apply(NAME, never);
  await reached;
  const failing = shellService({ ...traced(host), reloadBy: `echo reload >> ${host.folder}/trace; false` });
  host.desired = { ...host.desired, services: [failing] };

  const report = await (await host.open()).apply(NAME, never);

  expect(report).toMatchObject({ deployed: 1, files: "rolled-back" });
  expect(pairAt(host)).toEqual(old);
});

test("asked again with all well, an apply reloads once more: the old leaf may still be served", async () => {
  await using host = await served();

  const report = await (await host.open()).apply(NAME, never);

  expect(report.services[0]).toMatchObject({ outcome: "reloaded" });
  expect(await trace(host)).toEqual(["preflight", "reload"]);
});

test("of two services the one that is to take the files again is told, and neither the other nor one that is down", async () => {
  await using host = await makeHost({}, { fast: true });
  const told = (word: string): Service =>
    shellService({ type: word, key: word, reloadBy: `echo ${word} >> ${host.folder}/trace` });
  const down = shellService({ type: "down", key: "down", aliveBy: "false" });
  host.desired = { ...host.desired, services: [told("well"), down, told("stale")] };
  await host.issue();
  const applier = await host.open();
  await applier.apply(NAME, never);
  await writeFile(`${host.folder}/trace`, "");

  const report = await applier.apply(NAME, never, [2]);

  expect(report.services.map(({ outcome }) => outcome)).toEqual(["unchanged", "down", "reloaded"]);
  expect(await trace(host)).toEqual(["stale"]);
});

test("with two services, a second that fails takes the first back with it", async () => {
  await using host = await served();
  const { chain } = await host.issue();
  const line = chain[0].pem.split("\n").at(-3);
  const first = shellService({
    ...traced(host),
    type: "first",
    key: "1",
    reloadBy: `echo first >> ${host.folder}/trace`,
  });
  const second = shellService({ type: "second", key: "2", reloadBy: `! grep -qF '${line}' ${host.path("web.crt")}` });
  host.desired = { ...host.desired, services: [first, second] };

  const report = await (await host.open()).apply(NAME, never);

  expect(report.services.map(({ type, outcome }) => [type, outcome])).toEqual([
    ["first", "unchanged"],
    ["second", "failed"],
  ]);
  expect((await trace(host)).filter((entry) => entry === "first")).toHaveLength(2);
});

test("a service that a spec names twice, for two addresses, is reloaded once, and once more where that is taken back", async () => {
  await using host = await served();
  const { chain } = await host.issue();
  const line = chain[0].pem.split("\n").at(-3);
  const twin = shellService({ key: "twin", reloadBy: `echo twin >> ${host.folder}/trace` });
  const last = shellService({ type: "last", key: "last" });
  host.desired = { ...host.desired, services: [twin, twin, last] };
  const applier = await host.open();

  const report = await applier.apply(NAME, never);

  expect(report.services.map(({ outcome }) => outcome)).toEqual(["reloaded", "reloaded", "reloaded"]);
  expect(await trace(host)).toEqual(["twin"]);

  await host.issue();
  const refusing = shellService({
    type: "last",
    key: "last",
    reloadBy: `grep -qF '${line}' ${host.path("web.crt")}`,
  });
  host.desired = { ...host.desired, services: [twin, twin, refusing] };
  await writeFile(`${host.folder}/trace`, "");

  expect(await applier.apply(NAME, never)).toMatchObject({ files: "rolled-back" });
  expect(await trace(host)).toEqual(["twin", "twin"]);
});

test("of one service at two addresses, of which one was down before, neither is taken for the other", async () => {
  await using host = await makeHost({}, { fast: true });
  const at = (aliveBy: string): Service =>
    shellService({ key: "twin", aliveBy, timeout: 300, reloadBy: `echo reload >> ${host.folder}/trace` });
  host.desired = { ...host.desired, services: [at("false"), at("true")] };
  await host.issue();
  const applier = await host.open();
  await applier.apply(NAME, never);
  await host.issue();

  const there = await applier.apply(NAME, never);
  host.desired = { ...host.desired, services: host.desired.services.toReversed() };
  await host.issue();
  const andBack = await applier.apply(NAME, never);

  expect([there, andBack].map(({ deployed }) => deployed)).toEqual([2, 3]);
  expect(there.services.map(({ outcome }) => outcome)).toEqual(["down", "reloaded"]);
  expect(andBack.services.map(({ outcome }) => outcome)).toEqual(["reloaded", "down"]);
  expect(await trace(host)).toEqual(["reload", "reload", "reload"]);
  const facts = (await applier.observe([ASKED], never)).get(NAME);
  expect(facts?.services.map(({ reloaded }) => reloaded?.generation)).toEqual([3, 3]);
});

test("of two services of one type each is told of what going back came to for itself", async () => {
  await using host = await served();
  const { chain } = await host.issue();
  const line = chain[0].pem.split("\n").at(-3);
  const first = shellService({ key: "first" });
  const second = shellService({ key: "second", reloadBy: `grep -qF '${line}' ${host.path("web.crt")}; false` });
  host.desired = { ...host.desired, services: [first, second] };

  const report = await (await host.open()).apply(NAME, never);

  expect(report.services.map(({ note }) => note)).toEqual([
    "went back to generation 1",
    expect.stringContaining("did not help"),
  ]);
});

test("hooks: before and after once a change, failed once a streak", async () => {
  await using host = await makeHost({}, { fast: true });
  const hook = (word: string) => ["/bin/sh", "-c", `echo ${word} $CERTAGENT_NAME >> ${host.folder}/trace`];
  host.desired = { ...host.desired, hooks: { before: hook("before"), after: hook("after"), failed: hook("failed") } };
  await host.issue();
  const applier = await host.open();
  await applier.apply(NAME, never);
  await applier.apply(NAME, never);
  expect(await trace(host)).toEqual(["before web", "after web"]);

  host.desired = { ...host.desired, services: [shellService({ reloadBy: "false" })] };
  await applier.apply(NAME, never);
  await applier.apply(NAME, never);

  expect((await trace(host)).filter((line) => line === "failed web")).toHaveLength(1);
});

test("the failed hook is told once of a streak in which no certificate could be had, and again of the next", async () => {
  await using host = await makeHost({}, { fast: true });
  const failed = ["/bin/sh", "-c", `echo $CERTAGENT_NAME >> ${host.folder}/trace`];
  host.desired = { ...host.desired, hooks: { before: null, after: null, failed } };
  const applier = await host.open();

  await applier.failed(NAME, never);
  await applier.failed(NAME, never);
  await host.issue();
  await applier.apply(NAME, never);
  await applier.failed(NAME, never);

  expect(await trace(host)).toEqual([NAME, NAME]);
});

test("the failed hook is told of a streak in which no certificate could be had though the one before ended by itself", async () => {
  await using host = await makeHost({}, { fast: true });
  const failed = ["/bin/sh", "-c", `echo $CERTAGENT_NAME >> ${host.folder}/trace`];
  host.desired = { ...host.desired, hooks: { before: null, after: null, failed } };
  await host.issue();
  const applier = await host.open();
  await applier.apply(NAME, never);
  await applier.failed(NAME, never); // of a renewal that was asked for by hand, and lost in a restart

  await (await host.open()).failed(NAME, never);

  expect(await trace(host)).toEqual([NAME, NAME]);
});

test("a failure that cannot be kept is told as that, not as one of a hook that was not run", async () => {
  await using host = await makeHost({}, { fast: true });
  await host.issue();
  const full = () => Promise.reject(Object.assign(new Error("full"), { code: "ENOSPC" }));

  const { failure } = await (await host.open({ ...nodeFiles, write: full })).apply(NAME, never);

  expect(failure?.code).toBe("DEPLOY_FAILED");
  expect(host.log.filter((line) => line.includes("cannot keep state"))).toHaveLength(1);
  expect(host.log.filter((line) => line.includes("hook"))).toEqual([]);
});

test("what another program writes while the before hook runs is kept, and gone back to", async () => {
  await using host = await makeHost({}, { fast: true });
  const foreign = await host.pki.issue({ names: ["other.internal"] });
  const [crt, key] = [host.path("web.crt"), host.path("web.key")];
  await writeFile(`${host.folder}/new.crt`, foreign.pem);
  await writeFile(`${host.folder}/new.key`, foreign.key.toPem(), { mode: 0o600 });
  const script = `cp ${host.folder}/new.crt ${crt} && cp -p ${host.folder}/new.key ${key}`;
  host.desired = {
    ...host.desired,
    hooks: { ...host.desired.hooks, before: ["/bin/sh", "-c", script] },
    services: [shellService({ reloadBy: "false" })],
  };
  await host.issue();

  const report = await (await host.open()).apply(NAME, never);

  expect(report).toMatchObject({ deployed: null, files: "rolled-back" });
  expect(report.actions.filter((action) => action.startsWith("kept "))).toHaveLength(2);
  expect(pairAt(host)).toMatchObject({ leaf: foreign.leaf.fingerprint });
});

test("a before hook that fails stops the change untouched", async () => {
  await using host = await makeHost({}, { fast: true });
  host.desired = { ...host.desired, hooks: { before: ["/bin/false"], after: null, failed: null } };
  await host.issue();

  const report = await (await host.open()).apply(NAME, never);

  expect(report).toMatchObject({ deployed: null, files: "unchanged", failure: { code: "HOOK_FAILED" } });
  expect(report.failure?.message).toMatch(/"before" hook \["\/bin\/false"\]: it exited with 1 and printed nothing$/);
  expect(await readdir(host.tls)).toEqual([]);
});

test("an abort ends the waiting for a reload, and rolls nothing back", async () => {
  await using host = await served();
  const { chain } = await host.issue();
  const stop = new AbortController();
  const slow = shellService(traced(host));
  const reload: Service["reload"] = async (_system, _context, signal) => {
    stop.abort();
    signal.throwIfAborted();
    return undefined;
  };
  host.desired = { ...host.desired, services: [{ ...slow, reload }] };

  await expect((await host.open()).apply(NAME, stop.signal)).rejects.toThrow();

  expect(pairAt(host)).toMatchObject({ leaf: chain[0].fingerprint });
});
