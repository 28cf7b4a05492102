import { EventEmitter } from "node:events";
import { setImmediate as turn } from "node:timers/promises";
import { expect, test, vi } from "vitest";
import { watchSpecs } from "../../../src/agent/watch-specs.ts";

test("a watcher that does not begin, as a file system hangs, is told as that", async () => {
  vi.doMock("chokidar", () => ({ watch: () => Object.assign(new EventEmitter(), { close: async () => {} }) }));
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const failures: unknown[] = [];
  await using _watcher = watchSpecs(
    ["/etc"],
    () => {},
    (error) => failures.push(error),
  );

  // However long a busy machine takes to load the watcher.
  for (const begin = performance.now(); failures.length === 0 && performance.now() - begin < 4000; ) {
    await vi.advanceTimersByTimeAsync(1000);
    await turn();
  }

  expect(failures).toMatchObject([{ code: "STATE_UNUSABLE", message: expect.stringContaining("has not begun") }]);
  vi.useRealTimers();
  vi.doUnmock("chokidar");
});
