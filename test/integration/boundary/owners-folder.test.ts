/** What the user whose folder holds outputs may do there, at the very moment that matters. */
import {
  chmod,
  chown,
  link,
  lstat,
  mkdir,
  readdir,
  readFile,
  realpath,
  rename,
  rmdir,
  symlink,
  unlink,
  writeFile,
} from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { expect, test } from "vitest";
import { type Files, nodeFiles, stage } from "../../../src/base/atomic-file.ts";
import { openFolder } from "../../../src/base/folder.ts";
import { sweepTemporaries } from "../../../src/base/sweep.ts";
import { readFacts } from "../../../src/store/facts.ts";
import { lock } from "../../../src/store/lock.ts";
import { ASKED, makeHost, NAME, never, output, reopenHost, type TestHost } from "../apply/harness.ts";
import { takeOver } from "./hostile-agent.ts";

const SERVICE = 33;

async function hostOfService(folder: string): Promise<TestHost> {
  const host = await makeHost();
  await chmod(host.folder, 0o755);
  await chown(host.tls, SERVICE, SERVICE);
  const key = output("combined", host.path(join(folder, "web.pem")), { owner: `${SERVICE}`, group: `${SERVICE}` });
  host.desired = { ...host.desired, outputs: [key] };
  await host.issue();
  return host;
}

/** File calls of which the one that makes this folder is followed at once by something else in its place. */
function swappedOnceMade(folder: string, put: (folder: string) => Promise<void>): Files {
  return {
    ...nodeFiles,
    mkdir: async (path, mode) => {
      await nodeFiles.mkdir(path, mode);
      if (basename(path) !== basename(folder)) return;
      await rmdir(folder);
      await put(folder);
    },
  };
}

/** A file of root's that something is to be written through, and what it holds. */
async function victimIn({ folder }: TestHost): Promise<{ readonly victim: string; content(): Promise<string> }> {
  const victim = join(folder, "victim");
  await writeFile(victim, "root's");
  return { victim, content: () => readFile(victim, "utf8") };
}

test("a folder of root's that is put in the place of the one just made keeps its mode and owner", async () => {
  await using host = await hostOfService("sub");
  const secret = host.path("private");
  await mkdir(secret, { mode: 0o700 });
  const swapping = swappedOnceMade(host.path("sub"), (made) => rename(secret, made));

  await (await host.open(swapping)).apply(NAME, never);

  expect((await lstat(host.path("sub"))).mode & 0o777).toBe(0o700);
});

test("a link that is put in the place of the folder just made is not followed", async () => {
  await using host = await hostOfService("sub");
  const elsewhere = join(host.folder, "elsewhere");
  await mkdir(elsewhere);
  const swapping = swappedOnceMade(host.path("sub"), (made) => symlink(elsewhere, made));

  const { failure } = await (await host.open(swapping)).apply(NAME, never);

  expect(failure?.code).toBe("DEPLOY_FAILED");
  expect(await readdir(elsewhere)).toEqual([]);
});

test("a folder that is made in a folder of root's has its mode, whatever that hands down", async () => {
  await using host = await makeHost();
  host.desired = { ...host.desired, outputs: [output("combined", host.path("sub/web.pem"))] };
  await chmod(host.tls, 0o2755);
  await host.issue();

  expect((await (await host.open()).apply(NAME, never)).failure).toBeNull();
  expect((await lstat(host.path("sub"))).mode & 0o7777).toBe(0o755);
});

test.each([
  ["before", true],
  ["while", false],
])(
  "a label that went to another file, as the staged one was swapped %s it was given, fails the change",
  async (_, early) => {
    await using host = await makeHost();
    await using folder = await openFolder(host.tls);
    const labelled: string[] = [];
    const swap = async (path: string): Promise<void> => {
      await unlink(path);
      await writeFile(path, "");
    };
    const files: Files = {
      ...nodeFiles,
      chmod: async (file, mode) => {
        await nodeFiles.chmod(file, mode);
        const name = (await readdir(host.tls)).find((entry) => entry.startsWith(".certagent-"));
        if (early && name !== undefined) await swap(host.path(name));
      },
    };
    const relabel = async (path: string): Promise<void> => {
      labelled.push(path);
      if (!early) await swap(path);
    };

    await expect(stage(folder, "web.pem", Buffer.from("x"), { mode: 0o640, files, relabel })).rejects.toThrow(
      "another process replaced it",
    );
    expect(labelled).toHaveLength(early ? 0 : 1);
  },
);

