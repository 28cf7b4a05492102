import { closeSync, constants, fstatSync, openSync } from "node:fs";
import { mkdtempDisposable, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { close, fileCalls } from "../../../src/base/file-calls.ts";

test.each([
  ["read", constants.O_RDONLY, false],
  ["written", constants.O_RDWR, false],
  ["written and made durable", constants.O_RDWR, true],
])("a file that was %s is closed once, whoever has its number by the second time", async (_, flags, isSynced) => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "file-calls-"));
  const path = join(folder.path, "a");
  await writeFile(path, "old");
  const file = await fileCalls.open(path, flags);
  if (flags !== constants.O_RDONLY) await fileCalls.write(file, Buffer.from("new"), 0);
  if (isSynced) await fileCalls.sync(file);

  await close(file);
  const next = openSync(path, "r"); // the lowest free number
  expect(next).toBe(file.fd);
  await close(file);

  expect(fstatSync(next).size).toBe(3);
  closeSync(next);
});

test("a file that is written again after it was made durable is dirty again", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "file-calls-"));
  const file = await fileCalls.open(join(folder.path, "a"), constants.O_RDWR | constants.O_CREAT, 0o600);
  expect(file.isDirty).toBe(true);
  await fileCalls.sync(file);
  expect(file.isDirty).toBe(false);

  await fileCalls.write(file, Buffer.from("new"), 0);

  expect(file.isDirty).toBe(true);
  await close(file);
});
