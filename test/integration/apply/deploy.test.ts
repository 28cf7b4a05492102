import { execFileSync } from "node:child_process";
import { fstatSync, lstatSync } from "node:fs";
import {
  chmod,
  link,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  rename,
  rm,
  symlink,
  truncate,
  writeFile,
} from "node:fs/promises";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { type Files, nodeFiles } from "../../../src/base/atomic-file.ts";
import { ASKED, accessAt, leftovers, makeHost, NAME, never, output, pairAt, text } from "./harness.ts";

test("the first apply writes both files with the modes of the spec and leaves nothing else", async () => {
  await using host = await makeHost();
  const applier = await host.open();
  const { chain } = await host.issue();

  const report = await applier.apply(NAME, never);

  expect(report).toMatchObject({ deployed: 1, files: "written", failure: null, repaired: [] });
  expect(pairAt(host)).toMatchObject({ leaf: chain[0].fingerprint });
  expect(accessAt(host.path("web.key")).mode).toBe(0o600);
  expect(accessAt(host.path("web.crt")).mode).toBe(0o644);
  expect(await leftovers(host)).toEqual([]);
});

test("the facts say current after an apply, and missing before it", async () => {
  await using host = await makeHost();
  const applier = await host.open();
  await host.issue();

  const before = (await applier.observe([ASKED], never)).get(NAME);
  await applier.apply(NAME, never);
  const after = (await applier.observe([ASKED], never)).get(NAME);

  expect(before?.outputs.map(({ state }) => state)).toEqual(["missing", "missing"]);
  expect(before).toMatchObject({ deployed: null, adoptable: false, obstacle: null });
  expect(after?.outputs).toEqual([
    { path: host.path("web.crt"), format: "fullchain", state: "current", because: null },
    { path: host.path("web.key"), format: "key", state: "current", because: null },
  ]);
  expect(after?.deployed).toBe(1);
});

test("an apply with nothing to do writes nothing", async () => {
  await using host = await makeHost();
  const applier = await host.open();
  await host.issue();
  await applier.apply(NAME, never);
  const { ino } = await lstat(host.path("web.key"));

  const report = await applier.apply(NAME, never);

  expect(report).toMatchObject({ files: "unchanged", actions: [], failure: null });
  expect((await lstat(host.path("web.key"))).ino).toBe(ino);
});

test("a changed mode is told in the words of the spec, repaired, and said to be repaired", async () => {
  await using host = await makeHost();
  const applier = await host.open();
  await host.issue();
  await applier.apply(NAME, never);
  await chmod(host.path("web.key"), 0o644);

  const facts = (await applier.observe([ASKED], never)).get(NAME);
  const report = await applier.apply(NAME, never);

  expect(facts?.outputs[1]).toMatchObject({ state: "drifted", because: "has mode 0644, the spec says 0600" });
  expect(report.repaired).toEqual([host.path("web.key")]);
  expect(accessAt(host.path("web.key")).mode).toBe(0o600);
});

test("a file that certagent wrote is repaired whatever it holds now, and no copy is kept of what is no certificate or key", async () => {
  await using host = await makeHost();
  const applier = await host.open();
  await host.issue();
  await applier.apply(NAME, never);
  await writeFile(host.path("web.crt"), "#!/bin/sh\n");

  const report = await applier.apply(NAME, never);

  expect(report).toMatchObject({ failure: null, repaired: [host.path("web.crt")] });
  expect(pairAt(host)).toHaveProperty("leaf");
  expect(await readdir(host.layout.apply.replaced)).toEqual([]);
});

test("a change of the spec's mode is a change, not a repair", async () => {
  await using host = await makeHost();
  const applier = await host.open();
  await host.issue();
  await applier.apply(NAME, never);
  const outputs = [output("fullchain", host.path("web.crt"), { mode: 0o640 }), output("key", host.path("web.key"))];
  host.desired = { ...host.desired, digest: "2", outputs };

  const facts = (await applier.observe([ASKED], never)).get(NAME);
  const report = await applier.apply(NAME, never);

  expect(facts?.outputs[0]).toMatchObject({ state: "stale", because: "has mode 0644, the spec says 0640" });
  expect(report).toMatchObject({ repaired: [], files: "written" });
  expect(accessAt(host.path("web.crt")).mode).toBe(0o640);
});

