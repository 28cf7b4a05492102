import { defineConfig } from "vitest/config";
import { LongFirst } from "./test/long-first.ts";

/** A run of its own: few whole machines at one time. */
export default defineConfig({
  test: {
    include: ["test/system/**/*.test.ts"],
    globalSetup: ["test/system/set-up.ts"],
    pool: "forks",
    maxWorkers: 3,
    execArgv: ["--no-concurrent-sparkplug"],
    sequence: { sequencer: LongFirst },
    testTimeout: 420_000,
    hookTimeout: 240_000,
  },
});
