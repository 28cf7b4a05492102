import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { nodeFlags, ROOT } from "../../../scripts/pinned-node.mjs";

const SCRIPT = `
  import { getHeapStatistics } from "node:v8";
  import { giveMemoryBack, keepMallocSmall } from ${JSON.stringify(join(ROOT, "src/base/malloc.ts"))};
  const size = () => getHeapStatistics().total_physical_size;
  await keepMallocSmall();
  await giveMemoryBack();
  const before = size();
  const garbage = Array.from({ length: 300_000 }, (_, index) => ({ index }));
  const full = size();
  garbage.length = 0;
  await giveMemoryBack();
  console.log(JSON.stringify({ grew: full - before, stayed: size() - before }));
`;

test("with the daemon's flags, what work has left behind in the heap goes back to the kernel", async () => {
  const argv = [...nodeFlags("run"), "--input-type=module-typescript", "--eval", SCRIPT];
  const { stdout } = await promisify(execFile)(process.execPath, argv);
  const { grew, stayed } = JSON.parse(stdout) as { grew: number; stayed: number };

  expect(grew).toBeGreaterThan(8_000_000);
  expect(stayed).toBeLessThan(2_000_000);
});

const CODE = `
  const { internalBinding } = require("internal/test/binding");
  for (const module of ["crypto", "fs/promises", "net", "tls"]) require(module);
  const { compiledWithCache, compiledWithoutCache } = internalBinding("builtins").getCacheUsage();
  console.log(JSON.stringify({ cached: compiledWithCache.size, compiled: [...compiledWithoutCache] }));
`;

test.each(["run", "status"])("with the flags of %s, Node compiles none of its own modules anew", async (command) => {
  const argv = [...nodeFlags(command), "--expose-internals", "--eval", CODE];
  const { stdout } = await promisify(execFile)(process.execPath, argv);
  const { cached, compiled } = JSON.parse(stdout) as { cached: number; compiled: readonly string[] };

  expect(compiled).toEqual([]);
  expect(cached).toBeGreaterThan(20);
});
