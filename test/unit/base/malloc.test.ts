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
