import { mkdtempDisposable, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { generationCache } from "../../../src/agent/observed-generation.ts";
import { openGenerations } from "../../../src/store/generations.ts";
import { makePki } from "../../servers/pki.ts";
import { NOW, request } from "../core/given.ts";

async function open(count: number) {
  const home = await mkdtempDisposable(join(tmpdir(), "certagent-observed-"));
  const generations = openGenerations(home.path);
  const pki = await makePki();
  const { key, chain } = await pki.issue();
  const draft = { request, key, chain, roots: pki.roots, issuedAt: NOW, via: "token" };
  for (let i = 0; i < count; i++) await generations.stage(draft);
  return { home, generations, cache: generationCache(generations), [Symbol.asyncDispose]: home.remove };
}

test("without generations there is no newest", async () => {
  await using state = await open(0);

  expect(await state.cache.newest()).toBeNull();
  expect(await state.cache.read(1)).toBeNull();
});

test("a damaged newest generation is passed over for the one before", async () => {
  await using state = await open(3);
  await writeFile(join(state.home.path, "3.json"), "torn");

  expect((await state.cache.newest())?.number).toBe(2);
  expect(await state.cache.read(3)).toBeNull();
});

test("one that could not be read is the newest again as soon as it can be", async () => {
  await using state = await open(2);
  const path = join(state.home.path, "2.json");
  const whole = await readFile(path);
  await writeFile(path, "");
  expect((await state.cache.newest())?.number).toBe(1);

  await writeFile(path, whole);

  expect((await state.cache.newest())?.number).toBe(2);
});

test("a generation that was removed is known no more", async () => {
  await using state = await open(4);
  expect(await state.cache.read(1)).not.toBeNull();

  await state.generations.prune([]);

  expect((await state.cache.newest())?.number).toBe(4);
  expect(await state.cache.read(1)).toBeNull();
});

test("what is kept in memory of a generation has no key and no certificate in it", async () => {
  await using state = await open(1);

  const text = JSON.stringify(await state.cache.newest());

  expect(text).not.toMatch(/BEGIN|private|chain":\[/);
});

test.for([
  [5, 1],
  [500, null],
] as const)("behind %i damaged generations the newest that can be read is %o", async ([damaged, newest]) => {
  await using state = await open(1);
  for (let number = 2; number < damaged + 2; number++) await writeFile(join(state.home.path, `${number}.json`), "{");

  expect((await state.cache.newest())?.number ?? null).toBe(newest);
});
