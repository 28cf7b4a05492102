import { execFile } from "node:child_process";
import { getEventListeners } from "node:events";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, expect, test, vi } from "vitest";
import { HOUR, MINUTE, pause, withDeadline } from "../../../src/base/time.ts";

afterEach(() => {
  vi.useRealTimers();
});

test("a pause takes as long as it is asked to, though no sleep until an instant takes more than half a minute", async () => {
  vi.useFakeTimers();
  let isOver = false;

  void pause(MINUTE).then(() => {
    isOver = true;
  });
  await vi.advanceTimersByTimeAsync(MINUTE - 1);

  expect(isOver).toBe(false);
  await vi.advanceTimersByTimeAsync(1);
  expect(isOver).toBe(true);
});

test("a deadline ends with the signal that it follows, for that one's reason, be it before or after", () => {
  const stop = new AbortController();
  const reason = new Error("stopped");
  using before = withDeadline(HOUR, stop.signal);
  stop.abort(reason);
  using after = withDeadline(HOUR, stop.signal);

  expect([before.aborted, before.reason]).toEqual([true, reason]);
  expect([after.aborted, after.reason]).toEqual([true, reason]);
});

test("a deadline that was disposed of leaves nothing with the signal that it followed", () => {
  const stop = new AbortController();
  const deadline = withDeadline(HOUR, stop.signal);

  deadline[Symbol.dispose]();

  expect(getEventListeners(stop.signal, "abort")).toEqual([]);
  stop.abort();
  expect(deadline.aborted).toBe(false);
});

/** A process in which nothing else happens but one timer, long after the deadline. */
const QUIET = (limit: number, ends: boolean): string => `
  import { withDeadline } from ${JSON.stringify(join(import.meta.dirname, "../../../src/base/time.ts"))};
  const began = performance.now();
  const end = setTimeout(() => console.log("too late"), 30_000);
  const deadline = withDeadline(${limit});
  deadline.addEventListener("abort", () => { console.log(deadline.reason.name, performance.now() - began > ${limit} - 2); clearTimeout(end); });
  if (${ends}) { deadline[Symbol.dispose](); clearTimeout(end); }
`;

test.each([
  ["ends by itself, and not too early", QUIET(50, false), "TimeoutError true\n"],
  ["does not end once it was disposed of", QUIET(50, true), ""],
])("a deadline while nothing else happens %s", async (_, script, told) => {
  const argv = ["--input-type=module-typescript", "--eval", script];

  expect((await promisify(execFile)(process.execPath, argv)).stdout).toBe(told);
});
