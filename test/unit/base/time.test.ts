import { getEventListeners } from "node:events";
import { expect, test } from "vitest";
import { HOUR, withDeadline } from "../../../src/base/time.ts";

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
