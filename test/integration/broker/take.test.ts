/** The folder of requests is the agent's own: whatever lies in it is taken away, and nothing but a request is taken for one. */
import { execFile } from "node:child_process";
import { watch, writeFileSync } from "node:fs";
import { chmod, chown, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { type Catch, takeRequests } from "../../../src/apply/requests/take.ts";
import { openFolder } from "../../../src/base/folder.ts";
import { MINUTE, systemClock } from "../../../src/base/time.ts";

/** Thousands of files are made and removed, on a busy machine too. */
const execute = promisify(execFile);
const AGENT = 47_110;

async function agentsFolder(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), "certagent-take-"));
  await chown(path, AGENT, AGENT);
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

async function ask(folder: string, name: string, token = "ab12"): Promise<void> {
  await writeFile(join(folder, name), token);
  await chown(join(folder, name), AGENT, AGENT);
}

async function take(path: string, now = systemClock.now(), signal = new AbortController().signal): Promise<Catch> {
  await using folder = await openFolder(path);
  return await takeRequests(folder, now, signal);
}

/** Until nothing is found any more, as the server does. */
async function takeAll(path: string): Promise<{ names: string[]; junk: number }> {
  const all = { names: [] as string[], junk: 0 };
  for (;;) {
    const { taken, junk } = await take(path);
    if (taken.length + junk === 0) return all;
    all.names.push(...taken.map(({ name }) => name));
    all.junk += junk;
  }
}

test("a request is taken with its token and the time it was asked, and is then gone", async () => {
  await using folder = await agentsFolder();
  await ask(folder.path, "observe");
  await ask(folder.path, "apply@web", "ff".repeat(32));

  const { taken, junk } = await take(folder.path);

  expect(junk).toBe(0);
  expect(taken.toSorted((a, b) => a.name.localeCompare(b.name))).toEqual([
    {
      name: "apply@web",
      request: { kind: "apply", spec: "web", again: [] },
      token: "ff".repeat(32),
      askedAt: expect.any(Number),
    },
    { name: "observe", request: { kind: "observe" }, token: "ab12", askedAt: expect.any(Number) },
  ]);
  expect(await readdir(folder.path)).toEqual([]);
});

test("a request of another user than the folder's, one that is too long, and one without a token are none", async () => {
  await using folder = await agentsFolder();
  await writeFile(join(folder.path, "apply@root"), "ab");
  await ask(folder.path, "apply@long", "a".repeat(1_000_000));
  await ask(folder.path, "apply@upper", "AB");
  await ask(folder.path, "apply@line", "ab\n");
  await ask(folder.path, "apply@empty", "");

  expect(await take(folder.path)).toEqual({ taken: [], junk: 5 });
  expect(await readdir(folder.path)).toEqual([]);
});

test("what has the name of a request and is none harms nothing: links, a FIFO, a socket, a folder that is full", async () => {
  await using folder = await agentsFolder();
  await using elsewhere = await agentsFolder();
  const precious = join(elsewhere.path, "precious");
  await writeFile(precious, "ab12", { mode: 0o600 });
  await mkdir(join(elsewhere.path, "kept"));
  await writeFile(join(elsewhere.path, "kept", "file"), "stays");
  await symlink(precious, join(folder.path, "apply@link"));
  await symlink(join(elsewhere.path, "kept"), join(folder.path, "apply@folder-link"));
  await execute("mkfifo", [join(folder.path, "apply@fifo")]);
  await mkdir(join(folder.path, "apply@folder", "deep", "deeper"), { recursive: true });
  await writeFile(join(folder.path, "apply@folder", "deep", "file"), "x");
  await symlink(elsewhere.path, join(folder.path, "apply@folder", "deep", "link"));
  await execute("mknod", [join(folder.path, "apply@device"), "c", "1", "3"]);

  expect(await takeAll(folder.path)).toEqual({ names: [], junk: 5 });

  expect(await readdir(folder.path)).toEqual([]);
  expect(await readFile(precious, "utf8")).toBe("ab12");
  expect(await readFile(join(elsewhere.path, "kept", "file"), "utf8")).toBe("stays");
});

test("names that are no text, that are as long as names can be, and that look like options are removed too", async () => {
  await using folder = await agentsFolder();
  const raw = (...bytes: number[]): Buffer => Buffer.concat([Buffer.from(`${folder.path}/`), Buffer.from(bytes)]);
  await writeFile(raw(0xff, 0xfe, 0x80), "");
  await mkdir(raw(0xc3, 0x28));
  await writeFile(raw(0x0a), "");
  await writeFile(join(folder.path, "x".repeat(255)), "");
  await writeFile(join(folder.path, "-rf"), "");
  await writeFile(join(folder.path, "apply@\u00fc"), "ab");

  expect(await takeAll(folder.path)).toEqual({ names: [], junk: 6 });
  expect(await readdir(folder.path)).toEqual([]);
});

