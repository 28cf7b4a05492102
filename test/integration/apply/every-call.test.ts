import { writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { expect, test } from "vitest";
import { AgentError } from "../../../src/base/errors.ts";
import type { Desired } from "../../../src/core/ports.ts";
import { generateKey, parseKey } from "../../../src/x509/key.ts";
import { countFiles, errno, type Fault, hang } from "./faults.ts";
import {
  ASKED,
  accessAt,
  leftovers,
  makeHost,
  NAME,
  never,
  type PairState,
  pairAt,
  shellService,
  type TestHost,
  text,
} from "./harness.ts";

interface Scene {
  readonly host: TestHost;
  readonly old: PairState;
  readonly next: PairState;
}

/** A deployed generation and the next one, of another key, staged. */
async function renewal(layout: Desired["layout"]): Promise<Scene & AsyncDisposable> {
  const host = await makeHost({ layout }, { fast: true });
  return await renewalOn(host, host.desired);
}

async function renewalOn(host: TestHost, desired: Desired): Promise<Scene & AsyncDisposable> {
  host.desired = desired;
  await host.issue();
  await (await host.open()).apply(NAME, never);
  const old = pairAt(host);
  const { key, chain } = await host.issue();
  const next = { key: key.keyId, leaf: chain[0].fingerprint };
  return { host, old, next, [Symbol.asyncDispose]: () => host[Symbol.asyncDispose]() };
}

/** The same where the pair stood there as plain files, which `layout: link` has to turn into links first. */
async function conversion(): Promise<Scene & AsyncDisposable> {
  const scene = await renewal("files");
  scene.host.desired = { ...scene.host.desired, layout: "link", digest: "2" };
  return scene;
}

async function backToFiles(): Promise<Scene & AsyncDisposable> {
  const scene = await renewal("link");
  scene.host.desired = { ...scene.host.desired, layout: "files", digest: "2" };
  return scene;
}

/** Whether another folder is to have files of the same names, or not any more: a set's own are called otherwise then. */
async function namesakes(change: "come" | "go"): Promise<Scene & AsyncDisposable> {
  const host = await makeHost({ layout: "link" }, { fast: true });
  const { outputs } = host.desired;
  const others = outputs.map((one) => ({ ...one, path: host.path(`more/${basename(one.path)}`) }));
  const without = { ...host.desired, digest: change };
  const beside = { ...without, outputs: [...outputs, ...others] };
  const scene = await renewalOn(host, change === "come" ? without : beside);
  host.desired = change === "come" ? beside : without;
  return scene;
}

/** An apply that is killed at its n-th file call; `reached` is false where it made fewer. */
async function applyKilledAt(host: TestHost, at: number): Promise<{ reached: boolean; close: () => Promise<void> }> {
  const counted = countFiles(at, hang);
  const applier = await host.open(counted.files);
  await Promise.race([applier.apply(NAME, never), counted.met]);
  return { reached: counted.count() >= at, close: counted.close };
}

const SCENES: readonly [string, () => Promise<Scene & AsyncDisposable>, { always: boolean; least: number }][] = [
  ["layout: files, a new key", () => renewal("files"), { always: false, least: 20 }],
  ["layout: link, a new key", () => renewal("link"), { always: true, least: 20 }],
  ["files to links, a new key", conversion, { always: true, least: 40 }],
  ["links to files, a new key", backToFiles, { always: false, least: 20 }],
];

const NAMESAKES: typeof SCENES = [
  ["layout: link, two files of one name more, a new key", () => namesakes("come"), { always: true, least: 40 }],
  ["layout: link, two files of one name less, a new key", () => namesakes("go"), { always: true, least: 40 }],
];

test.each([...SCENES, ...NAMESAKES])(
  "killed at any file call (%s): never torn or missing, whole at the next start, nothing left behind",
  async (_, make, { always, least }) => {
    let points = 0;
    for (let at = 1; ; at++) {
      await using scene = await make();
      const { host, old, next } = scene;
      const { reached, close } = await applyKilledAt(host, at);
      const found = pairAt(host);
      await close();
      if (!reached) {
        expect(found).toEqual(next);
        break;
      }
      points += 1;
      if (always || found !== "mixed") expect([old, next], `call ${at}`).toContainEqual(found);
      // Between the two renames the key is the new one: a certificate never stands beside a key that is older.
      else expect(parseKey(await text(host.path("web.key"))).keyId, `call ${at}`).toBe((next as { key: string }).key);

      const restarted = await host.open();
      await restarted.recover();
      expect([old, next], `call ${at}, recovered`).toContainEqual(pairAt(host));
      const report = await restarted.apply(NAME, never);

      expect(report, `call ${at}`).toMatchObject({ failure: null, deployed: 2 });
      expect(pairAt(host), `call ${at}, applied`).toEqual(next);
      expect(accessAt(host.path("web.key")), `call ${at}`).toMatchObject({ mode: 0o600, uid: process.getuid?.() });
      expect(await leftovers(host), `call ${at}`).toEqual([]);
    }
    expect(points).toBeGreaterThan(least);
  },
);

test.each(SCENES)(
  "killed at any file call of a change that a service refuses (%s): whole at the next start, which goes back to the old pair",
  async (_, make, { always }) => {
    for (let at = 1; ; at++) {
      await using scene = await make();
      const { host, old, next } = scene;
      const preflight = async (): Promise<void> => {
        if (!isDeepStrictEqual(pairAt(host), old)) throw new AgentError("RELOAD_FAILED", "Cannot check it");
      };
      host.desired = { ...host.desired, services: [shellService({ preflight })] };
      const { reached, close } = await applyKilledAt(host, at);
      const found = pairAt(host);
      await close();
      if (always) expect([old, next], `call ${at}`).toContainEqual(found);

      const restarted = await host.open();
      await restarted.recover();
      expect([old, next], `call ${at}, recovered`).toContainEqual(pairAt(host));
      const report = await restarted.apply(NAME, never);

      expect(report, `call ${at}`).toMatchObject({ deployed: 1, failure: { code: "RELOAD_FAILED" } });
      expect(pairAt(host), `call ${at}, applied`).toEqual(old);
      expect(await leftovers(host), `call ${at}`).toEqual([]);
      if (!reached) break;
    }
  },
);

test("killed at any file call of a renewal that keeps its key: old or new at every instant", async () => {
  const key = await generateKey("ec-p256");
  for (let at = 1; ; at++) {
    await using host = await makeHost({}, { fast: true });
    const first = await host.issue({ key });
    await (await host.open()).apply(NAME, never);
    const second = await host.issue({ key });
    const { reached, close } = await applyKilledAt(host, at);
    await close();
    const leaves = [first, second].map(({ chain }) => chain[0].fingerprint);
    expect(leaves, `call ${at}`).toContain((pairAt(host) as { leaf: string }).leaf);
    if (!reached) break;
  }
});

const FAULTS: readonly [string, Fault, ("all" | "changes")?][] = [
  ["EIO", errno("EIO"), "all"],
  ["ENOSPC", errno("ENOSPC")],
  ["EPERM", errno("EPERM")],
  ["a short write", () => "short"],
];

test.each(
  FAULTS.flatMap(([name, fault, which]) => [
    [name, "files", fault, which] as const,
    [name, "link", fault, "changes"] as const,
  ]),
)(
  "%s at any file call (layout: %s): old or new and whole at once, and the next apply ends it",
  async (_, layout, fault, which) => {
    for (let at = 1; ; at++) {
      await using scene = await renewal(layout);
      const { host, old, next } = scene;
      const counted = countFiles(at, fault, which);
      const applier = await host.open(counted.files);
      const outcome = await applier.apply(NAME, never).catch((error: unknown) => error);

      expect([old, next], `call ${at}`).toContainEqual(pairAt(host));
      if (counted.count() < at) break;
      if (!(outcome instanceof Error)) expect(outcome, `call ${at}`).toHaveProperty("files");
      const report = await applier.apply(NAME, never);
      expect(report, `call ${at}`).toMatchObject({ failure: null, deployed: 2 });
      expect(pairAt(host), `call ${at}`).toEqual(next);
      await (await host.open()).recover();
      expect(await leftovers(host), `call ${at}`).toEqual([]);
    }
  },
);

test.each(["token", "adopted"])(
  "killed at any file call of a change: the after hook is told of it, though the generation says it came by %s",
  async (via) => {
    const after = (host: TestHost) => ["/bin/sh", "-c", `echo told >> ${host.folder}/trace`];
    for (let at = 1; ; at++) {
      await using host = await makeHost({}, { fast: true });
      host.desired = { ...host.desired, hooks: { before: null, after: after(host), failed: null } };
      await host.issue({ via });
      const { reached, close } = await applyKilledAt(host, at);
      await close();
      const told = async (): Promise<string> => await text(join(host.folder, "trace")).catch(() => "nobody");

      const restarted = await host.open();
      // Of a change that is done the agent asks no more.
      if ((await restarted.observe([ASKED], never)).get(NAME)?.deployed === 1)
        expect(await told(), `call ${at}, nothing asked`).toBe("told\n");
      await restarted.apply(NAME, never);

      expect(await told(), `call ${at}`).toMatch(/^told\n/);
      if (!reached) break;
    }
  },
);

test("the after hook is told of no change where a pair was found as it should be, whatever its generation says", async () => {
  await using host = await makeHost();
  const after = ["/bin/sh", "-c", `echo told >> ${host.folder}/trace`];
  host.desired = { ...host.desired, hooks: { before: null, after, failed: null } };
  const { key, chain } = await host.issue({ via: "mtls" });
  await writeFile(host.path("web.crt"), chain.map(({ pem }) => pem).join(""), { mode: 0o644 });
  await writeFile(host.path("web.key"), key.toPem(), { mode: 0o600 });

  const report = await (await host.open()).apply(NAME, never);

  expect(report).toMatchObject({ failure: null, deployed: 1, files: "unchanged", actions: [] });
});
