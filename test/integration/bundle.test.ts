import { execFile } from "node:child_process";
import { mkdtempDisposable, readdir, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import manifest from "../../package.json" with { type: "json" };
import { bundle } from "../../scripts/build.ts";

const PACKAGES = "test/integration/bundled/packages.ts";

const temporaryFolder = (): ReturnType<typeof mkdtempDisposable> =>
  mkdtempDisposable(join(tmpdir(), "certagent-bundle-"));

test("the bundle runs away from node_modules, and evaluates a heavy package only when it is needed", async () => {
  await using folder = await temporaryFolder();
  await bundle(PACKAGES, folder.path);

  const { stdout, stderr } = await promisify(execFile)(process.execPath, [join(folder.path, "certagent.mjs")], {
    cwd: "/",
  });

  expect(stderr).toBe("");
  expect(JSON.parse(stdout)).toEqual({
    manifest: { version: manifest.version },
    light: ["function", "text"],
    hasReflectMetadata: false,
    csr: expect.stringContaining("BEGIN CERTIFICATE REQUEST"),
    token: expect.stringMatching(/^[\w-]+\.[\w-]+\.[\w-]+$/),
    yaml: "text",
  });
});

test("two builds of the same sources are the same bytes", async () => {
  await using first = await temporaryFolder();
  await using second = await temporaryFolder();

  for (const { path } of [first, second]) await bundle(PACKAGES, path);

  expect(await readdir(first.path)).toEqual(["LICENSES.txt", "certagent.mjs"]);
  for (const name of await readdir(first.path)) {
    const [one, other] = await Promise.all([first, second].map(({ path }) => readFile(join(path, name))));
    expect(one?.equals(other ?? Buffer.alloc(0)), name).toBe(true);
  }
});

test("a heavy package that would be loaded at start fails the build, with the way that leads to it", async () => {
  await using folder = await temporaryFolder();

  const building = bundle("test/integration/bundled/jose-at-start.ts", folder.path);

  await expect(building).rejects.toThrow(/^jose is loaded at start: \S+jose-at-start\.ts → \S+bundled\/jose\.ts$/);
  expect(await readdir(folder.path)).toEqual([]);
});

test("the whole of undici fails the build, however late it is loaded", async () => {
  await using folder = await temporaryFolder();

  const building = bundle("test/integration/bundled/whole-undici.ts", folder.path);

  await expect(building).rejects.toThrow("the index of undici is imported");
});

test("the licences of all that the bundle holds lie beside it, those of packages of packages too", async () => {
  await using folder = await temporaryFolder();
  await bundle(PACKAGES, folder.path);

  const licences = await readFile(join(folder.path, "LICENSES.txt"), "utf8");

  for (const name of [...Object.keys(manifest.dependencies), "tsyringe", "sonic-boom"]) {
    expect(licences).toMatch(new RegExp(`^${name} \\d+\\.\\d+\\.\\d+ \\(.+\\)$`, "m"));
  }
});