test("a folder that is deeper than any path can tell is removed", async () => {
  await using folder = await agentsFolder();
  const deep = "import os,sys\nos.chdir(sys.argv[1])\nfor n in range(3000):\n os.mkdir('d'*9); os.chdir('d'*9)\n";
  await execute("python3", ["-c", deep, folder.path]);

  await takeAll(folder.path);

  expect(await readdir(folder.path)).toEqual([]);
});

test("what is just being written is left alone, and removed when it is a minute old, whatever date it claims", async () => {
  await using folder = await agentsFolder();
  await ask(folder.path, ".certagent-0123456789abcdef");
  await execute("touch", ["-d", "2001-01-01", join(folder.path, ".certagent-0123456789abcdef")]);

  expect(await take(folder.path)).toEqual({ taken: [], junk: 0 });
  expect(await readdir(folder.path)).toHaveLength(1);

  expect(await take(folder.path, systemClock.now() + 2 * MINUTE)).toEqual({ taken: [], junk: 1 });
  expect(await readdir(folder.path)).toEqual([]);
});

test("ten thousand requests, junk among them, are taken each once", async () => {
  await using folder = await agentsFolder();
  const names = Array.from({ length: 10_000 }, (_, index) =>
    index % 10 === 0 ? `junk ${index}` : `apply@spec-${index}`,
  );
  for (let at = 0; at < names.length; at += 100) {
    await Promise.all(names.slice(at, at + 100).map((name) => ask(folder.path, name)));
  }
  const before = process.cpuUsage();

  const all = await takeAll(folder.path);

  const { user, system } = process.cpuUsage(before);
  expect(all.names.toSorted()).toEqual(names.filter((name) => name.startsWith("apply@")).toSorted());
  expect(all.junk).toBe(1000);
  expect(await readdir(folder.path)).toEqual([]);
  expect((user + system) / 1e6, "seconds of processor time").toBeLessThan(20);
});

test("a folder that the agent has closed to everybody is emptied all the same", async () => {
  await using folder = await agentsFolder();
  await mkdir(join(folder.path, "closed"));
  await writeFile(join(folder.path, "closed", "file"), "");
  await chmod(join(folder.path, "closed"), 0);
  await chmod(folder.path, 0);

  expect((await takeAll(folder.path)).junk).toBe(1);
  expect(await readdir(folder.path)).toEqual([]);
  expect((await stat(folder.path)).mode & 0o777).toBe(0);
});

test("what cannot be removed is not met again and again, and holds up nothing", async () => {
  await using folder = await agentsFolder();
  const stuck = join(folder.path, "stuck");
  await mkdir(stuck);
  await execute("mount", ["-t", "tmpfs", "tmpfs", stuck]);
  try {
    await ask(folder.path, "observe");

    expect(await takeAll(folder.path)).toEqual({ names: ["observe"], junk: 0 });
    expect(await readdir(folder.path)).toEqual(["stuck"]);
  } finally {
    await execute("umount", [stuck]);
  }
});

test("a request behind thousands that seem to be just being written is found all the same", async () => {
  await using folder = await agentsFolder();
  // All within a minute, on a busy machine too: those that are older are removed as well.
  for (let number = 0; number < 3000; number += 1) writeFileSync(join(folder.path, `.unfinished-${number}`), "");
  await ask(folder.path, "observe");

  expect(await takeAll(folder.path)).toEqual({ names: ["observe"], junk: 2900 });
});

test("when its time is over a take leaves the junk for the next one, and requests are taken all the same", async () => {
  await using folder = await agentsFolder();
  for (let number = 0; number < 1500; number += 1) {
    await mkdir(join(folder.path, `junk ${number}`));
    await writeFile(join(folder.path, `junk ${number}`, "file"), "");
  }
  await mkdir(join(folder.path, "apply@folder", "deeper"), { recursive: true });
  await ask(folder.path, "observe");

  const { taken, junk } = await take(folder.path, systemClock.now(), AbortSignal.abort());

  expect(taken.map(({ name }) => name)).toEqual(["observe"]);
  expect(junk, "there is more to be taken at once").toBeGreaterThan(0);
  expect(await readdir(folder.path)).toHaveLength(1501);
  expect(await takeAll(folder.path)).toMatchObject({ names: [] });
});

test("time that is over while a full folder is emptied ends that", async () => {
  await using folder = await agentsFolder();
  const full = join(folder.path, "full");
  await mkdir(full);
  for (let number = 0; number < 5000; number += 1) await writeFile(join(full, `${number}`), "");
  const over = new AbortController();
  const watched = watch(full, () => over.abort());

  const { junk } = await take(folder.path, systemClock.now(), over.signal);
  watched.close();

  expect(junk).toBe(1);
  expect((await readdir(full)).length).toBeGreaterThan(0);
  expect(await takeAll(folder.path)).toEqual({ names: [], junk: 1 });
});
