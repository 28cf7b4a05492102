/**
 * What a taken-over agent may put where its generations are read. The bait is a generation that would be deployed at
 * once if it were read: root's own file, out of the agent's reach.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  chown,
  lchown,
  link,
  lstat,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  symlink,
  truncate,
  writeFile,
} from "node:fs/promises";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { openGenerations, parseGeneration } from "../../../src/store/generations.ts";
import { openStaged } from "../../../src/store/staged.ts";
import { ASKED, makeHost, NAME, never, pairAt, type TestHost } from "../apply/harness.ts";
import { AGENT, generationText, type HostileAgent, takeOver } from "./hostile-agent.ts";

interface Attack {
  readonly title: string;
  /** What the operator is told. */
  readonly told: RegExp;
  /** What becomes of who just opens the path: the bait is read, or nothing comes back. */
  readonly naively: "reads it" | "hangs" | "fails";
  /** Answers what to undo. */
  plant(agent: HostileAgent, bait: string, host: TestHost): Promise<(() => void) | undefined>;
}

const nothing = undefined;

const attacks: readonly Attack[] = [
  {
    title: "a link to it in place of a generation",
    told: /agent\/generations\/web\/1\.json": it is a symbolic link/,
    naively: "reads it",
    plant: async ({ folder }, bait) => (await symlink(bait, join(folder, "1.json")), nothing),
  },
  {
    title: "a hard link to it",
    told: /1\.json": it has 2 names/,
    naively: "reads it",
    plant: async ({ folder }, bait) => (await link(bait, join(folder, "1.json")), nothing),
  },
  {
    title: "a link to its folder in place of the spec's",
    told: /agent\/generations(\/web)?": a part of the path is not a folder/,
    naively: "reads it",
    plant: async ({ folder }, _, host) => {
      await rm(folder, { recursive: true });
      return (await symlink(join(host.folder, "bait"), folder), nothing);
    },
  },
  {
    title: "a link to its folder's parent in place of all generations",
    told: /agent\/generations(\/web)?": a part of the path is not a folder/,
    naively: "reads it",
    plant: async ({ layout, folder }, _, host) => {
      await mkdir(join(host.folder, "baits"));
      await rename(join(host.folder, "bait"), join(host.folder, "baits", NAME));
      await rm(join(folder, ".."), { recursive: true });
      return (await symlink(join(host.folder, "baits"), join(layout.agent.folder, "generations")), nothing);
    },
  },
  {
    title: "a file that is another user's",
    told: /belongs to user 33/,
    naively: "reads it",
    plant: async ({ put }, bait) => (await chown(await put("1.json", await readFile(bait)), 33, 33), nothing),
  },
  {
    title: "a FIFO that nobody writes into",
    told: /not a regular file/,
    naively: "hangs",
    plant: async ({ folder }) => (execFileSync("mkfifo", [join(folder, "1.json")]), nothing),
  },
  {
    title: "a FIFO that is held open for writing",
    told: /not a regular file/,
    naively: "hangs",
    plant: async ({ folder }) => {
      execFileSync("mkfifo", [join(folder, "1.json")]);
      return await holding(spawn("/bin/sh", ["-c", 'exec 3<>"$0"; echo; exec sleep 600', join(folder, "1.json")]));
    },
  },
  {
    title: "a file of which the agent holds a lease, which lets no other open it for 45 seconds",
    told: /1\.json"/,
    naively: "hangs",
    plant: async ({ put }, bait) => {
      const path = await put("1.json", await readFile(bait));
      const lease = "$SIG{IO}='IGNORE'; open F,'+<',$ARGV[0] or die; fcntl(F,1024,1) or die; $|=1; print 1; sleep 600";
      return await holding(spawn("/usr/bin/perl", ["-e", lease, path], { uid: AGENT }));
    },
  },
  {
    title: "a device",
    told: /not a regular file/,
    naively: "fails",
    plant: async ({ folder }) => (execFileSync("mknod", [join(folder, "1.json"), "c", "1", "3"]), nothing),
  },
  {
    title: "a socket",
    told: /1\.json"/,
    naively: "fails",
    plant: async ({ folder }) => {
      const server = createServer().listen(join(folder, "1.json"));
      await once(server, "listening");
      return () => void server.close();
    },
  },
  {
    title: "a folder in place of a generation",
    told: /1\.json"/,
    naively: "fails",
    plant: async ({ folder }) => (await mkdir(join(folder, "1.json")), nothing),
  },
  {
    title: "a sparse file of a terabyte",
    told: /longer than/,
    naively: "fails",
    plant: async ({ put }) => (await truncate(await put("1.json", "{"), 2 ** 40), nothing),
  },
  {
    title: "thousands of files",
    told: /more than 1000 files/,
    naively: "reads it",
    plant: async ({ folder, put }, bait) => {
      await put("1.json", await readFile(bait));
      return (
        await Promise.all(Array.from({ length: 1500 }, (_, n) => writeFile(join(folder, `${n + 2}.json`), ""))), nothing
      );
    },
  },
  {
    title: "JSON of a thousand levels",
    told: /is damaged/,
    naively: "fails",
    plant: async ({ put }) => (await put("1.json", "[".repeat(100_000)), nothing),
  },
];