test("a copy of what is replaced that was cut off is gone once there is a whole one", async () => {
  await using host = await makeHost();
  const folder = join(host.layout.apply.replaced, NAME);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await writeFile(join(folder, ".certagent-0123456789abcdef"), "half");
  await writeFile(host.path("web.crt"), (await host.pki.issue()).pem);
  await host.issue();

  await (await host.open()).apply(NAME, never);

  expect(await readdir(folder)).toEqual([expect.stringMatching(/-web\.crt$/)]);
});

test("PEM of somebody else is replaced, and a copy for root alone is kept the first time", async () => {
  await using host = await makeHost();
  const applier = await host.open();
  const foreign = await host.pki.issue();
  await writeFile(host.path("web.crt"), foreign.pem);
  await writeFile(host.path("web.key"), foreign.key.toPem());
  await host.issue();

  await applier.apply(NAME, never);

  const folder = join(host.layout.apply.replaced, NAME);
  const copies = (await readdir(folder)).toSorted((a, b) => a.slice(18).localeCompare(b.slice(18)));
  expect(await text(join(folder, copies[0] ?? ""))).toBe(foreign.pem);
  expect(await text(join(folder, copies[1] ?? ""))).toBe(foreign.key.toPem());
  expect(accessAt(join(folder, copies[1] ?? "")).mode).toBe(0o600);
});

test("a file of certagent's that is too long to be read by now is drift, not an obstacle", async () => {
  await using host = await makeHost();
  const applier = await host.open();
  await host.issue();
  await applier.apply(NAME, never);
  const deployed = pairAt(host);
  await truncate(host.path("web.crt"), 2 ** 31);

  const facts = (await applier.observe([ASKED], never)).get(NAME);
  const report = await applier.apply(NAME, never);

  expect(facts).toMatchObject({ obstacle: null, outputs: [{ state: "drifted" }, { state: "current" }] });
  expect(report).toMatchObject({ failure: null, repaired: [host.path("web.crt")] });
  expect(pairAt(host)).toEqual(deployed);
});

test("a file of certagent's that the disk does not give back is written anew", async () => {
  await using host = await makeHost();
  const first = await host.open();
  await host.issue();
  await first.apply(NAME, never);
  const { ino } = lstatSync(host.path("web.crt"));
  const read: Files["read"] = async (file, ...rest) => {
    if (fstatSync(file.fd).ino === ino) throw Object.assign(new Error("EIO"), { code: "EIO" });
    return await nodeFiles.read(file, ...rest);
  };
  const applier = await host.open({ ...nodeFiles, read });
  await host.issue();

  expect(await applier.apply(NAME, never)).toMatchObject({ failure: null, deployed: 2 });
  expect(pairAt(host)).toMatchObject({ leaf: expect.any(String) });
});

test("a copy is kept of each key that others put in a deployed one's place, up to a point", async () => {
  await using host = await makeHost();
  const applier = await host.open();
  await host.issue();
  await applier.apply(NAME, never);
  const put = async (content: string): Promise<void> => {
    await writeFile(host.path("web.key"), content);
    await applier.apply(NAME, never);
  };
  const keys = await Promise.all(["a", "b"].map(async () => (await host.pki.issue()).key.toPem()));

  for (const key of [...keys, ...keys]) await put(key);
  const folder = join(host.layout.apply.replaced, NAME);
  const copies = await Promise.all((await readdir(folder)).map((copy) => text(join(folder, copy))));
  for (let count = 0; count < 20; count += 1) await put(`${keys[0]}${count}`);

  expect(copies.toSorted()).toEqual(keys.toSorted());
  expect(await readdir(folder)).toHaveLength(8);
});

test.each(["live/web/current/web.key", "agent/web.key", "apply/replaced/web.key", "by-a-link/web.key"])(
  "an output among certagent's own files is an obstacle: %s",
  async (path) => {
    await using host = await makeHost({ layout: "link" });
    const applier = await host.open();
    await host.issue();
    await applier.apply(NAME, never);
    const state = dirname(host.layout.live);
    await symlink("live/web/current", join(state, "by-a-link"));
    host.desired = { ...host.desired, digest: "2", layout: "files", outputs: [output("combined", join(state, path))] };

    const facts = (await applier.observe([ASKED], never)).get(NAME);

    expect(facts?.obstacle?.message).toMatch("that folder is certagent's own");
    expect(await applier.apply(NAME, never)).toMatchObject({ files: "failed", failure: { code: "DEPLOY_FAILED" } });
  },
);

