import { execFileSync } from "node:child_process";
import { chmod, readdir, rm, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type Files, nodeFiles } from "../../../src/base/atomic-file.ts";
import { AgentError } from "../../../src/base/errors.ts";
import type { Run } from "../../../src/base/run.ts";
import { MINUTE, SECOND, systemClock } from "../../../src/base/time.ts";
import { ASKED, makeHost, NAME, never, output, pairAt, shellService } from "./harness.ts";

const ENDED = { signal: null, timedOut: false };

test("a second look at what has not changed opens no file and starts no process", async () => {
  await using host = await makeHost();
  const acl = [{ tag: "user" as const, qualifier: "33", permissions: "r" }];
  host.desired = { ...host.desired, outputs: [output("combined", host.path("web.pem"), { mode: 0o640, acl })] };
  await host.issue();
  let opened = 0;
  const files = {
    ...nodeFiles,
    open: (...args: Parameters<typeof nodeFiles.open>) => ((opened += 1), nodeFiles.open(...args)),
  };
  let started = 0;
  const later = { ...systemClock, now: () => systemClock.now() + 10_000 };
  const applier = await host.open(files, { clock: later, onRun: () => (started += 1) });
  await applier.apply(NAME, never);
  await applier.observe([ASKED], never);
  [opened, started] = [0, 0];

  const facts = (await applier.observe([ASKED], never)).get(NAME);

  expect(facts?.outputs[0]?.state).toBe("current");
  expect([opened, started]).toEqual([0, 0]);
});

test("a pair whose generation was damaged since it was deployed can be adopted", async () => {
  await using host = await makeHost();
  const { number } = await host.issue();
  const applier = await host.open();
  await applier.apply(NAME, never);
  await writeFile(join(host.layout.agent.generations(NAME), `${number}.json`), "{");

  const facts = (await applier.observe([{ ...ASKED, generation: null }], never)).get(NAME);

  expect(facts?.adoptable).toBe(true);
});

test("a look whose asker knows what is newest reads no generation after an apply", async () => {
  await using host = await makeHost();
  const { number } = await host.issue();
  const applier = await host.open();
  await applier.apply(NAME, never);
  await rm(host.layout.agent.generations(NAME), { recursive: true });

  const known = (await applier.observe([{ ...ASKED, generation: number }], never)).get(NAME);
  const other = (await applier.observe([{ ...ASKED, generation: number + 1 }], never)).get(NAME);

  expect(known?.outputs.map(({ state }) => state)).toEqual(["current", "current"]);
  expect(other?.adoptable).toBe(true);
});

test.each([
  ["has read the same text", {}, 0],
  ["has read another text", { digest: "2" }, 1],
  ["knows that something happened", { afresh: true }, 1],
])("for who looks and %s, it is looked whether the spec is still the same: %o, %i", async (_, asked, count) => {
  await using host = await makeHost();
  await host.issue();
  let looked = 0;
  const applier = await host.open(undefined, { specIsCurrent: async () => ((looked += 1), true) });
  await applier.apply(NAME, never);
  expect(looked).toBe(1); // what changes something always looks
  looked = 0;

  await applier.observe([{ ...ASKED, ...asked }], never);

  expect(looked).toBe(count);
});

test("what was applied of one text of a spec is not taken for what another asks for", async () => {
  await using host = await makeHost();
  const { number } = await host.issue();
  const applier = await host.open();
  await applier.apply(NAME, never);
  const outputs = [output("certificate", host.path("web.crt"), { mode: 0o644 }), output("key", host.path("web.key"))];
  host.desired = { ...host.desired, digest: "2", outputs };

  const facts = (await applier.observe([{ ...ASKED, generation: number }], never)).get(NAME);

  expect(facts?.outputs.map(({ state }) => state)).toEqual(["stale", "current"]);
});

test("bytes that were changed without a trace in the times are seen", async () => {
  await using host = await makeHost();
  await host.issue();
  const applier = await host.open();
  await applier.apply(NAME, never);
  await applier.observe([ASKED], never);
  await writeFile(host.path("web.crt"), "changed", { flag: "r+" });
  await utimes(host.path("web.crt"), 1, 1);

  const facts = (await applier.observe([ASKED], never)).get(NAME);

  expect(facts?.outputs[0]).toMatchObject({ state: "drifted", because: "was changed by somebody else" });
});

const GROUP = `certagent-${process.pid}`;

