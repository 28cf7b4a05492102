import { expect, test } from "vitest";
import { createUnitRun } from "../../../../src/apply/services/unit-run.ts";
import { AgentError } from "../../../../src/base/errors.ts";
import type { Run, RunResult } from "../../../../src/base/run.ts";
import { MINUTE, SECOND } from "../../../../src/base/time.ts";

const well = (output = ""): RunResult => ({ exitCode: 0, signal: null, timedOut: false, output });
const failed = (output: string): RunResult => ({ ...well(output), exitCode: 1 });

const NOT_THERE = well("Result=success\nExecMainCode=0\nExecMainStatus=0\nActiveState=inactive\nControlGroup=\n");
const RUNS = well("Result=success\nExecMainCode=0\nExecMainStatus=0\nActiveState=activating\nControlGroup=/x\n");
const ENDED = well("Result=success\nExecMainCode=1\nExecMainStatus=0\nActiveState=active\nControlGroup=\n");
const AWAY = failed("Failed to connect to bus: Connection refused\n");
const CUT_OFF = failed("Failed to wait for response: Connection reset by peer\n");

/** systemd's tools, which answer in this order; the last answer stands. */
function systemd({ starts, looks }: { starts: readonly RunResult[]; looks: readonly RunResult[] }) {
  const counts = { starts: 0, looks: 0 };
  const next = (of: keyof typeof counts, answers: readonly RunResult[]): RunResult => {
    counts[of] += 1;
    return answers[Math.min(counts[of], answers.length) - 1] ?? well();
  };
  const ask: Run = async ([program, word]) => {
    if (program === "systemd-run") return next("starts", starts);
    return word === "show" ? next("looks", looks) : well();
  };
  return { counts, run: createUnitRun(ask) };
}

test("a command whose waiting systemd has cut off, as it does for daemon-reexec, is waited for until it has ended", async () => {
  const { counts, run } = systemd({ starts: [CUT_OFF], looks: [AWAY, RUNS, RUNS, ENDED] });

  expect(await run(["/bin/true"], { timeout: SECOND })).toMatchObject({ exitCode: 0, timedOut: false });
  expect(counts).toEqual({ starts: 1, looks: 4 });
});

test("a command that systemd never heard of, since it was away, is run when it is there again", async () => {
  const { counts, run } = systemd({ starts: [AWAY, well()], looks: [AWAY, NOT_THERE, ENDED] });

  expect(await run(["/bin/true"], { timeout: SECOND })).toMatchObject({ exitCode: 0 });
  expect(counts).toEqual({ starts: 2, looks: 3 });
});

test("a command that systemd does not start is a failure with systemd's words", async () => {
  const { counts, run } = systemd({ starts: [failed("Failed to start transient unit: no room")], looks: [NOT_THERE] });

  await expect(run(["/bin/true"], { timeout: SECOND })).rejects.toMatchObject({
    code: "RELOAD_FAILED",
    message: expect.stringContaining("no room"),
  });
  expect(counts.starts).toBe(2);
});

test("a question to systemd that could not be asked once is asked again for the next command", async () => {
  let isFull = true;
  const ask: Run = async (argv) => {
    if (isFull) throw new AgentError("DEPLOY_FAILED", 'Cannot write in "/dev/shm": no space left on device');
    return argv[1] === "show" ? ENDED : well();
  };
  const run = createUnitRun(ask);

  await expect(run(["/bin/true"], { timeout: MINUTE })).rejects.toMatchObject({ code: "DEPLOY_FAILED" });
  isFull = false;

  expect(await run(["/bin/true"], { timeout: MINUTE })).toMatchObject({ exitCode: 0 });
});

test("a command that goes on while systemd was away is left behind where the agent stops, as any other", async () => {
  const stop = new AbortController();
  let looks = 0;
  const ask: Run = async ([program, word]) => {
    if (program === "systemd-run") return CUT_OFF;
    if (word !== "show") return well();
    looks += 1;
    if (looks === 2) stop.abort();
    return looks < 10 ? RUNS : ENDED;
  };

  const running = createUnitRun(ask)(["/bin/true"], { timeout: MINUTE, signal: stop.signal });

  await expect(running).rejects.toThrow("certagent is stopping");
  expect(looks).toBe(2);
});

test("a command that systemd could not start is told with systemd's first words", async () => {
  const { run } = systemd({
    starts: [failed("Failed to fork: no room"), failed("Unit x.service was already loaded or has a fragment file.")],
    looks: [NOT_THERE],
  });

  await expect(run(["/bin/true"], { timeout: SECOND })).rejects.toThrow("no room");
});