test("a copy is kept of a file whose name is as long as names can be", async () => {
  await using host = await makeHost();
  const path = host.path("k".repeat(255));
  await writeFile(path, (await host.pki.issue()).pem);
  host.desired = { ...host.desired, outputs: [output("combined", path)] };
  await host.issue();

  const report = await (await host.open()).apply(NAME, never);

  expect(report).toMatchObject({ files: "written", failure: null });
  expect(await readdir(join(host.layout.apply.replaced, NAME))).toHaveLength(1);
});

test("a folder that is missing is made, and said; two missing levels are an obstacle with the command to run", async () => {
  await using host = await makeHost();
  const applier = await host.open();
  await host.issue();
  host.desired = { ...host.desired, outputs: [output("combined", host.path("new/web.pem"))] };
  const report = await applier.apply(NAME, never);
  expect(report.actions).toContain(`made ${host.path("new")}/`);
  expect(accessAt(host.path("new")).mode).toBe(0o755);

  host.desired = { ...host.desired, digest: "2", outputs: [output("combined", host.path("a/b/web.pem"))] };
  const facts = (await applier.observe([ASKED], never)).get(NAME);

  expect(facts?.obstacle).toMatchObject({ code: "DEPLOY_FAILED", hint: `mkdir -p ${host.path("a/b")}` });
});

test("a command that a hint tells to run is about the very path, whatever its name", async () => {
  await using host = await makeHost();
  const applier = await host.open();
  const at = async (path: string) => {
    host.desired = { ...host.desired, digest: path, outputs: [output("combined", path)] };
    return (await applier.observe([ASKED], never)).get(NAME)?.obstacle?.hint;
  };
  await mkdir(host.path("open to all"));
  await chmod(host.path("open to all"), 0o777);
  execFileSync("mkfifo", [host.path("it's $HOME")]);

  expect(await at(host.path("a b/c/web.pem"))).toBe(`mkdir -p '${host.path("a b/c")}'`);
  expect(await at(host.path("open to all/web.pem"))).toBe(`chmod go-w '${host.path("open to all")}'`);
  expect(await at(host.path("it's $HOME"))).toContain(`rm '${host.path("it'\\''s $HOME")}',`);
});

const REFUSED: readonly [string, (path: string) => Promise<void>, RegExp][] = [
  ["a FIFO", async (path) => void execFileSync("mkfifo", [path]), /a FIFO stands there/],
  ["a folder", async (path) => void (await mkdir(path)), /a folder stands there/],
  ["a device", async (path) => void execFileSync("mknod", [path, "c", "1", "3"]), /a device stands there/],
  [
    "a hard link",
    async (path) => {
      await writeFile(`${path}.other`, "");
      await link(`${path}.other`, path);
    },
    /2 names/,
  ],
  ["a file of data", async (path) => await writeFile(path, "root:x:0:0::/root:/bin/sh\n"), /no certificate or key/],
];

test.each(REFUSED)("%s at the path is an obstacle, and stays as it is", async (_, make, words) => {
  await using host = await makeHost();
  const applier = await host.open();
  await host.issue();
  await make(host.path("web.crt"));
  const before = await lstat(host.path("web.crt"));

  const facts = (await applier.observe([ASKED], never)).get(NAME);
  const report = await applier.apply(NAME, never);

  expect(facts?.obstacle?.message).toMatch(words);
  expect(report).toMatchObject({ deployed: null, files: "failed", failure: { code: "DEPLOY_FAILED" } });
  expect((await lstat(host.path("web.crt"))).ino).toBe(before.ino);
  expect(await readdir(host.tls)).not.toContain("web.key");
});

test("a link at the path is replaced, and what it leads to is neither written nor read into the state", async () => {
  await using host = await makeHost();
  const applier = await host.open();
  await host.issue();
  const victim = join(host.folder, "victim");
  await writeFile(victim, "a secret\n");
  await symlink(victim, host.path("web.key"));

  await applier.apply(NAME, never);

  expect(await text(victim)).toBe("a secret\n");
  expect(accessAt(host.path("web.key"))).toMatchObject({ link: null, mode: 0o600 });
});

test("an unknown owner is an obstacle that names the user", async () => {
  await using host = await makeHost();
  const applier = await host.open();
  host.desired = { ...host.desired, outputs: [output("combined", host.path("web.pem"), { owner: "no-such-user" })] };

  const facts = (await applier.observe([ASKED], never)).get(NAME);

  expect(facts?.obstacle?.message).toContain('no user "no-such-user"');
});

