import { existsSync, fstatSync, readlinkSync } from "node:fs";
import { open } from "node:fs/promises";
import { expect, test } from "vitest";
import { openOutput } from "../../../src/base/run-output.ts";
import { pause } from "../../../src/base/time.ts";

const KIB = 1024;

test("what a daemon goes on writing that a program left behind is kept short, until the daemon has ended", async () => {
  const output = await openOutput(4 * KIB);
  const place = `/proc/self/fd/${output.descriptor}`;
  const name = readlinkSync(place);
  const isHeld = (): boolean => existsSync(place) && readlinkSync(place) === name;
  await using daemon = await open(place, "a");
  const onDisk = (): number => fstatSync(daemon.fd).blocks * 512;
  let isAlive = true;

  output.outlive(() => isAlive, 10);
  await output[Symbol.asyncDispose]();
  for (let count = 0; count < 16; count += 1) await daemon.write(Buffer.alloc(64 * KIB, "x"));

  while (onDisk() > 64 * KIB) await pause(10);
  expect(isHeld()).toBe(true);
  isAlive = false;
  while (isHeld()) await pause(10);
});

test("of a program that leaves nobody behind the output is let go of at once", async () => {
  const output = await openOutput(4 * KIB);
  const place = `/proc/self/fd/${output.descriptor}`;
  const name = readlinkSync(place);

  await output[Symbol.asyncDispose]();

  expect(existsSync(place) && readlinkSync(place) === name).toBe(false);
});
