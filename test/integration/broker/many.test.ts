/** What thousands of specs cost who asks for them, and who is asked. */
import type * as promises from "node:fs/promises";
import { mkdir, readdir } from "node:fs/promises";
import { expect, test, vi } from "vitest";
import { pause, SECOND } from "../../../src/base/time.ts";
import { showAlive } from "../../../src/store/alive.ts";
import { ASKED, never } from "../apply/harness.ts";
import { twoSides } from "./harness.ts";

const calls = vi.hoisted(() => ({ lstat: 0 }));

vi.mock("node:fs/promises", async (original) => {
  const real = await original<typeof promises>();
  const lstat = (...args: Parameters<typeof real.lstat>) => {
    calls.lstat += 1;
    return real.lstat(...args);
  };
  return { ...real, lstat };
});

test("what takes longer than a second to look at all specs, one after the other, looks at each once", async () => {
  await using sides = await twoSides();
  const { host, remote } = sides;
  const real = await host.open();
  const names = Array.from({ length: 60 }, (_, index) => `s${index}`);
  const seen = await real.look(ASKED.name, never);
  const looks: string[] = [];
  let turn = Promise.resolve();
  const look = (name: string) => {
    looks.push(name);
    turn = turn.then(() => pause(40));
    return turn.then(() => seen);
  };
  sides.serving({ applier: { ...real, specs: async () => names, look } });

  const all = await Promise.all(names.map((name) => remote.observe([{ ...ASKED, name }], never)));

  expect(all.every((facts, index) => facts.has(`s${index}`))).toBe(true);
  expect(looks.toSorted()).toEqual(names.toSorted());
});

test("of hundreds who wait for the root side few look each second, whether it has answered", async () => {
  await using sides = await twoSides();
  const { requests, reports } = sides.host.layout;
  await mkdir(reports, { recursive: true });
  await using _alive = await showAlive(reports, { mode: 0o400 });
  const over = new AbortController();
  const asking = Array.from({ length: 300 }, (_, index) =>
    sides.remote.apply(`s${index}`, over.signal).catch(() => undefined),
  );
  await expect.poll(() => readdir(requests), { timeout: 30 * SECOND }).toHaveLength(300);
  await pause(SECOND);
  calls.lstat = 0;

  await pause(4 * SECOND);

  const looks = calls.lstat / 2; // at the report, and whether the request was taken
  over.abort();
  await Promise.all(asking);
  expect(looks).toBeLessThan(4 * 100);
});