test("somebody who is twice in an ACL, by name and by number, is an obstacle that says so", async () => {
  await using host = await makeHost();
  const applier = await host.open();
  const acl = ["nobody", "65534"].map((qualifier) => ({ tag: "user" as const, qualifier, permissions: "r" }));
  host.desired = { ...host.desired, outputs: [output("combined", host.path("web.pem"), { mode: 0o640, acl })] };

  const facts = (await applier.observe([ASKED], never)).get(NAME);

  expect(facts?.obstacle?.message).toContain('its ACL names user 65534 twice, the second time as "65534"');
});

test("owner, group and ACL are on the file, by name and by number", async () => {
  await using host = await makeHost();
  const applier = await host.open();
  await host.issue();
  const acl = [{ tag: "user" as const, qualifier: "www-data", permissions: "r" }];
  const key = output("key", host.path("web.key"), { owner: "nobody", group: "1234", mode: 0o640, acl });
  host.desired = { ...host.desired, outputs: [output("fullchain", host.path("web.crt"), { mode: 0o644 }), key] };

  const report = await applier.apply(NAME, never);

  expect(report.failure).toBeNull();
  expect(accessAt(host.path("web.key"))).toMatchObject({ uid: 65534, gid: 1234, mode: 0o640 });
  const listed = execFileSync("getfacl", ["-cnp", host.path("web.key")], { encoding: "utf8" });
  expect(listed.trim().split("\n")).toEqual(["user::rw-", "user:33:r--", "group::r--", "mask::r--", "other::---"]);
});

test("a default ACL of the folder gives nobody rights that the spec does not", async () => {
  await using host = await makeHost();
  const applier = await host.open();
  await host.issue();
  execFileSync("setfacl", ["-d", "-m", "u:www-data:rwx,g::rwx", host.tls]);
  const outputs = [
    output("fullchain", host.path("web.crt"), { mode: 0o644 }),
    output("key", host.path("web.key"), { mode: 0o640 }),
  ];
  host.desired = { ...host.desired, outputs };

  const report = await applier.apply(NAME, never);

  expect(report.failure).toBeNull();
  const listed = execFileSync("getfacl", ["-cnp", host.path("web.key")], { encoding: "utf8" });
  expect(listed.trim().split("\n")).toEqual(["user::rw-", "group::r--", "other::---"]);
});

test("an ACL that was lost is drift, in words", async () => {
  await using host = await makeHost();
  const applier = await host.open();
  await host.issue();
  const acl = [{ tag: "user" as const, qualifier: "33", permissions: "r" }];
  host.desired = { ...host.desired, outputs: [output("combined", host.path("web.pem"), { mode: 0o640, acl })] };
  await applier.apply(NAME, never);
  execFileSync("setfacl", ["-b", host.path("web.pem")]);

  const facts = (await applier.observe([ASKED], never)).get(NAME);

  expect(facts?.outputs[0]).toMatchObject({ state: "drifted", because: "has no ACL, the spec says user:33:r--" });
});

test.each([0o644, 0o640])("an ACL that shuts somebody out of a file is drift (mode %o)", async (mode) => {
  await using host = await makeHost();
  const applier = await host.open();
  await host.issue();
  const path = host.path("web.pem");
  host.desired = { ...host.desired, outputs: [output("fullchain", path, { mode })] };
  execFileSync("setfacl", ["-d", "-m", "u:www-data:r", host.tls]);
  await applier.apply(NAME, never);
  const look = async () => (await applier.observe([ASKED], never)).get(NAME)?.outputs[0];
  expect(await look()).toMatchObject({ state: "current" });
  execFileSync("setfacl", ["-m", "u:33:---", path]);

  expect(await look()).toMatchObject({ state: "drifted", because: "has the ACL user:33:---, the spec says none" });
  await applier.apply(NAME, never);
  expect(await look()).toMatchObject({ state: "current" });
});

test.each([[], [{ tag: "user", qualifier: "33", permissions: "r" } as const]])(
  "an ACL that shuts a file's own group out below its mask is drift (ACL %o)",
  async (...acl) => {
    await using host = await makeHost();
    const applier = await host.open();
    await host.issue();
    const path = host.path("web.key");
    host.desired = { ...host.desired, outputs: [output("key", path, { mode: 0o640, acl })] };
    await applier.apply(NAME, never);
    const look = async () => (await applier.observe([ASKED], never)).get(NAME)?.outputs[0];
    expect(await look()).toMatchObject({ state: "current" });
    execFileSync("setfacl", ["-m", "g::---,m::r--", path]);

    expect(await look()).toMatchObject({ state: "drifted", because: expect.stringContaining("group::---") });
    await applier.apply(NAME, never);
    expect(await look()).toMatchObject({ state: "current" });
    expect(execFileSync("getfacl", ["-nc", path]).toString()).toContain("group::r--");
  },
);

