import { execFileSync } from "node:child_process";
import { mkdir, mkdtempDisposable, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { generationCache } from "../../../src/agent/observed-generation.ts";
import { pause } from "../../../src/base/time.ts";
import type { Generation } from "../../../src/core/ports.ts";
import { type Generations, openGenerations } from "../../../src/store/generations.ts";
import { generateKey } from "../../../src/x509/key.ts";
import { type IssuedLeaf, makePki, type Pki } from "../../servers/pki.ts";
import { NOW, request } from "../core/given.ts";

let pki: Pki;
let issued: IssuedLeaf;
beforeAll(async () => {
  pki = await makePki();
  issued = await pki.issue();
});

async function open() {
  const home = await mkdtempDisposable(join(tmpdir(), "certagent-generations-"));
  const folder = join(home.path, "generations", "web");
  return { folder, generations: openGenerations(folder), [Symbol.asyncDispose]: home.remove };
}

function draft(changes: Partial<Generation> = {}): Omit<Generation, "number"> {
  return { request, key: issued.key, chain: issued.chain, roots: pki.roots, issuedAt: NOW, via: "token", ...changes };
}

async function stageMany(generations: Generations, count: number): Promise<void> {
  for (let i = 0; i < count; i++) await generations.stage(draft());
}

test("what was staged is read again as it was, by another process too", async () => {
  await using state = await open();
  const all = { ...request, lifetime: 86_400_000, key: "ec-p256" as const };

  const staged = await state.generations.stage(draft({ request: all, via: "mtls" }));
  const read = await openGenerations(state.folder).read(1);

  expect(staged.number).toBe(1);
  expect(read).toMatchObject({ number: 1, request: all, issuedAt: NOW, via: "mtls" });
  expect(read.key.toPem()).toBe(issued.key.toPem());
  expect(read.chain.map(({ fingerprint }) => fingerprint)).toEqual(issued.chain.map(({ fingerprint }) => fingerprint));
  expect(read.roots.map(({ fingerprint }) => fingerprint)).toEqual(pki.roots.map(({ fingerprint }) => fingerprint));
});

test("nobody but the owner can read a generation or the folder that it is in", async () => {
  await using state = await open();
  await state.generations.stage(draft());

  expect((await stat(join(state.folder, "1.json"))).mode & 0o777).toBe(0o600);
  expect((await stat(state.folder)).mode & 0o777).toBe(0o700);
});

test("numbers count up, and follow what was deployed last although the state folder was lost", async () => {
  await using state = await open();

  const numbers = [
    (await state.generations.stage(draft(), null)).number,
    (await state.generations.stage(draft(), 1)).number,
    (await state.generations.stage(draft(), 7)).number,
    (await state.generations.stage(draft(), 3)).number,
  ];

  expect(numbers).toEqual([1, 2, 8, 9]);
  expect(await state.generations.list()).toEqual([1, 2, 8, 9]);
});

test("numbers are listed by value, and other files in the folder are none", async () => {
  await using state = await open();
  await stageMany(state.generations, 11);
  for (const name of ["12.json.unreadable", "x.json", "-1.json", ".13.json.tmp", "1234567890.json"]) {
    await writeFile(join(state.folder, name), "{}");
  }

  expect(await state.generations.list()).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
});

test("of a folder of more names than any agent makes only so many are read", async () => {
  await using state = await open();
  await mkdir(state.folder, { recursive: true });
  for (let number = 1; number <= 5000; number += 1) await writeFile(join(state.folder, `${number}.json`), "");

  expect((await state.generations.list()).length).toBe(4096);
});

test("a damaged generation is not the newest, and its number is not given again", async () => {
  await using state = await open();
  await stageMany(state.generations, 3);
  await writeFile(join(state.folder, "3.json"), "torn");
  await writeFile(join(state.folder, "2.json"), "");

  const reopened = openGenerations(state.folder);

  const { newest } = generationCache(reopened);
  expect((await newest())?.number).toBe(1);
  expect((await reopened.stage(draft())).number).toBe(4);
  expect((await newest())?.number).toBe(4);
});

test("pruning keeps the newest three and what is protected", async () => {
  await using state = await open();
  await stageMany(state.generations, 6);

  await state.generations.prune([2]);

  expect(await state.generations.list()).toEqual([2, 4, 5, 6]);
});

test("pruning removes what is in a generation's place, whatever it is", async () => {
  await using state = await open();
  await stageMany(state.generations, 4);
  await rm(join(state.folder, "1.json"));
  await mkdir(join(state.folder, "1.json", "deep"), { recursive: true });

  await state.generations.prune([]);

  expect(await readdir(state.folder)).toEqual(["2.json", "3.json", "4.json"]);
});

test("a generation that cannot be removed is told of by its path, with the remedy", async () => {
  await using state = await open();
  await stageMany(state.generations, 4);
  const path = join(state.folder, "1.json");
  execFileSync("chattr", ["+i", path]);
  try {
    await expect(state.generations.prune([])).rejects.toMatchObject({
      code: "DEPLOY_FAILED",
      message: `Cannot remove "${path}": operation not permitted`,
      hint: expect.stringContaining("chattr"),
    });
  } finally {
    execFileSync("chattr", ["-i", path]);
  }
});

test("a folder that is not there holds no generation, one that cannot be read is an error and costs no issuance", async () => {
  await using state = await open();
  expect(await state.generations.list()).toEqual([]);

  await mkdir(join(state.folder, ".."), { recursive: true });
  await writeFile(state.folder, "not a folder");

  await expect(state.generations.list()).rejects.toMatchObject({ code: "STATE_UNUSABLE" });
});

test("a key is pending from before its request until its chain is staged", async () => {
  await using state = await open();
  expect(await state.generations.pendingKey()).toBeUndefined();

  await state.generations.keepPendingKey(issued.key);
  expect((await openGenerations(state.folder).pendingKey())?.keyId).toBe(issued.key.keyId);
  expect((await stat(join(state.folder, "pending.key"))).mode & 0o777).toBe(0o600);

  await state.generations.stage(draft());
  expect(await state.generations.pendingKey()).toBeUndefined();
});

test("a damaged pending key is none, one that cannot be read is not taken for none", async () => {
  await using state = await open();
  await state.generations.keepPendingKey(issued.key);
  await writeFile(join(state.folder, "pending.key"), issued.key.toPem().slice(0, 60));
  expect(await state.generations.pendingKey()).toBeUndefined();

  await using other = await open();
  await mkdir(join(other.folder, "pending.key"), { recursive: true });
  await expect(other.generations.pendingKey()).rejects.toMatchObject({ code: "DEPLOY_FAILED" });
});

test("the room that is reserved is free again once the generation is staged", async () => {
  await using state = await open();

  await state.generations.reserve(1);
  const reserved = await readdir(join(state.folder, ".."));
  await state.generations.stage(draft());

  expect(reserved).toEqual([".web.reserved"]);
  expect(await readdir(join(state.folder, ".."))).toEqual(["web"]);
  expect(await readdir(state.folder)).toEqual(["1.json"]);
});

test("what somebody else adds, removes or renames in the folder is noticed, whatever was known of it", async () => {
  await using state = await open();
  const { generations, folder } = state;
  await stageMany(generations, 4);
  const before = await generations.list();
  const tick = () => pause(20); // of the clock of a file system, whose times before Linux 6.13 are no finer

  await tick();
  await rename(join(folder, "4.json"), join(folder, "5.json"));
  const renamed = await generations.list();
  const { number } = await generations.stage(draft());
  await tick();
  await rm(join(folder, "6.json"));
  const removed = await generations.list();
  await rm(folder, { recursive: true });

  expect([before, renamed, number, removed, await generations.list()]).toEqual([
    [1, 2, 3, 4],
    [1, 2, 3, 5],
    6,
    [1, 2, 3, 5],
    [],
  ]);
  expect((await generations.stage(draft(), 6)).number).toBe(7);
});

const damages: readonly { readonly title: string; readonly damage: (text: string) => string; readonly code: string }[] =
  [
    { title: "a torn file", damage: (text) => text.slice(0, text.length / 2), code: "STATE_UNUSABLE" },
    { title: "an empty file", damage: () => "", code: "STATE_UNUSABLE" },
    { title: "bytes of anything", damage: () => "\u0000\u0001 garbage", code: "STATE_UNUSABLE" },
    { title: "another schema", damage: (text) => text.replace('"schema":1', '"schema":2'), code: "STATE_UNUSABLE" },
    {
      title: "a damaged key",
      damage: (text) => text.replace(/(PRIVATE KEY-----\\n.{20}).{8}/, "$1AAAAAAAA"),
      code: "KEY_UNUSABLE",
    },
    {
      title: "no certificate",
      damage: (text) => text.replace(/"chain":"[^"]*"/, '"chain":""'),
      code: "CHAIN_UNUSABLE",
    },
    {
      title: "a torn certificate",
      damage: (text) => text.replace(/("chain":".{200})[^"]*"/, '$1"'),
      code: "CHAIN_UNUSABLE",
    },
  ];

test.each(damages)("a generation with $title is refused with $code", async ({ damage, code }) => {
  await using state = await open();
  await state.generations.stage(draft());
  const path = join(state.folder, "1.json");
  const text = await readFile(path, "utf8");
  expect(damage(text)).not.toBe(text);
  await writeFile(path, damage(text));

  await expect(state.generations.read(1)).rejects.toMatchObject({ code });
});

test("a key of another certificate is refused", async () => {
  await using state = await open();
  await state.generations.stage(draft({ key: await generateKey("ec-p256") }));

  await expect(state.generations.read(1)).rejects.toMatchObject({
    code: "KEY_UNUSABLE",
    message: `Cannot use generation "${join(state.folder, "1.json")}": its key is not the certificate's`,
  });
});
