/** What stands in the state folder and is not what certagent put there. */
import { execFile } from "node:child_process";
import { chmod, mkdir, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { DAY } from "../../../src/base/time.ts";
import { type DevCa, startDevCa } from "../../../src/devca/devca.ts";
import { type Layout, layoutOf } from "../../../src/store/layout.ts";
import { certagent, type Home, makeHome, startAgent } from "../../servers/program.ts";
import { WAYS } from "../../servers/ways.ts";
import { isCurrent } from "../walk/look.ts";

const execute = promisify(execFile);

let ca: DevCa;

beforeAll(async () => {
  ca = await startDevCa({ policy: { longest: DAY } });
});
afterAll(() => ca.stop());

/** A home with a spec, which the CA's key is open to all for. */
async function makeScene(): Promise<{ readonly home: Home; readonly layout: Layout }> {
  const home = await makeHome();
  await writeFile(join(home.folder, "root"), ca.root.pem);
  await writeFile(join(home.folder, "jwk"), ca.provisioner.jwk, { mode: 0o644 });
  const provisioner = { type: "jwk", name: ca.provisioner.name, key: { file: join(home.folder, "jwk") } };
  const internal = { type: "step-ca", url: ca.url, root: { file: join(home.folder, "root") }, provisioner };
  await home.configure({ issuers: { internal }, default_issuer: "internal" });
  const outputs = [{ format: "combined", path: join(home.folder, "web.pem") }];
  await home.write("web", JSON.stringify({ subject: "web.internal", outputs }));
  return { home, layout: layoutOf(home.state, home.runtime) };
}

test.each([
  ["a folder in the place of a record", ({ apply }: Layout) => apply.facts("web"), /^mv \S+ \S+\.aside$/],
  ["a folder in the place of a key", ({ agent }: Layout) => join(agent.generations("web"), "pending.key"), /^mv /],
])("%s is told with the remedy, which helps", async (_, place, remedy) => {
  const { home, layout } = await makeScene();
  await using _home = home;
  await mkdir(place(layout), { recursive: true });
  await chmod(home.state, 0o755);
  await using agent = await startAgent(home);

  const all = await agent.until("it is failing", (now) => now.get("web")?.failure?.code === "DEPLOY_FAILED");
  const hint = all.get("web")?.failure?.hint ?? "";
  expect(hint).toMatch(remedy);

  await execute("/bin/sh", ["-c", hint]);
  await certagent(home, "renew", "web");
  await agent.until("it is current", (now) => isCurrent(now.get("web")));
});

test("a file in the place of the folder of open changes is told as that", async () => {
  const { home, layout } = await makeScene();
  await using _home = home;
  await mkdir(dirname(layout.apply.intents), { recursive: true });
  await writeFile(layout.apply.intents, "");
  await using agent = await startAgent(home);

  const all = await agent.until("it is failing", (now) => now.get("web")?.state === "failing");
  expect(all.get("web")?.failure).toMatchObject({
    code: "DEPLOY_FAILED",
    hint: `namei -l ${layout.apply.intents} shows which`,
  });
  await rm(layout.apply.intents);
  await agent.until("it is current", (now) => isCurrent(now.get("web")));
});

test("a state folder that is removed under a running agent comes back with the access that it had", async () => {
  const { home, layout } = await makeScene();
  await using _home = home;
  await using agent = await startAgent(home);
  await agent.until("it is current", (now) => isCurrent(now.get("web")));
  const folders = [home.state, layout.agent.folder, layout.apply.folder, layout.live];
  const modes = () => Promise.all(folders.map(async (folder) => (await stat(folder)).mode.toString(8)));
  const before = await modes();

  await rm(home.state, { recursive: true });
  await certagent(home, "renew", "web");
  await agent.until("it is current again", (now) => isCurrent(now.get("web")));

  expect(await modes()).toEqual(before);
});

test("a folder in its state that the agent may not open stops nothing", async () => {
  const { home, layout } = await makeScene();
  await using _home = home;
  await using _beside = await WAYS.apart.prepare(home);
  await mkdir(join(layout.agent.folder, "lost+found"), { mode: 0o700 });
  await using agent = await startAgent(home, WAYS.apart.agent);

  await agent.until("it is current", (now) => isCurrent(now.get("web")));
});

test("a state folder that others may write to is told with what closes it", async () => {
  const { home } = await makeScene();
  await using _home = home;
  await mkdir(home.state);
  await chmod(home.state, 0o777);

  const { stderr } = await certagent(home, "run");
  expect(stderr).toContain(`chmod go-w ${home.state}; or, as root, use folders of root's`);
});
