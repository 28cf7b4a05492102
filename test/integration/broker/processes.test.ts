/** Two sides as two processes and two users: what happens to one of them is no harm to the other. */
import { spawn } from "node:child_process";
import { chmod, chown, readdir, readFile, readlink, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { beforeEach, expect, test } from "vitest";
import { nodeFlags } from "../../../scripts/pinned-node.mjs";
import { SECOND, systemClock } from "../../../src/base/time.ts";
import { layoutOf } from "../../../src/store/layout.ts";
import type { PathUnit } from "../../servers/path-unit.ts";
import { type Agent, bundled, certagent, startAgent, startCertagent } from "../../servers/program.ts";
import { WAYS } from "../../servers/ways.ts";
import { givePassword, makeScene, type Scene, specOf } from "./scene.ts";

const { agent: settings, user } = WAYS.apart;

interface Running extends AsyncDisposable {
  readonly scene: Scene;
  readonly agent: Agent;
  readonly unit: PathUnit;
}

/** The scene with its folders, both sides running. */
async function running(): Promise<Running> {
  const scene = await makeScene();
  const unit = await WAYS.apart.prepare(scene.home);
  const agent = await startAgent(scene.home, settings);
  return {
    scene,
    agent,
    unit,
    [Symbol.asyncDispose]: async () => {
      await agent[Symbol.asyncDispose]();
      await unit[Symbol.asyncDispose]();
      await scene[Symbol.asyncDispose]();
    },
  };
}

const isCurrent = (all: ReadonlyMap<string, { readonly state: string }>, name = "web"): boolean =>
  all.get(name)?.state === "current";

/** Renews what is current. Its reload has begun then, and ends when `hold` is removed. */
async function holdReload({ hold, reloading }: Scene, agent: Agent): Promise<void> {
  await agent.until("it is current", (all) => isCurrent(all));
  await writeFile(hold, "");
  await rm(reloading);
  agent.send("SIGHUP");
  await expect.poll(() => stat(reloading).catch(() => undefined)).toBeDefined();
}

test("a root side that is killed in the middle of a reload is asked again, and costs no issuance", async () => {
  await using host = await running();
  const { scene, agent, unit } = host;
  await holdReload(scene, agent);

  unit.serving()?.process.kill("SIGKILL");
  await rm(scene.hold);

  await agent.until("the agent answers meanwhile", (all) => all.get("web")?.state === "renewing" || isCurrent(all));
  await agent.until("it is current again", (all) => isCurrent(all) && all.get("web")?.leaf?.generation === 2);
  expect(scene.ca.requests.filter(({ path }) => path.endsWith("/renew"))).toHaveLength(1);
  expect(agent.journal().join("\n")).toMatch(/^<4>the root side ended before it answered.* request=apply@web hint=/m);
});

test("a root side that is told to end ends in time; the reload goes on, and is looked at by the next one", async () => {
  await using host = await running();
  const { scene, agent, unit } = host;
  await holdReload(scene, agent);
  const serving = unit.serving();
  const begin = systemClock.monotonic();

  serving?.process.kill("SIGTERM");

  expect(await serving?.ended).toMatchObject({ code: 0, signal: null });
  expect(systemClock.monotonic() - begin).toBeLessThan(10 * SECOND);
  await rm(scene.hold);
  await agent.until("it is current again", (all) => isCurrent(all) && all.get("web")?.leaf?.generation === 2);
});

test("a reload that hangs holds up its own spec, and no other is minted later for it", async () => {
  await using host = await running();
  const { scene, agent } = host;
  await agent.until("it is current", (all) => isCurrent(all));
  await writeFile(scene.hold, "");
  agent.send("SIGHUP");
  await agent.until("it is being renewed", (all) => all.get("web")?.leaf?.generation === 1 && !isCurrent(all));

  await givePassword(scene);
  await scene.home.write("other", specOf("other", scene.home, "/bin/true"));
  const all = await agent.until("the other is current", (now) => isCurrent(now, "other"));

  expect(isCurrent(all)).toBe(false);
  await rm(scene.hold);
  await agent.until("both are current", (now) => isCurrent(now) && isCurrent(now, "other"));
});

test("without a root side the operator is told what to look at; with one again all goes on", async () => {
  await using host = await running();
  const { agent, unit, scene } = host;
  await agent.until("it is current", (all) => isCurrent(all));
  await unit.stop();
  agent.send("SIGHUP");

  const all = await agent.until("it fails", (now) => now.get("web")?.failure?.code === "APPLY_UNREACHABLE");
  expect(all.get("web")?.failure?.hint).toContain("systemctl status certagent-apply.path");

  unit.start();
  await agent.until("it is current again", (now) => isCurrent(now) && now.get("web")?.leaf?.generation === 2);
  expect(scene.ca.requests.filter(({ path }) => path.endsWith("/renew"))).toHaveLength(1);
});

test("a folder of reports that the agent may not look into is opened to it by the next root side", async () => {
  await using host = await running();
  const { agent, scene } = host;
  await agent.until("it is current", (all) => isCurrent(all));
  await chmod(layoutOf(scene.home.state, scene.home.runtime).reports, 0);

  agent.send("SIGHUP");

  await agent.until("it is current again", (now) => isCurrent(now) && now.get("web")?.leaf?.generation === 2);
});

test("an agent that is killed while root reloads for it goes on where it was", async () => {
  const scene = await makeScene();
  await using unit = await WAYS.apart.prepare(scene.home);
  const first = await startAgent(scene.home, settings);
  await holdReload(scene, first);

  await first.stop("SIGKILL");
  await using second = await startAgent(scene.home, settings);
  await rm(scene.hold);

  await second.until("it is current", (all) => isCurrent(all) && all.get("web")?.leaf?.generation === 2);
  expect(scene.ca.requests.filter(({ path }) => path.endsWith("/renew"))).toHaveLength(1);
  await second.stop();
  await unit[Symbol.asyncDispose]();
  await scene[Symbol.asyncDispose]();
});

let scene: Scene;
beforeEach(async (context) => {
  scene = await makeScene();
  context.onTestFinished(() => scene[Symbol.asyncDispose]());
});

/** Everything below a folder that belongs to another user than this one. */
async function notOf(folder: string, uid: number): Promise<readonly string[]> {
  const entries = await readdir(folder, { recursive: true });
  const all = await Promise.all(entries.map(async (entry) => ({ entry, stat: await stat(join(folder, entry)) })));
  return all.filter((one) => one.stat.uid !== uid).map(({ entry }) => entry);
}

async function prepared(): Promise<void> {
  const unit = await WAYS.apart.prepare(scene.home);
  await unit[Symbol.asyncDispose]();
}

test("once, by root on the agent's state, does the agent's half as the agent", async () => {
  await prepared();

  const { code, stdout, stderr } = await certagent(scene.home, "once");

  expect({ code, stdout }, stderr).toEqual({ code: 0, stdout: expect.stringContaining("current") });
  const { agent, apply, requests } = layoutOf(scene.home.state, scene.home.runtime);
  expect(await notOf(agent.folder, user)).toEqual([]);
  expect(await notOf(apply.folder, 0)).toEqual([]);
  expect((await stat(scene.files.key)).uid).toBe(0);
  expect(await readdir(requests)).toEqual([]);
  await expect(stat(join(scene.home.folder, "secret", "password"))).rejects.toThrow("ENOENT");
  expect((await certagent(scene.home, "once", "wbe")).code).toBe(2);
  expect((await certagent(scene.home, "status")).code).toBe(0);
});

test("a root that is pinned by its fingerprint is found where the agent keeps it, and nothing else is kept there", async () => {
  await prepared();
  const { fingerprint } = scene.ca.root;
  const token = { file: join(scene.home.folder, "secret", "token") };
  await writeFile(token.file, await scene.ca.token("web.internal"), { mode: 0o600 });
  await chown(token.file, user, user);
  const provisioner = { type: "jwk", name: scene.ca.provisioner.name, token };
  const internal = { type: "step-ca", url: scene.ca.url, root: { fingerprint }, provisioner };
  await scene.home.configure({ issuers: { internal }, default_issuer: "internal" });

  const { code, stderr } = await certagent(scene.home, "once");

  expect(code, stderr).toBe(0);
  const { agent } = layoutOf(scene.home.state, scene.home.runtime);
  expect(await readdir(agent.roots)).toEqual([`root-${fingerprint}.pem`]);
  expect(await readdir(agent.spent)).toHaveLength(1);
  expect(await notOf(agent.folder, user)).toEqual([]);
});

/** The open streams of the processes that belong to the agent's user and have to do with this home. */
async function streamsOfAgent({ folder }: Scene["home"]): Promise<readonly string[]> {
  const streams: string[] = [];
  for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
    const owner = await stat(`/proc/${pid}`).catch(() => undefined);
    const words = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    if (owner?.uid !== user || !words.includes(folder)) continue;
    for (const descriptor of [0, 1, 2]) streams.push(await readlink(`/proc/${pid}/fd/${descriptor}`));
  }
  return streams;
}

