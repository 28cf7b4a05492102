import { chmod, mkdir, mkdtempDisposable, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { watchSpecs } from "../../../src/agent/watch-specs.ts";

/** A watched folder, and how often a change was told of. */
async function watched(isThere: "there" | "missing", name = "specs") {
  const home = await mkdtempDisposable(join(tmpdir(), "certagent-watch-"));
  const [folder, config] = [join(home.path, name), join(home.path, "certagent.yaml")];
  if (isThere === "there") await mkdir(folder, { recursive: true });
  let told = 0;
  const failures: unknown[] = [];
  const watcher = watchSpecs(
    [folder, config],
    () => (told += 1),
    (error) => failures.push(error),
  );
  /** Resolves once something more was told, and all of one change was. */
  const more = async (after: number): Promise<number> => {
    await expect.poll(() => told).toBeGreaterThan(after);
    return told;
  };
  return {
    folder,
    config,
    look: watcher.look,
    failures,
    told: () => told,
    more,
    [Symbol.asyncDispose]: async () => {
      await watcher[Symbol.asyncDispose]();
      await home.remove();
    },
  };
}

test("a file that is written, and one that takes the place of another, are told of", async () => {
  await using here = await watched("there");
  let told = await here.more(0);

  await writeFile(join(here.folder, "web.yaml"), "a");
  told = await here.more(told);
  await writeFile(here.config, "a");
  told = await here.more(told);
  await writeFile(`${here.config}.new`, "b");
  await rename(`${here.config}.new`, here.config);
  await here.more(told);

  expect(here.failures).toEqual([]);
});

test("another mode of the folder or of a file, as a refusal of it asks for, is told of", async () => {
  await using here = await watched("there");
  await writeFile(here.config, "a");
  let told = await here.more(0);

  await chmod(here.folder, 0o777);
  told = await here.more(told);
  await chmod(here.folder, 0o755);
  told = await here.more(told);
  await chmod(here.config, 0o666);
  await here.more(told);
});

test("a folder that a link leads to, and the one that it leads to next, are told of", async () => {
  await using here = await watched("missing");
  const [first, second] = [`${here.folder}.1`, `${here.folder}.2`];
  await mkdir(first);
  await mkdir(second);
  let told = await here.more(0);
  await symlink(first, here.folder);
  told = await here.more(told);

  await symlink(second, `${here.folder}.new`);
  await rename(`${here.folder}.new`, here.folder);
  await here.look();
  told = await here.more(told);
  await new Promise((resolve) => setTimeout(resolve, 1000)); // it is watched anew
  await writeFile(join(second, "web.yaml"), "a");

  await here.more(told);
});

test("what changes beside a folder that is missing is nobody's business", async () => {
  await using here = await watched("missing");
  const told = await here.more(0);
  for (let index = 0; index < 20; index++) {
    await writeFile(`${here.config}.${index}`, "a");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }

  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(here.told()).toBe(told);
});

test("a folder that goes away and comes back is watched as before", async () => {
  await using here = await watched("there");
  let told = await here.more(0);

  await rename(here.folder, `${here.folder}.away`);
  told = await here.more(told);
  await rename(`${here.folder}.away`, here.folder);
  told = await here.more(told);
  await writeFile(join(here.folder, "web.yaml"), "a");
  told = await here.more(told);
  await rm(here.folder, { recursive: true });
  told = await here.more(told);
  await mkdir(here.folder);
  told = await here.more(told);
  await writeFile(join(here.folder, "web.yaml"), "a");
  await here.more(told);

  expect(here.failures).toEqual([]);
});

test("a folder that is made after the start is watched", async () => {
  await using here = await watched("missing");
  let told = await here.more(0);

  await mkdir(here.folder);
  told = await here.more(told);
  await writeFile(join(here.folder, "web.yaml"), "a");
  await here.more(told);

  expect(here.failures).toEqual([]);
});

test("another folder that comes to stand at the path, which makes no event, is watched once it was looked for", async () => {
  await using here = await watched("there", "first/specs");
  const [first, second] = [dirname(here.folder), join(dirname(here.config), "second")];
  let told = await here.more(0);
  await mkdir(join(second, "specs"), { recursive: true });
  await rename(first, `${first}.away`);
  await rename(second, first);

  await here.look();
  told = await here.more(told);
  await writeFile(join(here.folder, "web.yaml"), "a");
  await here.more(told);
  expect(here.failures).toEqual([]);
});
