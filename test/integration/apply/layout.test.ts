import { chmod, chown, lstat, mkdir, readdir, readlink, rm, symlink, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { expect, test } from "vitest";
import { nodeFiles } from "../../../src/base/atomic-file.ts";
import {
  ASKED,
  accessAt,
  makeHost,
  NAME,
  never,
  output,
  type PairState,
  pairAt,
  shellService,
  type TestHost,
  text,
} from "./harness.ts";

const setsOf = async (host: TestHost): Promise<string[]> => (await readdir(join(host.layout.live, NAME))).toSorted();

test("layout: link makes the paths links into one complete set", async () => {
  await using host = await makeHost({ layout: "link" });
  await host.issue();

  const report = await (await host.open()).apply(NAME, never);

  expect(report).toMatchObject({ deployed: 1, files: "written", failure: null });
  expect(await readlink(host.path("web.key"))).toBe(join(host.layout.live, NAME, "current", "web.key"));
  expect(await setsOf(host)).toEqual(["1", "current"]);
  expect(pairAt(host)).toHaveProperty("leaf");
  expect(accessAt(host.path("web.key"))).toMatchObject({ mode: 0o600 });
});

test("a renewal flips one link and touches no path", async () => {
  await using host = await makeHost({ layout: "link" });
  await host.issue();
  const applier = await host.open();
  await applier.apply(NAME, never);
  const { ino } = await lstat(host.path("web.key"));
  const { chain } = await host.issue();

  await applier.apply(NAME, never);

  expect((await lstat(host.path("web.key"))).ino).toBe(ino);
  expect(pairAt(host)).toMatchObject({ leaf: chain[0].fingerprint });
  expect(await readlink(join(host.layout.live, NAME, "current"))).toBe("2");
});

test("the first change to links makes the pair that is there generation 0", async () => {
  await using host = await makeHost();
  await host.issue();
  const applier = await host.open();
  await applier.apply(NAME, never);
  const old = await text(host.path("web.key"));
  host.desired = { ...host.desired, layout: "link", digest: "2" };
  await host.issue();

  const report = await applier.apply(NAME, never);

  expect(report.failure).toBeNull();
  expect(await setsOf(host)).toEqual(["0", "2", "current"]);
  expect(await text(join(host.layout.live, NAME, "0", "web.key"))).toBe(old);
});

test("a change back to files makes plain files again and removes the sets", async () => {
  await using host = await makeHost({ layout: "link" });
  await host.issue();
  const applier = await host.open();
  await applier.apply(NAME, never);
  host.desired = { ...host.desired, layout: "files", digest: "2" };

  const facts = (await applier.observe([ASKED], never)).get(NAME);
  const report = await applier.apply(NAME, never);

  expect(facts?.outputs[0]?.because).toContain("the spec says layout: files");
  expect(report.failure).toBeNull();
  expect(accessAt(host.path("web.key"))).toMatchObject({ link: null, mode: 0o600 });
  expect(await readdir(host.layout.live)).toEqual([]);
});

test.each(["link", "files"] as const)(
  "a path that the spec no longer names keeps what it held, then with layout: %s",
  async (layout) => {
    await using host = await makeHost({ layout: "link" });
    const named = host.desired.outputs;
    host.desired = { ...host.desired, outputs: [...named, output("roots", host.path("ca.crt"), { mode: 0o640 })] };
    await host.issue();
    const applier = await host.open();
    await applier.apply(NAME, never);
    const roots = await text(host.path("ca.crt"));
    host.desired = { ...host.desired, layout, outputs: named, digest: "2" };
    await host.issue();

    const { failure } = await applier.apply(NAME, never);

    expect(failure).toBeNull();
    expect(await text(host.path("ca.crt"))).toBe(roots);
    expect(accessAt(host.path("ca.crt"))).toMatchObject({ link: null, mode: 0o640 });
  },
);

test("links in a folder of the file's owner are read through, and at rest", async () => {
  await using host = await makeHost({ layout: "link" });
  const owned = host.desired.outputs.map((one) => ({ ...one, owner: "games", group: "games" }));
  host.desired = { ...host.desired, outputs: owned };
  await chown(host.tls, 5, 60);
  await host.issue();
  const applier = await host.open();
  await applier.apply(NAME, never);

  const facts = (await applier.observe([ASKED], never)).get(NAME);
  const { files } = await applier.apply(NAME, never);

  expect(facts?.outputs.map(({ state }) => state)).toEqual(["current", "current"]);
  expect(files).toBe("unchanged");
});

test("three sets are kept", async () => {
  await using host = await makeHost({ layout: "link" }, { fast: true });
  const applier = await host.open();
  for (let number = 1; number <= 5; number++) {
    await host.issue();
    await applier.apply(NAME, never);
  }

  expect(await setsOf(host)).toEqual(["3", "4", "5", "current"]);
});

test.each(["link", "files"] as const)(
  "an old set that cannot be removed is no failure (then layout: %s)",
  async (layout) => {
    await using host = await makeHost({ layout: "link" });
    await host.issue();
    const rmdir = () => Promise.reject(Object.assign(new Error("immutable"), { code: "EPERM" }));
    const applier = await host.open({ ...nodeFiles, rmdir });
    for (let number = 1; number < 5; number++) {
      await applier.apply(NAME, never);
      await host.issue();
    }
    host.desired = { ...host.desired, layout, digest: "2" };

    const report = await applier.apply(NAME, never);

    expect(report).toMatchObject({ deployed: 5, files: "written", failure: null });
    expect(host.log.filter((line) => line.startsWith("warning cannot remove what is no longer in force"))).not.toEqual(
      [],
    );
  },
);

test("a file that somebody put in a link's place is replaced by the link", async () => {
  await using host = await makeHost({ layout: "link" });
  await host.issue();
  const applier = await host.open();
  await applier.apply(NAME, never);
  const key = await text(host.path("web.key"));
  await rm(host.path("web.key"));
  await writeFile(host.path("web.key"), key);

  const facts = (await applier.observe([ASKED], never)).get(NAME);
  await applier.apply(NAME, never);

  expect(facts?.outputs[1]).toMatchObject({ state: "drifted" });
  expect((await lstat(host.path("web.key"))).isSymbolicLink()).toBe(true);
});

test("a dangling current is put right", async () => {
  await using host = await makeHost({ layout: "link" });
  await host.issue();
  const applier = await host.open();
  await applier.apply(NAME, never);
  const current = join(host.layout.live, NAME, "current");
  await rm(current);
  await symlink("nowhere", current);

  const report = await applier.apply(NAME, never);

  expect(report.failure).toBeNull();
  expect(pairAt(host)).toHaveProperty("leaf");
});

test("the folder that all links lead into is made anew where somebody removed it", async () => {
  await using host = await makeHost({ layout: "link" });
  await host.issue();
  const applier = await host.open();
  await applier.apply(NAME, never);
  await rm(host.layout.live, { recursive: true });

  const report = await applier.apply(NAME, never);

  expect(report).toMatchObject({ files: "written", failure: null });
  expect(accessAt(host.layout.live)).toMatchObject({ mode: 0o711 });
  expect(pairAt(host)).toHaveProperty("leaf");
});

test("two outputs of one name in two folders get files of their own", async () => {
  await using host = await makeHost({ layout: "link" });
  const outputs = [
    output("fullchain", host.path("cert/web.pem"), { mode: 0o644 }),
    output("key", host.path("key/web.pem")),
  ];
  host.desired = { ...host.desired, outputs };
  await host.issue();

  const report = await (await host.open()).apply(NAME, never);

  expect(report.failure).toBeNull();
  expect(await text(host.path("cert/web.pem"))).toContain("CERTIFICATE");
  expect(await text(host.path("key/web.pem"))).toContain("PRIVATE KEY");
});

/** An apply, and what the pair was after each rename. */
async function applyWatched(host: TestHost) {
  const seen: PairState[] = [];
  const rename: typeof nodeFiles.rename = async (from, to) => {
    await nodeFiles.rename(from, to);
    seen.push(pairAt(host));
  };
  return { report: await (await host.open({ ...nodeFiles, rename })).apply(NAME, never), seen };
}

test("a reload that fails leaves the pair that was found whole all the time, with files of one name beside it", async () => {
  await using host = await makeHost({ layout: "link", services: [shellService({ reloadBy: "false" })] });
  const { outputs } = host.desired;
  const others = outputs.map((one) => ({ ...one, path: host.path(`more/${basename(one.path)}`) }));
  host.desired = { ...host.desired, outputs: [...outputs, ...others] };
  const found = await host.pki.issue();
  await writeFile(host.path("web.crt"), found.pem);
  await writeFile(host.path("web.key"), found.key.toPem(), { mode: 0o600 });
  const old = pairAt(host);
  await host.issue();

  const { report, seen } = await applyWatched(host);

  expect(report.files).toBe("rolled-back");
  expect(seen).not.toContain("missing");
  expect(pairAt(host)).toEqual(old);
});

test("no file is missing while others of its name come, in folders of another user, and a pair stands there", async () => {
  await using host = await makeHost({ layout: "link" }, { fast: true });
  const owned = host.desired.outputs.map((one) => ({ ...one, owner: "games", group: "games" }));
  const others = owned.map((one) => ({ ...one, path: host.path(`more/${basename(one.path)}`) }));
  host.desired = { ...host.desired, outputs: owned };
  await chown(host.tls, 5, 60);
  await host.issue();
  await (await host.open()).apply(NAME, never);
  const found = await host.pki.issue();
  await mkdir(host.path("more"));
  await chown(host.path("more"), 5, 60);
  await writeFile(host.path("more/web.crt"), found.pem);
  await writeFile(host.path("more/web.key"), found.key.toPem(), { mode: 0o600 });
  host.desired = { ...host.desired, digest: "come", outputs: [...owned, ...others] };
  await host.issue();

  const { report, seen } = await applyWatched(host);

  expect(report).toMatchObject({ deployed: 2, files: "written", repaired: [] });
  expect(seen).not.toContain("missing");
});

test("links of root's own making are read through: what certbot keeps can be adopted", async () => {
  await using host = await makeHost();
  const found = await host.pki.issue();
  await writeFile(host.path("archive.crt"), found.pem);
  await writeFile(host.path("archive.key"), found.key.toPem(), { mode: 0o600 });
  await symlink("archive.crt", host.path("web.crt"));
  await symlink("archive.key", host.path("web.key"));
  const applier = await host.open();

  const facts = (await applier.observe([ASKED], never)).get(NAME);
  const adopted = await applier.adopt(NAME, never);

  expect(facts?.adoptable).toBe(true);
  expect(adopted?.key.keyId).toBe(found.key.keyId);
});

test.each(["", NAME])(
  "a folder of sets that others may write is told, and no repair is tried: live/%s",
  async (name) => {
    await using host = await makeHost({ layout: "link" });
    const applier = await host.open();
    await host.issue();
    await applier.apply(NAME, never);
    const before = pairAt(host);
    await chmod(join(host.layout.live, name), 0o777);

    const facts = (await applier.observe([ASKED], never)).get(NAME);
    const report = await applier.apply(NAME, never);

    expect(facts?.obstacle).toMatchObject({
      message: `Cannot use "${join(host.layout.live, name)}": everybody may write there`,
      hint: `chmod go-w ${join(host.layout.live, name)}`,
    });
    expect(report).toMatchObject({ files: "failed", repaired: [] });
    expect(pairAt(host)).toEqual(before);
  },
);
