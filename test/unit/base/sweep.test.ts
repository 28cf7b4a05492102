import { mkdir, mkdtempDisposable, readdir, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type Files, nodeFiles } from "../../../src/base/atomic-file.ts";
import { sweepTemporaries } from "../../../src/base/sweep.ts";

const TEMPORARY = ".certagent-0123456789abcdef";

test("temporary files go from a folder and those below it, and nobody asks about the others one by one", async () => {
  await using state = await mkdtempDisposable(join(tmpdir(), "certagent-sweep-"));
  const inner = join(state.path, "facts", "inner");
  await mkdir(inner, { recursive: true });
  for (const folder of [state.path, inner]) {
    for (const name of [TEMPORARY, "web.json", ".htaccess"]) await writeFile(join(folder, name), "");
  }
  await mkdir(join(inner, ".certagent-fedcba9876543210"));
  let calls = 0;
  const counted = Object.fromEntries(
    Object.entries(nodeFiles).map(([call, act]) => [
      call,
      (...values: never[]) => ((calls += 1), (act as (...values: never[]) => unknown)(...values)),
    ]),
  ) as unknown as Files;

  await sweepTemporaries(state.path, counted);

  expect((await readdir(state.path)).toSorted()).toEqual([".htaccess", "facts", "web.json"]);
  expect((await readdir(inner)).toSorted()).toEqual([".certagent-fedcba9876543210", ".htaccess", "web.json"]);
  // Four folders are opened and listed, two files removed.
  expect(calls).toBe(4 + 4 + 2);
});

test("a folder that somebody else sweeps is not looked into", async () => {
  await using state = await mkdtempDisposable(join(tmpdir(), "certagent-sweep-"));
  for (const folder of ["facts", "generations"]) {
    await mkdir(join(state.path, folder));
    await writeFile(join(state.path, folder, TEMPORARY), "");
  }

  await sweepTemporaries(state.path, nodeFiles, "generations");

  expect(await readdir(join(state.path, "facts"))).toEqual([]);
  expect(await readdir(join(state.path, "generations"))).toEqual([TEMPORARY]);
});

test("a folder that is missing needs no sweep", async () => {
  await expect(sweepTemporaries(join(tmpdir(), "certagent-no-such-folder"))).resolves.toBeUndefined();
});

test("a folder that cannot be opened keeps no other from being swept", async () => {
  await using state = await mkdtempDisposable(join(tmpdir(), "certagent-sweep-"));
  for (const folder of ["facts", "specs"]) {
    await mkdir(join(state.path, folder));
    await writeFile(join(state.path, folder, TEMPORARY), "");
  }
  const failing: Files = {
    ...nodeFiles,
    open: (path, ...more) =>
      path.endsWith("/facts") ? Promise.reject(new Error("EIO")) : nodeFiles.open(path, ...more),
  };

  await sweepTemporaries(state.path, failing);

  expect(await readdir(join(state.path, "specs"))).toEqual([]);
});
