import { defineConfig } from "vitest/config";
import { LongFirst } from "./test/long-first.ts";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // They have a run of their own: vitest.system.config.ts.
    exclude: ["test/system/**"],
    // Processes, since tests change umask, signals and the working folder; four for CI's two cores, since tests wait.
    pool: "forks",
    maxWorkers: 4,
    // Node's exit can wait for a compiler thread for ever (nodejs/node 54918), and workers end by it.
    execArgv: ["--no-concurrent-sparkplug"],
    sequence: { sequencer: LongFirst },
    // These end what hangs. How fast a machine is decides no test.
    testTimeout: 600_000,
    hookTimeout: 600_000,
    expect: { poll: { timeout: 120_000 } },
  },
});
