import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { nodeFlags, ROOT } from "../../../scripts/pinned-node.mjs";
import { mappingsOf } from "../../../src/base/malloc.ts";

const SCRIPT = `
  import { getHeapStatistics } from "node:v8";
  import { giveMemoryBack, keepMallocSmall } from ${JSON.stringify(join(ROOT, "src/base/malloc.ts"))};
  const size = () => getHeapStatistics().total_physical_size;
  await keepMallocSmall();
  await giveMemoryBack();
  const before = size();
  const work = async () => {
    const garbage = Array.from({ length: 300_000 }, (_, index) => ({ index }));
    const full = size();
    garbage.length = 0;
    await giveMemoryBack();
    return { grew: full - before, stayed: size() - before };
  };
  // What V8 compiles meanwhile, and slowly on a busy machine, holds some of it for as long.
  let found = await work();
  for (let left = 5; left > 0 && found.stayed > 2_000_000; left--) found = await work();
  console.log(JSON.stringify(found));
`;

test("with the daemon's flags, what work has left behind in the heap goes back to the kernel", async () => {
  const argv = [...nodeFlags("run"), "--input-type=module-typescript", "--eval", SCRIPT];
  const { stdout } = await promisify(execFile)(process.execPath, argv);
  const { grew, stayed } = JSON.parse(stdout) as { grew: number; stayed: number };

  expect(grew).toBeGreaterThan(8_000_000);
  expect(stayed).toBeLessThan(2_000_000);
});

const REST = `
  import { readFileSync } from "node:fs";
  import { createSecureContext } from "node:tls";
  import { giveMemoryBack } from ${JSON.stringify(join(ROOT, "src/base/malloc.ts"))};
  const files = () => Number(/^RssFile:\\s+(\\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8"))[1]);
  const before = files();
  await giveMemoryBack();
  const after = files();
  console.log(JSON.stringify({ before, after, works: typeof createSecureContext({}) }));
`;

test("with the daemon's flags, the pages of Node's program that only the start has used leave the process", async () => {
  const argv = [...nodeFlags("run"), "--input-type=module-typescript", "--eval", REST];
  const { stdout } = await promisify(execFile)(process.execPath, argv);
  const { before, after, works } = JSON.parse(stdout) as { before: number; after: number; works: string };

  expect(before).toBeGreaterThan(30_000);
  expect(after).toBeLessThan(before / 2);
  expect(works).toBe("object");
});

const mapping = (head: string, anonymous: number, swap = 0): string =>
  `${head}\nSize: 8 kB\nAnonymous:   ${anonymous} kB\nSwap:   ${swap} kB\nVmFlags: rd mr\n`;
const NODE = "/usr/lib/certagent/node";

test.each([
  ["code", mapping(`00401000-00403000 r-xp 00001000 fe:00 77       ${NODE}`, 0), 1],
  ["constants", mapping(`00400000-00402000 r--p 00000000 fe:00 77       ${NODE}`, 0), 1],
  ["what was written to while it could be", mapping(`00400000-00402000 r--p 0 fe:00 77 ${NODE}`, 24), 0],
  ["what was written to, and is in the swap", mapping(`00400000-00402000 r--p 0 fe:00 77 ${NODE}`, 0, 4), 0],
  ["what can be written to", mapping(`00400000-00402000 rw-p 0 fe:00 77 ${NODE}`, 0), 0],
  ["what is shared", mapping(`00400000-00402000 r--s 0 fe:00 77 ${NODE}`, 0), 0],
  ["another file's", mapping("00400000-00402000 r-xp 0 fe:00 77 /usr/lib/libc.so.6", 0), 0],
  ["a file of another name", mapping(`00400000-00402000 r-xp 0 fe:00 77 ${NODE} (deleted)`, 0), 0],
  ["memory of no file", mapping("00400000-00402000 r-xp 0 00:00 0 ", 0), 0],
])("of the mappings of a process, %s may leave it or not", (_, smaps, count) => {
  const found = mappingsOf(`${mapping("00100000-00200000 rw-p 0 00:00 0 [heap]", 0)}${smaps}`, NODE);

  expect(found.map(({ length }) => length)).toEqual(Array.from({ length: count }, () => 0x2000n));
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
