import { execFile } from "node:child_process";
import { chmod, mkdir, mkdtempDisposable, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { expect, test } from "vitest";

const GATE = join(import.meta.dirname, "..", "..", "scripts", "gate.ts");

/** What the programs that the gate runs do, as shell scripts (null: not there); all go well where nothing is said. */
interface World {
  readonly programs?: Readonly<Record<string, string | null>>;
  /** What vitest reports, besides two passed tests. */
  readonly report?: Readonly<Record<string, unknown>>;
  readonly vitestExit?: number;
  /** What its second run reports, that of the booted systems. */
  readonly system?: Readonly<Record<string, unknown>>;
  readonly campaign?: string;
}

const PASSED = { numPassedTests: 2, numFailedTests: 0, numPendingTests: 0, numTodoTests: 0, testResults: [] };

const UNLOADED = { name: "/a/b.test.ts", status: "failed", message: "no module", assertionResults: [] };

/** Runs the real gate among such programs, in a folder of its own. Its output, the last line of it, and its exit code. */
async function gate(world: World): Promise<{ readonly output: string; readonly last: string; readonly code: unknown }> {
  await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-gate-test-"));
  const bin = join(folder.path, "bin");
  await mkdir(bin);
  await mkdir(join(folder.path, "test"));
  const report = (changes: World["report"]): string =>
    `for word; do case $word in --outputFile.json=*) printf %s '${JSON.stringify({ ...PASSED, ...changes })}' >"\${word#*=}";; esac; done;`;
  const vitest = world.report === undefined && world.vitestExit !== undefined ? "" : report(world.report);
  const programs = {
    ...Object.fromEntries(["tsc", "oxlint", "biome", "knip", "node", "campaign"].map((name) => [name, "exit 0"])),
    vitest: `case $* in *--config*) ${report(world.system)} exit 0;; esac; ${vitest} exit ${world.vitestExit ?? 0}`,
    campaign: world.campaign ?? "echo 3 passed, 0 failed",
    ...world.programs,
  };
  for (const [name, script] of Object.entries(programs)) {
    if (script === null) continue;
    await writeFile(join(bin, name), `#!/bin/sh\n${script}\n`);
    await chmod(join(bin, name), 0o755);
  }
  await writeFile(join(folder.path, "test", "campaigns.json"), JSON.stringify({ campaign: ["campaign"] }));
  const { promise, resolve } = Promise.withResolvers<Awaited<ReturnType<typeof gate>>>();
  const options = { cwd: folder.path, env: { PATH: [bin, dirname("/bin/sh"), "/usr/bin"].join(delimiter) } };
  execFile(process.execPath, [GATE, "--campaigns"], options, (error, stdout) => {
    resolve({ output: stdout, last: stdout.trimEnd().split("\n").at(-1) ?? "", code: error?.code ?? 0 });
  });
  return await promise;
}

test("the gate ends with the sum of its five checks, the tests, those in booted systems and the campaigns", async () => {
  expect(await gate({})).toMatchObject({ last: "12 passed, 0 failed", code: 0 });
});

test.each<[why: string, world: World, last: string]>([
  ["a check fails", { programs: { oxlint: "exit 1" } }, "11 passed, 1 failed"],
  ["a program is missing", { programs: { knip: null } }, "11 passed, 1 failed"],
  ["a test fails", { report: { numFailedTests: 1 }, vitestExit: 1 }, "12 passed, 1 failed"],
  ["a test in a booted system fails", { system: { numFailedTests: 1 } }, "12 passed, 1 failed"],
  ["a test is skipped", { report: { numPendingTests: 1 } }, "12 passed, 1 failed"],
  ["a test is left to do", { report: { numTodoTests: 2 } }, "12 passed, 2 failed"],
  ["no test ran", { report: { numPassedTests: 0 } }, "10 passed, 1 failed"],
  ["a file of tests does not load", { report: { testResults: [UNLOADED] }, vitestExit: 1 }, "12 passed, 1 failed"],
  ["an error belongs to no test", { report: {}, vitestExit: 1 }, "12 passed, 1 failed"],
  ["the tests leave no report", { vitestExit: 1 }, "10 passed, 1 failed"],
  ["a campaign counts a failure", { campaign: "echo 300 passed, 2 failed; exit 1" }, "309 passed, 2 failed"],
  ["a campaign dies after it has counted", { campaign: "echo 300 passed, 0 failed; exit 1" }, "309 passed, 1 failed"],
  ["a campaign counts nothing", { campaign: "exit 0" }, "9 passed, 1 failed"],
])("the gate fails where %s", async (_, world, last) => {
  expect(await gate(world)).toMatchObject({ last, code: 1 });
});

test("the lines of several suites in one campaign are summed", async () => {
  const campaign = "echo files: 3 passed, 0 failed; echo talk; echo link: 4 passed, 0 failed";

  expect(await gate({ campaign })).toMatchObject({ last: "16 passed, 0 failed", code: 0 });
});

test("what failed is told once more at the end, with its reason", async () => {
  const passed = { fullName: "goes well", status: "passed", failureMessages: [] };
  const failed = { fullName: "fails", status: "failed", failureMessages: ["Error: 1\n  at /a\n  at /node_modules/b"] };
  const skipped = { fullName: "is skipped", status: "skipped" };
  const file = { name: join(tmpdir(), "c.test.ts"), status: "failed", message: "" };
  const testResults = [{ ...file, assertionResults: [passed, failed, skipped] }, UNLOADED];

  const { output } = await gate({ report: { numFailedTests: 1, numPendingTests: 1, testResults }, vitestExit: 1 });

  expect(output.replaceAll(/FAILED \S*\//g, "FAILED ")).toContain(
    "FAILED c.test.ts: fails\nError: 1\n  at /a\n\nFAILED c.test.ts: is skipped\nskipped\n\nFAILED b.test.ts\nno module\n",
  );
});