test.each(attacks)("$title is not read, hangs nothing, and is told of", async ({ told, naively, plant }) => {
  await using host = await makeHost();
  const agent = await takeOver(host);
  const bait = await makeBait(host);
  using undo = new DisposableStack();
  undo.defer((await plant(agent, bait, host)) ?? (() => {}));

  expect(await naiveRead(join(agent.folder, "1.json"))).toBe(naively);

  const applier = await host.open();
  const report = await applier.apply(NAME, never);
  expect(report.failure?.message).toMatch(told);
  expect(report.actions).toEqual([]);
  expect(pairAt(host)).toBe("missing");
  const observed = await applier.observe([ASKED], never).catch((error: unknown) => String(error));
  expect(JSON.stringify(observed)).not.toContain("PRIVATE KEY");
});

test("the bait is deployed where it lies in the open", async () => {
  await using host = await makeHost();
  const agent = await takeOver(host);
  await agent.put("1.json", await readFile(await makeBait(host)));

  expect((await (await host.open()).apply(NAME, never)).failure).toBeNull();
});

test("root, who looks at generations by hand, sets nothing aside where the agent's link leads", async () => {
  await using host = await makeHost();
  const agent = await takeOver(host);
  const victim = join(host.folder, "root", NAME);
  await mkdir(victim, { recursive: true });
  await writeFile(join(victim, "1.json"), "no generation");
  await rm(dirname(agent.folder), { recursive: true });
  await symlink(dirname(victim), dirname(agent.folder));
  await lchown(dirname(agent.folder), AGENT, AGENT);

  await expect(openGenerations(agent.folder).read(1)).rejects.toThrow("it is damaged");

  expect(await readdir(victim)).toEqual(["1.json"]);
});

test("the root side leaves nothing in the agent's folder, and takes nothing out of it", async () => {
  await using host = await makeHost({ layout: "link" });
  const agent = await takeOver(host);
  await agent.put("1.json", await readFile(await makeBait(host)));
  await agent.put("2.json", "torn");
  const before = await everythingIn(agent.layout.agent.folder);
  const applier = await host.open();

  await applier.recover();
  await applier.observe([ASKED], never);
  await applier.adopt(NAME, never);
  await applier.apply(NAME, never);
  await applier.failed(NAME, never);
  host.desired = { ...host.desired, layout: "files" };
  await (await host.open()).apply(NAME, never);

  expect(await everythingIn(agent.layout.agent.folder)).toEqual(before);
});

test("a file that grows, shrinks or is swapped while it is read is read as it was, or not at all", async () => {
  await using host = await makeHost();
  const agent = await takeOver(host);
  const text = await readFile(await makeBait(host));
  const path = await agent.put("1.json", text);
  const staged = openStaged(agent.layout, NAME);
  const outcomes = new Set<string>();

  for (let round = 0; round < 300; round++) {
    const read = staged.read(1).then(
      () => "whole",
      () => "refused",
    );
    if (round % 3 === 0) await truncate(path, round % 2 ? 0 : 2 ** 30);
    else if (round % 3 === 1) await rename(path, `${path}.old`);
    else await writeFile(path, "\0".repeat(300_000), { flag: "a" });
    outcomes.add(await read);
    await rm(path, { force: true });
    await agent.put("1.json", text);
  }

  expect(await staged.read(1)).toMatchObject({ number: 1 });
  expect([...outcomes].every((outcome) => outcome === "whole" || outcome === "refused")).toBe(true);
});

/** All names with what changes when anything is done to them. */
async function everythingIn(folder: string): Promise<readonly string[]> {
  const names = await readdir(folder, { recursive: true });
  const all = await Promise.all(
    [".", ...names].map(async (name) => {
      const { ino, ctimeNs, mode, uid } = await lstat(join(folder, name), { bigint: true });
      return [name, ino, ctimeNs, mode, uid].join(" ");
    }),
  );
  return all.toSorted();
}

/** A generation in a folder of root's: whoever reads it as the agent's deploys it. */
async function makeBait(host: TestHost): Promise<string> {
  const folder = join(host.folder, "bait");
  await mkdir(folder, { mode: 0o700 });
  const { request } = host.desired;
  const issued = await host.pki.issue();
  const text = generationText({ ...issued, request, roots: host.pki.roots, via: "token", issuedAt: 0 });
  const path = join(folder, "1.json");
  await writeFile(path, text, { mode: 0o600 });
  return path;
}

/** What a program makes of the path that knows of no danger. In a process of its own, which can be ended. */
async function naiveRead(path: string): Promise<Attack["naively"]> {
  const child = spawn("/bin/cat", [path], { stdio: ["ignore", "pipe", "ignore"] });
  const chunks: Buffer[] = [];
  let length = 0;
  child.stdout.on("data", (chunk: Buffer) => {
    chunks.push(chunk);
    if ((length += chunk.length) > 16 * 1024 * 1024) child.kill("SIGKILL");
  });
  const deadline = AbortSignal.timeout(5000);
  try {
    await once(child, "close", { signal: deadline });
  } catch {
    return "hangs";
  } finally {
    child.kill("SIGKILL");
  }
  try {
    parseGeneration(Buffer.concat(chunks), path, 1);
    return "reads it";
  } catch {
    return "fails";
  }
}

/** Waits until a helper has said that it is ready; answers how to end it. */
async function holding(child: ChildProcess): Promise<() => void> {
  await once(child.stdout ?? child, "data");
  return () => void child.kill("SIGKILL");
}