test("once at root's terminal shows what the agent's half tells, in colour, and that half has no hold of the terminal", async () => {
  await prepared();
  await writeFile(scene.hold, "");
  const argv = [process.execPath, ...nodeFlags("once"), await bundled(), "once", ...scene.home.options];
  const terminal = spawn("script", ["-qec", argv.join(" "), "/dev/null"], {
    stdio: ["pipe", "pipe", "inherit"],
    env: { PATH: "/usr/bin:/bin", TERM: "xterm" },
  });
  const screen = text(terminal.stdout);
  await expect.poll(() => stat(scene.reloading).catch(() => undefined)).toBeDefined();

  const streams = await streamsOfAgent(scene.home);
  await rm(scene.hold);

  expect(streams).toEqual(["/dev/null", expect.stringMatching(/^socket:/), expect.stringMatching(/^socket:/)]);
  const lines = (await screen).split("\r\n");
  expect(lines).toContainEqual(expect.stringMatching(/^web +\x1b\[32mcurrent\x1b\[0m /));
  expect(lines).toContainEqual(
    expect.stringMatching(/^\x1b\[2m\S+Z\x1b\[0m \x1b\[32minfo +\x1b\[0m issued \x1b\[2mcert/),
  );
});

test("once ends with an error where root's half cannot serve, and does not leave the agent's half waiting", async () => {
  await prepared();
  const { reports } = layoutOf(scene.home.state, scene.home.runtime);
  await writeFile(reports, "");

  const { code, stderr } = await certagent(scene.home, "once");

  expect(code).toBe(1);
  expect(stderr).toContain(`"${reports}"`);
});

test("a hundred specs are served at one time within the memory that both sides have", async () => {
  await prepared();
  for (let number = 1; number < 100; number += 1) {
    await scene.home.write(`more-${number}`, specOf(`more-${number}`, scene.home, "/bin/true"));
  }

  const { code, stdout, stderr } = await certagent(scene.home, "once", "--log-level", "warning");

  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout.match(/^(web|more-\d+) +current /gm)).toHaveLength(100);
});

test("apply by hand deploys what the agent has issued, says what it did, and repairs", async () => {
  await prepared();
  expect(await certagent(scene.home, "apply", "web")).toMatchObject({
    code: 1,
    stdout: expect.stringContaining("no certificate was issued for it yet"),
  });
  await certagent(scene.home, "once");
  await rm(scene.files.key);

  const { code, stdout } = await certagent(scene.home, "apply", "web");

  expect({ code, stdout }).toEqual({
    code: 0,
    stdout: expect.stringMatching(/^web: written, generation 1\n {2}checked the service\n {2}wrote /),
  });
  expect(await readFile(scene.files.key, "utf8")).toContain("PRIVATE KEY");
  expect(await certagent(scene.home, "apply", "web")).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/^web: unchanged, generation 1\n/),
  });
});

test("apply by hand says of an edit, and of a configuration, that is not in force that it is not", async () => {
  await prepared();
  await certagent(scene.home, "once");
  const spec = specOf("web", scene.home, "/bin/true");
  await scene.home.write("web", `${spec}\nnames: [web.test]\n`);
  await scene.home.write("new", "subject: new.test\n");
  await writeFile(scene.home.config, "issuers: {}\n");

  const web = await certagent(scene.home, "apply", "web", "web");

  expect(web).toMatchObject({
    code: 1,
    stdout: expect.stringMatching(
      /^web: unchanged, generation 1, from the last good version\n(.*\n)*.*web\.yaml:\d+:1: unknown key "names"\n/,
    ),
    stderr: expect.stringMatching(/^<4>configuration problem .*certagent\.yaml:1:10: issuers must not be empty/),
  });
  expect(web.stdout.match(/^web:/gm)).toHaveLength(1);
  expect(await certagent(scene.home, "apply", "new")).toMatchObject({
    code: 1,
    stdout: expect.stringMatching(/^new: failed\n {2}.*new\.yaml:1:1: outputs is missing\n/),
  });
});

test("apply by hand wants the configuration and the folder of specs to be there", async () => {
  await prepared();
  await certagent(scene.home, "once");

  for (const [option, path] of [
    ["--specs", "/nowhere/specs"],
    ["--config", "/nowhere/certagent.yaml"],
  ] as const) {
    const { code, stderr } = await certagent({ options: [...scene.home.options, option, path] }, "apply", "web");
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringContaining(`"${path}"`) });
  }
});

test("apply by hand that is stopped in the middle of a reload says so", async () => {
  await prepared();
  await certagent(scene.home, "once");
  await writeFile(scene.hold, "");
  await rm(scene.reloading);
  const { process: child, ended } = await startCertagent(["apply", "web", ...scene.home.options]);
  await expect.poll(() => stat(scene.reloading).catch(() => undefined)).toBeDefined();

  child.kill("SIGINT");
  const { code, stderr } = await ended;
  await rm(scene.hold);

  expect({ code, stderr }).toEqual({
    code: 1,
    stderr: "<4>stopped while work was under way; the next start looks at it certificates=web\n",
  });
});

test("apply is used wrongly without a name, with too much, and with a name that there is not", async () => {
  await prepared();
  for (const words of [[], ["web", "--requests"], ["--requests", "--recover"], ["wbe"]]) {
    const { code, stderr } = await certagent(scene.home, "apply", ...words);
    expect({ words, code }).toEqual({ words, code: 2 });
    expect(stderr).toMatch(/^certagent: .*\ncertagent: hint: .*\n/);
  }
});

test("two that serve at one time are one after the other, and the one that finds nothing left ends well", async () => {
  await prepared();
  const { requests, reports } = layoutOf(scene.home.state, scene.home.runtime);
  await certagent(scene.home, "once");
  await writeFile(join(requests, "observe"), "ab");
  const { uid, gid } = await stat(requests);
  await chown(join(requests, "observe"), uid, gid);
  const argv = ["apply", "--requests", ...scene.home.options];

  const both = await Promise.all([startCertagent(argv), startCertagent(argv)]);
  const outcomes = await Promise.all(both.map(({ ended }) => ended));

  expect(outcomes.map(({ code, stderr }) => [code, stderr])).toEqual([
    [0, ""],
    [0, ""],
  ]);
  expect(JSON.parse(await readFile(join(reports, "observe.json"), "utf8"))).toMatchObject({
    token: "ab",
    result: { isWhole: true, specs: [{ name: "web", generation: 1, facts: { deployed: 1 } }] },
  });
});

test("recovery tells no service, and needs nothing but the state", async () => {
  await prepared();
  await certagent(scene.home, "once");
  await rm(scene.reloading);

  expect(await certagent(scene.home, "apply", "--recover")).toMatchObject({ code: 0, stdout: "", stderr: "" });

  await expect(stat(scene.reloading)).rejects.toThrow("ENOENT");
});

test("recovery that leaves a change open fails, and says which and what to do", async () => {
  await prepared();
  await certagent(scene.home, "once");
  const { apply } = layoutOf(scene.home.state, scene.home.runtime);
  const file = { path: scene.files.key, temporary: ".certagent-gone", sha256: "0".repeat(64), owner: 0 };
  await writeFile(join(apply.intents, "gone.json"), JSON.stringify({ schema: 1, generation: 1, files: [file] }));

  const { code, stderr } = await certagent(scene.home, "apply", "--recover");

  expect({ code, stderr }).toEqual({
    code: 1,
    stderr: expect.stringMatching(
      /^<3>a change that was cut off stays open certificate=gone hint=.*certagent apply gone/,
    ),
  });
  expect(await readdir(apply.intents)).toEqual(["gone.json"]);
});
