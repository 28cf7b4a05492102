/** Specs that go and come back while the agent lives, with the folders of their outputs. */
import { existsSync } from "node:fs";
import { chown, mkdir, rename, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, test } from "vitest";
import { DAY } from "../../../src/base/time.ts";
import { type DevCa, startDevCa } from "../../../src/devca/devca.ts";
import { type Agent, type Home, makeHome, startAgent } from "../../servers/program.ts";
import { WAYS, type Way } from "../../servers/ways.ts";
import { isCurrent, leafIn } from "../walk/look.ts";

const SERVICE_USER = 47_111;

let ca: DevCa;

beforeAll(async () => {
  ca = await startDevCa({ policy: { longest: DAY } });
});
afterAll(async () => {
  await ca.stop();
});

interface Scene extends AsyncDisposable {
  readonly home: Home;
  readonly agent: Agent;
}

/** An agent that has nothing to do yet. */
async function scene(way: Way): Promise<Scene> {
  const home = await makeHome();
  await writeFile(join(home.folder, "root"), ca.root.pem);
  await writeFile(join(home.folder, "jwk"), ca.provisioner.jwk, { mode: 0o600 });
  await chown(join(home.folder, "jwk"), way.user, way.user);
  const provisioner = { type: "jwk", name: ca.provisioner.name, key: { file: join(home.folder, "jwk") } };
  const internal = { type: "step-ca", url: ca.url, root: { file: join(home.folder, "root") }, provisioner };
  await home.configure({ issuers: { internal }, default_issuer: "internal" });
  const beside = await way.prepare(home);
  const agent = await startAgent(home, way.agent);
  return {
    home,
    agent,
    [Symbol.asyncDispose]: async () => {
      await agent[Symbol.asyncDispose]();
      await beside[Symbol.asyncDispose]();
      await home[Symbol.asyncDispose]();
    },
  };
}

const KINDS = [
  { layout: "files", owner: 0 },
  { layout: "files", owner: SERVICE_USER },
  { layout: "link", owner: 0 },
  { layout: "link", owner: SERVICE_USER },
] as const;
type Kind = (typeof KINDS)[number];

async function makeOwn(folder: string, { owner }: Kind): Promise<void> {
  await mkdir(folder, { recursive: true }); // a root side that was at work may have made it again
  await chown(folder, owner, owner);
}

async function put({ home }: Scene, name: string, folder: string, { layout, owner }: Kind, more = {}): Promise<void> {
  const who = { owner: String(owner), group: String(owner) };
  const outputs = [
    { format: "fullchain", path: join(folder, "a.crt"), ...who },
    { format: "key", path: join(folder, "a.key"), ...who },
  ];
  await home.write(name, JSON.stringify({ subject: `${name}.internal`, layout, outputs, ...more }));
}

const hasGone = ({ agent }: Scene, name: string) => agent.until(`${name} is gone`, (all) => !all.has(name));
const hasCome = ({ agent }: Scene, name: string, folder: string) =>
  agent.until(`${name} is current`, (all) => isCurrent(all.get(name)) && isWhole(folder));
const isWhole = (folder: string): boolean => ["a.crt", "a.key"].every((file) => existsSync(join(folder, file)));

