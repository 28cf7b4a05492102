import { mkdir, mkdtempDisposable, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type PairFiles, readPair, watchPair } from "../../../../src/cli/demo/pair.ts";
import { generateKey } from "../../../../src/x509/key.ts";
import type { PairText } from "../../../servers/daemon.ts";
import { makePki } from "../../../servers/pki.ts";

const pki = await makePki();
const [first, second] = [await pki.issue(), await pki.issue()];
/** As many as there are flips: where a key comes back, nobody can tell that it was away meanwhile. */
const many = await Promise.all(Array.from({ length: 200 }, () => pki.issue()));

/** Writes a pair into a folder of its own, and points `current` to it by one rename, as `layout: link` does. */
async function flip(folder: string, name: string, pair: PairText): Promise<void> {
  await mkdir(join(folder, name));
  await writeFile(join(folder, name, "fullchain.pem"), pair.pem);
  await writeFile(join(folder, name, "key.pem"), pair.key.toPem());
  await symlink(name, join(folder, "next"));
  await rename(join(folder, "next"), join(folder, "current"));
}

const filesIn = (folder: string): PairFiles => {
  return { certificate: join(folder, "current", "fullchain.pem"), key: join(folder, "current", "key.pem") };
};

test("readPair() tells a whole pair from none, from another's key and from half a file", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-test-"));
  const files = filesIn(folder.path);

  expect(await readPair(files)).toEqual({ kind: "missing" });
  await flip(folder.path, "1", first);
  expect(await readPair(files)).toMatchObject({ kind: "whole", leaf: { fingerprint: first.leaf.fingerprint } });
  await writeFile(files.key, (await generateKey("ec-p256")).toPem());
  expect(await readPair(files)).toEqual({ kind: "broken", because: "the key is not the certificate's" });
  await writeFile(files.key, first.key.toPem().slice(0, 80));
  expect(await readPair(files)).toMatchObject({ kind: "broken" });
});

test("watchPair() finds nothing wrong with pairs that one rename switches, however often", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-test-"));
  const watch = watchPair(filesIn(folder.path));

  for (const [turn, pair] of many.entries()) await flip(folder.path, String(turn), pair);
  await expect.poll(() => watch.pairs).toBeGreaterThan(0);
  await watch[Symbol.asyncDispose]();

  expect(watch.broken).toEqual([]);
});

test("watchPair() finds a key that is exchanged before its certificate, and a file that goes away", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-test-"));
  const files = filesIn(folder.path);
  await flip(folder.path, "1", first);
  await using watch = watchPair(files);
  await expect.poll(() => watch.pairs).toBe(1);

  await writeFile(join(folder.path, "new.pem"), second.key.toPem());
  await rename(join(folder.path, "new.pem"), files.key);
  await expect.poll(() => watch.broken).toEqual(["the key is not the certificate's"]);
  await rm(files.certificate);

  await expect.poll(() => watch.broken.at(-1)).toBe("a file was missing");
});