test("a folder that others may write is an obstacle with the command that mends it", async () => {
  await using host = await makeHost();
  const applier = await host.open();
  await chmod(host.tls, 0o777);

  const facts = (await applier.observe([ASKED], never)).get(NAME);

  expect(facts?.obstacle).toMatchObject({ hint: `chmod go-w ${host.tls}` });
});

test("a folder that an ACL lets somebody write is an obstacle, and so is one below it", async () => {
  await using host = await makeHost();
  const applier = await host.open();
  await mkdir(host.path("inner"));
  host.desired = { ...host.desired, outputs: [output("combined", host.path("inner/web.pem"))] };
  execFileSync("setfacl", ["-m", "u:65534:rwx", host.tls]);

  const facts = (await applier.observe([ASKED], never)).get(NAME);

  expect(facts?.obstacle?.message).toContain("its group (or a user that its ACL names) may write there");
});

test("a folder that is there for everybody, as /tmp is, is not told to be closed", async () => {
  await using host = await makeHost();
  const applier = await host.open();
  await chmod(host.tls, 0o1777);

  const facts = (await applier.observe([ASKED], never)).get(NAME);

  expect(facts?.obstacle).toMatchObject({ hint: "name a path elsewhere: this folder is there for everybody" });
});

test("a folder of the output's owner is used; one of anybody else is an obstacle", async () => {
  await using host = await makeHost();
  const applier = await host.open();
  await host.issue();
  execFileSync("chown", ["nobody", host.tls]);
  const refused = (await applier.observe([ASKED], never)).get(NAME);
  const outputs = [output("combined", host.path("web.pem"), { owner: "nobody" })];
  host.desired = { ...host.desired, digest: "2", outputs };

  const report = await applier.apply(NAME, never);

  expect(refused?.obstacle?.message).toContain("belongs to user 65534");
  expect(report.failure).toBeNull();
  expect(accessAt(host.path("web.pem")).uid).toBe(65534);
});

test("the umask of the process changes no mode", async () => {
  await using host = await makeHost();
  const applier = await host.open();
  await host.issue();
  const old = process.umask(0o777);
  try {
    await applier.apply(NAME, never);
  } finally {
    process.umask(old);
  }

  expect(accessAt(host.path("web.crt")).mode).toBe(0o644);
});

test("the root side's own folders are made anew where somebody removed them", async () => {
  await using host = await makeHost();
  await writeFile(host.path("web.crt"), "-----BEGIN CERTIFICATE-----\n");
  await host.issue();
  const applier = await host.open();
  await applier.recover();
  await rm(host.layout.apply.folder, { recursive: true });

  const report = await applier.apply(NAME, never);

  expect(report).toMatchObject({ files: "written", failure: null });
  expect(accessAt(host.layout.apply.folder)).toMatchObject({ mode: 0o700 });
  expect((await readdir(host.layout.apply.folder)).toSorted()).toEqual(["facts", "intents", "replaced"]);
});

test("a pair that fits is adoptable, is handed over, and stays untouched when it is staged", async () => {
  await using host = await makeHost();
  const applier = await host.open();
  const found = await host.pki.issue();
  await writeFile(host.path("web.crt"), found.pem, { mode: 0o644 });
  await writeFile(host.path("web.key"), found.key.toPem(), { mode: 0o600 });
  const { ino } = await lstat(host.path("web.key"));

  const facts = (await applier.observe([ASKED], never)).get(NAME);
  const adopted = await applier.adopt(NAME, never);
  await host.issue({ via: "adopted" });

  expect(facts?.adoptable).toBe(true);
  expect(adopted?.chain[0].fingerprint).toBe(found.leaf.fingerprint);
  expect(adopted?.key.keyId).toBe(found.key.keyId);
  expect((await lstat(host.path("web.key"))).ino).toBe(ino);
});

