/**
 * The gate: types, lint, format, dead code, the bundle, all tests; with `--campaigns` those in a booted system and the
 * long runs of `test/campaigns.json` too. Ends with one line `N passed, N failed` over all of them, and fails where
 * anything failed, was skipped, or did not run.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempDisposable, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";

interface Tally {
  readonly passed: number;
  readonly failed: number;
  /** What failed, with its reason: told once more at the end, since the place where it happened is long gone by then. */
  readonly failures?: readonly string[];
}

/** Each of these counts as one test. Fast ones first. */
const CHECKS: Readonly<Record<string, readonly string[]>> = {
  types: ["tsc", "-p", "."],
  lint: ["oxlint"],
  format: ["biome", "check"],
  dead: ["knip"],
  bundle: ["node", "scripts/build.ts"],
};

/** The line that a campaign ends with, and this gate. */
const TALLY_LINE = /^(?:\w+: )?(\d+) passed, (\d+) failed\b/;

const tallies = new Map<string, Tally>();
for (const [name, argv] of Object.entries(CHECKS)) tallies.set(name, await runCheck(argv));
tallies.set("tests", await runTests([]));
if (process.argv.includes("--campaigns")) {
  // Whole machines wait most of the time, and the long runs wait for nothing.
  const ofCampaigns = runCampaigns();
  tallies.set("system", await runTests(["--config", "vitest.system.config.ts"]));
  for (const [name, tally] of await ofCampaigns) tallies.set(name, tally);
}
report();

async function runCheck(argv: readonly string[]): Promise<Tally> {
  const code = await run(argv);
  return code === 0 ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 };
}

interface VitestReport {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly numTodoTests: number;
  readonly testResults: readonly TestFile[];
}

interface TestFile {
  readonly name: string;
  readonly status: string;
  /** Why the file did not load. */
  readonly message: string;
  readonly assertionResults: readonly TestResult[];
}

interface TestResult {
  readonly fullName: string;
  readonly status: string;
  readonly failureMessages?: readonly string[];
}

/** Skipped tests count as failed: what was not looked at is not known to work. So does a file that did not load. */
async function runTests(options: readonly string[]): Promise<Tally> {
  await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-gate-"));
  const file = join(folder.path, "report.json");
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${file}`];
  const code = await run(["vitest", "run", "--allowOnly=false", ...options, ...reporters]);
  const text = await readFile(file, "utf8").catch(() => undefined);
  if (text === undefined) return { passed: 0, failed: 1 };
  const report = JSON.parse(text) as VitestReport;
  const unloaded = report.testResults.filter((file) => file.status === "failed" && file.assertionResults.length === 0);
  const failed = report.numFailedTests + report.numPendingTests + report.numTodoTests + unloaded.length;
  const tally = { passed: report.numPassedTests, failed, failures: report.testResults.flatMap(failuresOf) };
  return atLeastOneFailure(tally, code);
}

/** A paragraph for each test of the file that did not pass, or one for a file that did not load. */
function failuresOf({ name, status, message, assertionResults }: TestFile): string[] {
  const file = relative(process.cwd(), name);
  if (status === "failed" && assertionResults.length === 0) return [`${file}\n${message}`];
  return assertionResults
    .filter((test) => test.status !== "passed")
    .map(({ fullName, status, failureMessages = [status] }) => {
      const lines = failureMessages.join("\n").split("\n");
      return [`${file}: ${fullName}`, ...lines.filter((line) => !line.includes("/node_modules/"))].join("\n");
    });
}

/** Name → argv of the long runs. Each ends with its own `N passed, N failed`. */
async function campaigns(): Promise<[string, readonly string[]][]> {
  return Object.entries(JSON.parse(await readFile("test/campaigns.json", "utf8")) as Record<string, readonly string[]>);
}

/** One after the other. */
async function runCampaigns(): Promise<readonly (readonly [string, Tally])[]> {
  const results: [string, Tally][] = [];
  for (const [name, argv] of await campaigns()) results.push([name, await runCampaign(argv)]);
  return results;
}

async function runCampaign(argv: readonly string[]): Promise<Tally> {
  let tally: Tally = { passed: 0, failed: 0 };
  const code = await run(argv, (line) => {
    const [, passed, failed] = TALLY_LINE.exec(line) ?? [];
    // Not printed: the gate ends with the only such line.
    if (passed === undefined) process.stdout.write(`${line}\n`);
    else tally = { passed: tally.passed + Number(passed), failed: tally.failed + Number(failed) };
  });
  return atLeastOneFailure(tally, code);
}

/** A run that ended badly, or counted nothing, has failed whatever it counted. */
function atLeastOneFailure(tally: Tally, code: number): Tally {
  const wrong = code !== 0 || tally.passed === 0;
  return { ...tally, failed: wrong ? Math.max(tally.failed, 1) : tally.failed };
}

/** Runs a program of `node_modules/.bin`; `onLine` gets its standard output, else that goes where ours goes. */
async function run(argv: readonly string[], onLine?: (line: string) => void): Promise<number> {
  process.stdout.write(`\n> ${argv.join(" ")}\n`);
  const [program = "", ...rest] = argv;
  const child = spawn(program, rest, { stdio: ["ignore", onLine === undefined ? "inherit" : "pipe", "inherit"] });
  const stop = (): void => void child.kill("SIGTERM");
  process.once("SIGTERM", stop);
  await Promise.all([once(child, "close"), eachLine(child.stdout, onLine)]).catch((cause: unknown) => {
    process.stdout.write(`cannot run ${program}: ${String(cause)}\n`);
  });
  process.off("SIGTERM", stop);
  return child.exitCode ?? 1;
}

async function eachLine(stream: Readable | null, onLine: ((line: string) => void) | undefined): Promise<void> {
  if (stream === null) return;
  for await (const line of createInterface({ input: stream })) onLine?.(line);
}

function report(): void {
  process.stdout.write("\n");
  for (const { failures = [] } of tallies.values()) {
    for (const failure of failures) process.stdout.write(`FAILED ${failure}\n\n`);
  }
  let [passed, failed] = [0, 0];
  for (const [name, tally] of tallies) {
    passed += tally.passed;
    failed += tally.failed;
    const verdict = tally.failed === 0 ? "ok" : `FAILED (${tally.failed})`;
    process.stdout.write(`${name.padEnd(12)} ${String(tally.passed).padStart(5)}  ${verdict}\n`);
  }
  process.stdout.write(`${passed} passed, ${failed} failed\n`);
  process.exitCode = failed === 0 ? 0 : 1;
}
