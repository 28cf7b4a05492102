import { chown, lstat, readdir, readlink, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ASKED, accessAt, makeHost, NAME, never, output, pairAt, type TestHost, text } from "./harness.ts";

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
