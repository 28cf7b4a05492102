import { defineConfig } from "vitest/config";

/** A run of its own: whole machines want the processors for themselves. */
export default defineConfig({
  test: {
    include: ["test/system/**/*.test.ts"],
    globalSetup: ["test/system/set-up.ts"],
    pool: "forks",
    maxWorkers: 3,
    execArgv: ["--no-concurrent-sparkplug"],
    testTimeout: 420_000,
    hookTimeout: 240_000,
  },
});