/** File calls of which those are told that look at or below a folder, however they are led there. */
function tellingOf(folder: string, told: (path: string) => void): Files {
  const looking =
    <Rest extends readonly unknown[], Result>(call: (path: string, ...rest: Rest) => Promise<Result>) =>
    async (path: string, ...rest: Rest): Promise<Result> => {
      const last = basename(path) === "." ? path : dirname(path); // where the last name is itself a link, that is not followed
      if ((await realpath(last).catch(() => "")).startsWith(folder)) told(path);
      return await call(path, ...rest);
    };
  const { open, lstat: look, mayWrite, statfs } = nodeFiles;
  const within = (path: string): string => join(path, ".");
  return {
    ...nodeFiles,
    open: looking(open),
    lstat: looking(look),
    mayWrite: (path) => looking(mayWrite)(within(path)),
    statfs: (path) => looking(statfs)(within(path)),
  };
}

test("no look at outputs follows a link that their owner has put where their folder was", async () => {
  await using host = await hostOfService("sub");
  const elsewhere = join(host.folder, "elsewhere");
  const told: string[] = [];
  const applier = await host.open(tellingOf(elsewhere, (path) => told.push(path)));
  await applier.apply(NAME, never);
  const before = (await applier.observe([ASKED], never)).get(NAME);
  await rename(host.path("sub"), elsewhere);
  await symlink(elsewhere, host.path("sub"));

  const after = (await applier.observe([ASKED], never)).get(NAME);

  expect(told).toEqual([]);
  expect(before?.outputs[0]?.state).toBe("current");
  expect(after?.obstacle?.message).toContain("it is a link that another user made or could move");
});

test("what a killed process had staged is removed after its spec was removed, though it was never deployed", async () => {
  await using host = await makeHost();
  await host.issue();
  const applier = await host.open({
    ...nodeFiles,
    rename: (from, to) => (to.endsWith("web.key") ? new Promise<never>(() => {}) : nodeFiles.rename(from, to)),
  });
  void applier.apply(NAME, never);
  const staged = async () => (await readdir(host.tls)).filter((name) => name.startsWith(".certagent-"));
  await expect.poll(staged).toHaveLength(2);
  await unlink(join(host.layout.apply.intents, `${NAME}.json`)).catch(() => {});

  const next = await reopenHost(host.folder, "files");
  const without = await next.open(undefined, { specs: new Map() });
  await without.recover();

  expect(await staged()).toEqual([]);
});

test("however many files a service puts into its folder, root never lists them all, and sweeps its own", async () => {
  await using host = await hostOfService("");
  const leftover = `.certagent-${"0".repeat(16)}`;
  for (const name of [...Array.from({ length: 3000 }, (_, at) => `${at}`), leftover])
    await writeFile(host.path(name), "");
  let longest = 0;
  const files: Files = {
    ...nodeFiles,
    readdir: async (path) => {
      const names = await nodeFiles.readdir(path);
      longest = Math.max(longest, names.length);
      return names;
    },
  };

  await (await host.open(files)).recover();

  expect(longest).toBeLessThan(3000);
  expect(await readdir(host.tls)).not.toContain(leftover);
});

test("root, who reads what the agent has written, leaves nothing in its folder", async () => {
  await using host = await makeHost();
  await takeOver(host);
  const facts = host.layout.agent.facts(NAME);
  const { victim, content } = await victimIn(host);
  await mkdir(dirname(facts), { recursive: true });
  await chown(dirname(facts), 65_534, 65_534);
  await writeFile(facts, "what the agent wants to have elsewhere");
  await symlink(victim, `${facts}.unreadable`);

  await readFacts(facts);

  expect(await content()).toBe("root's");
});

test("a lock is not taken through a link, nor on a file of another name", async () => {
  await using host = await makeHost();
  const { agent } = host.layout;
  await mkdir(agent.folder, { recursive: true });
  const { victim, content } = await victimIn(host);
  await symlink(victim, agent.lock);

  await expect(lock(agent.lock)).rejects.toThrow(/symbolic link/);
  await unlink(agent.lock);
  await link(victim, agent.lock);
  await expect(lock(agent.lock)).rejects.toThrow(/2 names/);
  expect(await content()).toBe("root's");
});

test("a sweep does not leave its folder through a link", async () => {
  await using host = await makeHost();
  const outside = join(host.folder, "outside");
  await mkdir(outside);
  const kept = join(outside, ".certagent-0123456789abcdef");
  await writeFile(kept, "");
  await symlink(outside, host.path("inside"));
  const swapping: Files = {
    ...nodeFiles,
    entries: async (path) => {
      const found = await nodeFiles.entries(path);
      if (!found.some(({ name }) => name === "folder")) return found;
      await rmdir(host.path("folder"));
      await symlink(outside, host.path("folder"));
      return found;
    },
  };
  await mkdir(host.path("folder"));

  await sweepTemporaries(host.tls, swapping).catch(() => {});

  expect((await lstat(kept)).isFile()).toBe(true);
});
