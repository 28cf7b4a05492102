import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // They have a run of their own: vitest.system.config.ts.
    exclude: ["test/system/**"],
    // Processes, since tests change umask, signals and the working folder; two, since CI has two cores.
    pool: "forks",
    maxWorkers: 2,
    // Node's exit can wait for a compiler thread for ever (nodejs/node 54918), and workers end by it.
    execArgv: ["--no-concurrent-sparkplug"],
    testTimeout: 20_000,
    hookTimeout: 60_000,
  },
});