test.each([[["roots", "chain", "certificate", "key"]], [["key", "certificate", "chain"]]])(
  "a pair whose leaf and intermediates have a file each (%j) is handed over whole",
  async (formats) => {
    await using host = await makeHost();
    host.desired = { ...host.desired, outputs: formats.map((format) => output(format, host.path(format))) };
    const applier = await host.open();
    const { key, chain } = await host.pki.issue();
    await writeFile(host.path("roots"), host.pki.root.certificate.pem);
    await writeFile(host.path("chain"), chain[1]?.pem ?? "");
    await writeFile(host.path("certificate"), chain[0].pem);
    await writeFile(host.path("key"), key.toPem());

    const adopted = await applier.adopt(NAME, never);

    expect(adopted?.chain.map(({ fingerprint }) => fingerprint)).toEqual(chain.map(({ fingerprint }) => fingerprint));
  },
);

test("a pair of another name is not adopted", async () => {
  await using host = await makeHost();
  const applier = await host.open();
  const found = await host.pki.issue({ names: ["other.internal"] });
  await writeFile(host.path("web.crt"), found.pem);
  await writeFile(host.path("web.key"), found.key.toPem());

  expect(await applier.adopt(NAME, never)).toBeUndefined();
});

test("a generation that has expired replaces nothing", async () => {
  await using host = await makeHost();
  const applier = await host.open();
  await host.issue();
  await applier.apply(NAME, never);
  const before = pairAt(host);
  await host.issue({ notAfter: 1_700_000_000_000 });

  const report = await applier.apply(NAME, never);

  expect(report).toMatchObject({ deployed: 1, failure: { code: "CHAIN_UNUSABLE" } });
  expect(pairAt(host)).toEqual(before);
});

test("unfinished files of a killed process are removed at the start; dotfiles of others stay", async () => {
  await using host = await makeHost();
  await writeFile(host.path(".certagent-0123456789abcdef"), "half");
  await writeFile(host.path(".htaccess"), "theirs");

  await (await host.open()).recover();

  expect(await readdir(host.tls)).toEqual([".htaccess"]);
});

test("sets that cannot be listed at the start keep nothing from being deployed", async () => {
  await using host = await makeHost();
  await host.issue();
  const readdir = async (): Promise<never> => {
    throw Object.assign(new Error("EIO: i/o error, scandir"), { code: "EIO" });
  };

  const { failure } = await (await host.open({ ...nodeFiles, readdir })).apply(NAME, never);

  expect(failure).toBeNull();
});

test("a folder that many specs write into is looked into once at the start", async () => {
  await using host = await makeHost();
  const names = Array.from({ length: 20 }, (_, index) => `web-${index}`);
  const specs = new Map(names.map((name) => [name, { ...host.desired, name }]));
  let looks = 0;
  const open: Files["open"] = (path, ...how) => {
    if (path.endsWith("/tls")) looks += 1;
    return nodeFiles.open(path, ...how);
  };

  await (await host.open({ ...nodeFiles, open }, { specs })).recover();

  expect(looks).toBe(1);
});

test("before there is something to look at, specs are read only where a change was cut off", async () => {
  await using host = await makeHost();
  let reads = 0;
  const onRead = (): void => void (reads += 1);

  await (await host.open(undefined, { onRead })).finish();
  expect(reads).toBe(0);

  await mkdir(host.layout.apply.intents, { recursive: true });
  await writeFile(join(host.layout.apply.intents, `${NAME}.json`), "torn");
  await (await host.open(undefined, { onRead })).finish();
  expect(reads).toBe(1);
});

test("two names are applied side by side, one name one after the other", async () => {
  await using host = await makeHost();
  const applier = await host.open();
  await host.issue();

  const reports = await Promise.all([applier.apply(NAME, never), applier.apply(NAME, never)]);

  expect(reports.map(({ files }) => files)).toEqual(["written", "unchanged"]);
});

test("a folder that is swapped for a link after it was looked at leads nowhere else", async () => {
  await using host = await makeHost();
  await host.issue();
  const elsewhere = await mkdtemp(join(host.folder, "elsewhere-"));
  const { nodeFiles } = await import("../../../src/base/atomic-file.ts");
  let swapped = false;
  const applier = await host.open({
    ...nodeFiles,
    sync: async (file) => {
      await nodeFiles.sync(file);
      if (swapped || !(await readdir(host.tls)).some((name) => name.startsWith(".certagent-"))) return;
      swapped = true;
      await rename(host.tls, `${host.tls}.moved`);
      await symlink(elsewhere, host.tls);
    },
  });

  await applier.apply(NAME, never);

  expect(swapped).toBe(true);
  expect(await readdir(elsewhere)).toEqual([]);
  await rm(host.tls);
  await rename(`${host.tls}.moved`, host.tls);
  expect(pairAt(host)).toHaveProperty("leaf");
});
