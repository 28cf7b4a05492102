import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { startHeartbeat } from "../../../src/agent/heartbeat.ts";

const SECOND = 1000;

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

function heartbeat(every: number | null) {
  const signs: number[] = [];
  const monotonic = (): number => performance.now();
  const beats = startHeartbeat(every, { monotonic }, () => signs.push(Math.round(monotonic() / SECOND)));
  return { signs, beats };
}

test("signs come between ticks that are further apart than they may be", () => {
  const { signs, beats } = heartbeat(15 * SECOND);
  const start = Math.round(performance.now() / SECOND);

  for (const _ of [1, 2, 3]) {
    beats.beat();
    vi.advanceTimersByTime(30 * SECOND - 1);
  }
  beats[Symbol.dispose]();

  // Each tick is a sign, and between two of them there is one: no wake-up more than that.
  expect(signs.map((at) => at - start)).toEqual([0, 15, 30, 45, 60, 75]);
});

test("signs end when ticks do, although the process still turns", () => {
  const { signs, beats } = heartbeat(15 * SECOND);

  beats.beat();
  vi.advanceTimersByTime(600 * SECOND);
  beats[Symbol.dispose]();

  expect(signs).toHaveLength(3);
});

test("a watchdog that nobody asked for gets no sign", () => {
  const { signs, beats } = heartbeat(null);

  beats.beat();
  vi.advanceTimersByTime(600 * SECOND);
  beats[Symbol.dispose]();

  expect(signs).toEqual([]);
});