test.each([
  ["is gone", undefined],
  ["has another number", 61_234],
])("a file for a group that %s since the last look is not current any more", async (_, later) => {
  await using host = await makeHost();
  const outputs = [output("combined", host.path("web.pem"), { mode: 0o640, group: GROUP })];
  host.desired = { ...host.desired, outputs };
  await host.issue();
  let [gid, ahead]: [number | undefined, number] = [process.getegid?.(), 10 * SECOND];
  const ask: Run = async () => ({ ...ENDED, exitCode: gid === undefined ? 2 : 0, output: `${GROUP}:x:${gid}:\n` });
  const now = (): number => systemClock.now() + ahead;
  const applier = await host.open(undefined, {
    ask,
    clock: { ...systemClock, now, monotonic: () => systemClock.monotonic() + ahead },
  });
  await applier.apply(NAME, never);
  const before = (await applier.observe([ASKED], never)).get(NAME);
  [gid, ahead] = [later, 2 * MINUTE];

  const facts = (await applier.observe([ASKED], never)).get(NAME);

  expect(before?.outputs[0]?.state).toBe("current");
  expect(facts?.outputs[0]?.state).not.toBe("current");
});

test("an older generation is stale, a foreign file foreign, a removed one missing", async () => {
  await using host = await makeHost();
  await host.issue();
  const applier = await host.open();
  await applier.apply(NAME, never);
  await host.issue();
  const stale = (await applier.observe([ASKED], never)).get(NAME);
  const outputs = [output("fullchain", host.path("other.crt")), output("key", host.path("gone.key"))];
  await writeFile(host.path("other.crt"), (await host.pki.issue()).pem);
  host.desired = { ...host.desired, digest: "2", outputs };

  const facts = (await applier.observe([ASKED], never)).get(NAME);

  expect(stale?.outputs.map(({ state }) => state)).toEqual(["stale", "stale"]);
  expect(facts?.outputs.map(({ state }) => state)).toEqual(["foreign", "missing"]);
});

test("an immutable folder is an obstacle before an issuance is spent, with chattr as the remedy", async () => {
  await using host = await makeHost();
  execFileSync("chattr", ["+i", host.tls]);
  try {
    const facts = (await (await host.open()).observe([ASKED], never)).get(NAME);

    expect(facts?.obstacle).toMatchObject({ code: "DEPLOY_FAILED", hint: expect.stringContaining("chattr") });
  } finally {
    execFileSync("chattr", ["-i", host.tls]);
  }
});

test("a folder that nobody may write is no obstacle where links stand in it already, which a renewal leaves as they are", async () => {
  await using host = await makeHost({ layout: "link" });
  await host.issue();
  const applier = await host.open();
  await applier.apply(NAME, never);
  const { number, chain } = await host.issue();
  execFileSync("chattr", ["+i", host.tls]);
  try {
    const facts = (await applier.observe([ASKED], never)).get(NAME);
    const report = await applier.apply(NAME, never);

    expect(facts?.obstacle).toBeNull();
    expect(report).toMatchObject({ deployed: number, failure: null });
    expect(pairAt(host)).toMatchObject({ leaf: chain[0].fingerprint });
  } finally {
    execFileSync("chattr", ["-i", host.tls]);
  }
});

test.each([
  ["is full", ["-o", "size=8k,mode=755"], "no space left on device", "df -h"],
  ["is read-only", ["-o", "ro,mode=755"], "read-only file system", "mkdir"],
])(
  "a folder that has to be made where the disk %s is an obstacle before an issuance is spent",
  async (_, how, words, remedy) => {
    await using host = await makeHost();
    execFileSync("mount", ["-t", "tmpfs", ...how, "tmpfs", host.tls]);
    try {
      host.desired = { ...host.desired, outputs: [output("combined", host.path("new/web.pem"))] };

      const facts = (await (await host.open()).observe([ASKED], never)).get(NAME);

      expect(facts?.obstacle?.message).toContain(words);
      expect(facts?.obstacle?.hint).toContain(remedy);
    } finally {
      execFileSync("umount", [host.tls]);
    }
  },
);

test("a full disk is an obstacle before an issuance is spent, and no longer once there is room", async () => {
  await using host = await makeHost();
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=128k,mode=755", "tmpfs", host.tls]);
  try {
    await writeFile(host.path("filler"), Buffer.alloc(100 * 1024));
    const applier = await host.open();
    const full = (await applier.observe([ASKED], never)).get(NAME);
    await writeFile(host.path("filler"), "");
    const roomy = (await applier.observe([ASKED], never)).get(NAME);

    expect(full?.obstacle?.message).toContain("no space left on device");
    expect(roomy?.obstacle).toBeNull();
  } finally {
    execFileSync("umount", [host.tls]);
  }
});

