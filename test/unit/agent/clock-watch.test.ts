import { expect, test } from "vitest";
import { watchClock } from "../../../src/agent/clock-watch.ts";
import { HOUR, systemClock } from "../../../src/base/time.ts";

test("a clock that is older than the newest record is told once, with what shows it", () => {
  const told: unknown[] = [];
  const silent = () => undefined;
  const log = { debug: silent, info: silent, warning: silent, error: (...line: unknown[]) => void told.push(line) };
  const watch = watchClock({ ...systemClock, monotonic: () => 0 }, log);

  watch.notice(0, HOUR);
  watch.notice(0, HOUR);

  expect(told).toEqual([[expect.any(String), { code: "CLOCK_SUSPECT", hint: expect.stringContaining("timedatectl") }]]);
});
