import { execFile } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { nodeFlags, ROOT } from "../../../scripts/pinned-node.mjs";

const execute = promisify(execFile);
const UNITS = join(ROOT, "systemd");
const PROGRAM = "/usr/lib/certagent/certagent.mjs";

function unit(name: string): string {
  return readFileSync(join(UNITS, name), "utf8");
}

/** All values of a setting, in order. */
function values(name: string, setting: string): readonly string[] {
  return [...unit(name).matchAll(new RegExp(`^${setting}=(.*)$`, "gm"))].map(([, value = ""]) => value);
}

test.each([
  ["certagent.service", 13],
  ["certagent-apply.service", 12],
])("%s is exposed no more than %d tenths", async (name, threshold) => {
  const words = ["security", "--offline=true", `--threshold=${threshold}`, join(UNITS, name)];

  const { stdout } = await execute("systemd-analyze", words).catch((error: unknown) => error as { stdout: string });

  expect(Number(/exposure level for \S+: ([\d.]+)/.exec(stdout)?.[1]) * 10).toBeLessThanOrEqual(threshold);
});

test("systemd takes every setting of every unit, but those that it is too old for", async () => {
  const names = readdirSync(UNITS).filter((name) => name.includes("."));
  const files = names.filter((name) => /\.(?:service|path|timer|mount)$/.test(name)).map((name) => join(UNITS, name));

  const { stderr } = await execute("systemd-analyze", ["verify", ...files]).catch(
    (error: unknown) => error as { stderr: string },
  );

  const complaints = stderr.split("\n").filter((line) => line.startsWith(UNITS));
  const young = /service type, ignoring: notify-reload|Unknown key '(?:RestartSteps|RestartMaxDelaySec)'/;
  expect(complaints.filter((line) => !young.test(line))).toEqual([]);
});

test.each([
  ["certagent.service", [...nodeFlags("run"), PROGRAM, "run", "--apply", "broker"]],
  ["certagent-apply.service", ["--jitless", ...nodeFlags("apply"), PROGRAM, "apply", "--requests"]],
  ["certagent-recover.service", ["--jitless", ...nodeFlags("apply"), PROGRAM, "apply", "--recover"]],
])("%s starts Node with the flags of every start line", (name, words) => {
  expect(values(name, "ExecStart")).toEqual([["/usr/lib/certagent/node", ...words].join(" ")]);
});

test("/usr/bin/certagent starts Node with the flags of every start line", async () => {
  const script = readFileSync(join(ROOT, "packaging/certagent.sh"), "utf8").replace(
    "exec /usr/lib/certagent/node",
    "echo",
  );
  const lineOf = async (...words: readonly string[]): Promise<string> =>
    (await execute("sh", ["-c", script, "certagent", ...words])).stdout.trim();

  expect(await lineOf("run", "--log", "text")).toBe([...nodeFlags("run"), PROGRAM, "run", "--log", "text"].join(" "));
  expect(await lineOf("status")).toBe([...nodeFlags("status"), PROGRAM, "status"].join(" "));
  expect(await lineOf()).toBe([...nodeFlags(undefined), PROGRAM].join(" "));
});

test("every unit takes the same variables from Node", () => {
  const names = ["certagent.service", "certagent-apply.service", "certagent-recover.service"];

  const taken = names.map((name) => values(name, "UnsetEnvironment").join(" "));

  expect(taken[0]).toContain("NODE_OPTIONS NODE_PATH NODE_EXTRA_CA_CERTS NODE_TLS_REJECT_UNAUTHORIZED LD_PRELOAD");
  expect(new Set(taken).size).toBe(1);
});

test("a request that is left lying can stop neither unit for good", () => {
  for (const name of ["certagent-apply.path", "certagent.service"]) {
    expect(values(name, "StartLimitIntervalSec"), name).toEqual(["0"]);
  }
  // Over before the path unit that has failed with it is started again.
  const limited = Number(values("certagent-apply.service", "StartLimitIntervalSec")[0]);
  expect(limited).toBeLessThan(Number(values("certagent-apply.timer", "OnUnitInactiveSec")[0]));
  expect(values("certagent-apply.timer", "Unit")).toEqual(["certagent-apply.path"]);
});
