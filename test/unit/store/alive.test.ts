import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdtempDisposable } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { showAlive, whoIsAlive } from "../../../src/store/alive.ts";

const MODULE = join(import.meta.dirname, "../../../src/store/alive.ts");

const scene = () => mkdtempDisposable(join(tmpdir(), "certagent-alive-"));

test("nobody is alive where nobody has been, and where who was has ended what it did", async () => {
  await using reports = await scene();
  const before = await whoIsAlive(reports.path);
  const shown = await showAlive(reports.path, { mode: 0o400 });
  const meanwhile = await whoIsAlive(reports.path);

  await shown[Symbol.asyncDispose]();

  expect([before, meanwhile, await whoIsAlive(reports.path)]).toEqual(["", expect.stringMatching(/^\d+ \d+$/), ""]);
});

test("each that comes is another one, however closely it follows", async () => {
  await using reports = await scene();
  await using _first = await showAlive(reports.path, { mode: 0o400 });
  const first = await whoIsAlive(reports.path);
  await using _second = await showAlive(reports.path, { mode: 0o400 });

  expect(await whoIsAlive(reports.path)).not.toBe(first);
});

test("a process that is killed is alive no more, and looking does not make it seem so", async () => {
  await using reports = await scene();
  const program = `
    import { showAlive } from ${JSON.stringify(MODULE)};
    globalThis.shown = await showAlive(${JSON.stringify(reports.path)}, { mode: 0o400 });
    process.stdout.write("shown");
    setInterval(() => {}, 1000);`;
  const child = execFile(process.execPath, ["--input-type=module", "--eval", program]);
  if (child.stdout !== null) await once(child.stdout, "data");
  const looks = await Promise.all([whoIsAlive(reports.path), whoIsAlive(reports.path)]);

  child.kill("SIGKILL");
  await once(child, "close");

  expect(looks[0]).toMatch(/^\d+ \d+$/);
  expect(looks[1]).toBe(looks[0]);
  expect(await whoIsAlive(reports.path)).toBe("");
});