describe.each(Object.values<Way>(WAYS))("$name", { concurrent: true }, (way) => {
  test.for(KINDS)("a spec that goes with its folder and comes back: $layout, user $owner", async (kind, { expect }) => {
    await using all = await scene(way);
    const folder = join(all.home.folder, "tls");
    await makeOwn(folder, kind);
    await put(all, "web", folder, kind);
    await hasCome(all, "web", folder);

    for (let round = 0; round < 4; round++) {
      await all.home.remove("web");
      await rm(folder, { recursive: true });
      await hasGone(all, "web");
      await makeOwn(folder, kind);
      await put(all, "web", folder, kind);
      await hasCome(all, "web", folder);
    }
    expect(await leafIn(join(folder, "a.crt"))).toMatch(/^[0-9a-f]{64}$/);
  });

  // Of links in another user's folder none is read through that another spec had.
  test.for(KINDS.slice(1, 3))(
    "one that takes an earlier one's name keeps its pair: $layout, user $owner",
    async (kind, { expect }) => {
      await using all = await scene(way);
      const [folder, earlier] = ["tls", "earlier"].map((name) => join(all.home.folder, name)) as [string, string];
      for (const one of [folder, earlier]) await makeOwn(one, kind);
      await put(all, "web", folder, kind);
      await put(all, "api", earlier, kind);
      await hasCome(all, "web", folder);
      await hasCome(all, "api", earlier);
      const leaf = await leafIn(join(folder, "a.crt"));
      await rm(join(all.home.folder, "jwk"));

      await all.home.remove("api");
      await hasGone(all, "api");
      await all.home.remove("web");
      await put(all, "api", folder, kind, { subject: "web.internal" });
      await hasGone(all, "web");
      await hasCome(all, "api", folder);

      expect(await leafIn(join(folder, "a.crt"))).toBe(leaf);
    },
  );

  test.for(KINDS)("one that failed when it went: $layout, user $owner", async (kind, { expect }) => {
    await using all = await scene(way);
    const folder = join(all.home.folder, "tls");
    await makeOwn(folder, kind);
    await put(all, "web", folder, kind);
    await hasCome(all, "web", folder);
    await rename(folder, `${folder}.old`);
    await symlink("tls", folder);
    all.agent.send("SIGHUP");
    await all.agent.until("it fails", (now) => now.get("web")?.failure?.code === "DEPLOY_FAILED");

    await all.home.remove("web");
    await hasGone(all, "web");
    await rm(folder);
    await makeOwn(folder, kind);
    await put(all, "web", folder, kind);
    await hasCome(all, "web", folder);
    expect(await leafIn(join(folder, "a.crt"))).toMatch(/^[0-9a-f]{64}$/);
  });

  test.for(KINDS)("one whose deployment is under way: $layout, user $owner", async (kind, { expect }) => {
    await using all = await scene(way);
    const folder = join(all.home.folder, "tls");
    const begun = join(all.home.folder, "begun");
    const go = join(all.home.folder, "go");
    const wait = ["/bin/sh", "-c", `touch ${begun}; for i in $(seq 300); do test -e ${go} && exit; sleep 0.1; done`];
    const more = { services: [{ type: "command", reload: wait }] };
    await makeOwn(folder, kind);
    await put(all, "web", folder, kind, more);
    await expect.poll(() => existsSync(begun)).toBe(true);

    await all.home.remove("web");
    await rm(folder, { recursive: true });
    await hasGone(all, "web");
    await makeOwn(folder, kind);
    await put(all, "web", folder, kind, more);
    await all.agent.until("web is there", (now) => now.has("web"));
    await writeFile(go, "");
    await hasCome(all, "web", folder);

    // What it has deployed is its own against a newcomer whose name comes first.
    await put(all, "aaa", folder, kind);
    const found = await all.agent.until("the newcomer is refused", (now) => now.get("aaa")?.state === "invalid");
    expect(found.get("web")?.state).not.toBe("invalid");
  });

  test.for(KINDS)("renamed, and two that exchange their paths: $layout, user $owner", async (kind, { expect }) => {
    await using all = await scene(way);
    const [one, two] = [join(all.home.folder, "one"), join(all.home.folder, "two")];
    for (const folder of [one, two]) await makeOwn(folder, kind);
    await put(all, "web", one, kind);
    await hasCome(all, "web", one);
    await all.home.remove("web");
    await put(all, "mail", one, kind);
    await hasCome(all, "mail", one);
    await put(all, "web", two, kind);
    await hasCome(all, "web", two);
    const before = [await leafIn(join(one, "a.crt")), await leafIn(join(two, "a.crt"))];

    await put(all, "web", one, kind);
    await put(all, "mail", two, kind);
    await expect.poll(async () => [await leafIn(join(two, "a.crt")), await leafIn(join(one, "a.crt"))]).toEqual(before);
    await all.agent.until("both are current", (now) => isCurrent(now.get("web")) && isCurrent(now.get("mail")));
  });
});