test.each([
  ["root's", "open", "EOPNOTSUPP", null],
  ["root's, and can be had", "write", undefined, null],
  ["the file system's own", "write", "ENOSPC", "no space left on device"],
  ["the file system's own, and no inode is", "open", "ENOSPC", "no space left on device"],
] as const)(
  "where users have no room left and what is free is %s, that decides whether it is an obstacle (%s %s)",
  async (_, call, code, words) => {
    await using host = await makeHost();
    const tmpfile = 0o20000000;
    const fails = async (): Promise<never> => Promise.reject(Object.assign(new Error(code), { code }));
    const open: Files["open"] = (path, flags, mode) =>
      call === "open" && (flags & tmpfile) !== 0 ? fails() : nodeFiles.open(path, flags, mode);
    const write: Files["write"] = (...args) => (code === undefined ? nodeFiles.write(...args) : fails());
    const ext4 = { blocks: 146_866, bfree: 3235, bavail: 0, bsize: 4096 }; // when root can write nothing more
    const statfs: Files["statfs"] = async (path) => Object.assign(await nodeFiles.statfs(path), ext4);
    const applier = await host.open({ ...nodeFiles, open, write, statfs });

    const facts = (await applier.observe([ASKED], never)).get(NAME);

    if (words === null) expect(facts?.obstacle).toBeNull();
    else expect(facts?.obstacle?.message).toContain(words);
    expect(await readdir(host.tls)).toEqual([]);
  },
);

test("a file system that tells no size, as ramfs, is not full; that it knows no ACLs is told when one is asked for", async () => {
  await using host = await makeHost();
  const acl = [{ tag: "user" as const, qualifier: "33", permissions: "r" }];
  const key = { mode: 0o640, acl };
  execFileSync("mount", ["-t", "ramfs", "ramfs", host.tls]);
  try {
    await chmod(host.tls, 0o755);
    host.desired = { ...host.desired, outputs: [output("combined", host.path("web.pem"), key)] };
    await host.issue();
    const applier = await host.open();

    expect((await applier.observe([ASKED], never)).get(NAME)?.obstacle).toBeNull();
    const { failure } = await applier.apply(NAME, never);
    expect(failure).toMatchObject({
      code: "DEPLOY_FAILED",
      hint: expect.stringContaining("leave acl: out of the spec"),
    });
    expect(await readdir(host.tls)).toEqual([]);

    host.desired = { ...host.desired, digest: "2", outputs: [output("combined", host.path("web.pem"))] };
    expect((await applier.apply(NAME, never)).failure).toBeNull();
  } finally {
    execFileSync("umount", [host.tls]);
  }
});

test("a disk that is full when the files are written keeps the old pair", async () => {
  await using host = await makeHost();
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=16k,mode=755", "tmpfs", host.tls]);
  try {
    await host.issue();
    const applier = await host.open();
    await applier.apply(NAME, never);
    await writeFile(host.path("filler"), Buffer.alloc(4096));
    await host.issue();

    const report = await applier.apply(NAME, never);

    expect(report).toMatchObject({ deployed: 1, files: "failed" });
    expect(report.failure?.message).toContain("no space left on device");
  } finally {
    execFileSync("umount", [host.tls]);
  }
});

test("a service without a unit is up or down by a connection to its probe's address", async () => {
  await using host = await makeHost();
  const target = { address: { host: "127.0.0.1", port: 1 }, starttls: "tls", serverName: null, timeout: 100 };
  const service = { ...shellService({ probe: target }), liveness: async () => "unknown" as const };
  host.desired = { ...host.desired, services: [service] };

  const facts = (await (await host.open()).observe([ASKED], never)).get(NAME);

  expect(facts?.services).toEqual([
    { type: "shell", liveness: "down", probe: target, reloaded: null, servedUntil: null },
  ]);
});

test("what a service says it would never take is an obstacle", async () => {
  await using host = await makeHost();
  const obstacle = () => new AgentError("DEPLOY_FAILED", "Cannot use the key: others may read it");
  host.desired = { ...host.desired, services: [{ ...shellService({}), obstacle }] };

  const facts = (await (await host.open()).observe([ASKED], never)).get(NAME);

  expect(facts?.obstacle?.message).toBe("Cannot use the key: others may read it");
});

test("a folder that certagent made in a folder of the output's owner is used again", async () => {
  await using host = await makeHost();
  execFileSync("chown", ["nobody", host.tls]);
  host.desired = { ...host.desired, outputs: [output("combined", host.path("new/web.pem"), { owner: "nobody" })] };
  await host.issue();
  const applier = await host.open();
  await applier.apply(NAME, never);
  await host.issue();

  expect(await applier.apply(NAME, never)).toMatchObject({ deployed: 2, failure: null });
});
