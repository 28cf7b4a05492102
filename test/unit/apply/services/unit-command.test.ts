import { expect, test } from "vitest";
import {
  readEnding,
  systemdRun,
  type UnitCommand,
  unitName,
  variableNames,
} from "../../../../src/apply/services/unit-command.ts";
import { endedWell } from "../../../../src/base/run.ts";
import { SECOND } from "../../../../src/base/time.ts";

const command: UnitCommand = {
  unit: "certagent-run-web-1.service",
  argv: ["/usr/sbin/nginx", "-t"],
  label: "web",
  timeout: 30 * SECOND,
  env: {},
  inherited: [],
  outputPath: null,
};

function shown(facts: Readonly<Record<string, string | number>>): string {
  return Object.entries(facts)
    .map(([name, value]) => `${name}=${value}\n`)
    .join("");
}

test("the name of a command's unit says whose it is, and is no longer than systemd takes", () => {
  expect(unitName("vlc-admin", "0123abcd")).toBe("certagent-run-vlc-admin-0123abcd.service");
  expect(unitName("x".repeat(250), "0123abcd").length).toBeLessThanOrEqual(255);
});

test("systemdRun() keeps systemd from replacing variables in the words of a command", () => {
  const words = ["$HOME", "${HOME}", "$$", "a$b", "%n", "", "-x", "@x"];

  const argv = systemdRun({ ...command, argv: ["/bin/echo", ...words] });

  expect(argv.slice(argv.indexOf("--") + 1)).toEqual([
    "/bin/echo",
    "$$HOME",
    "$${HOME}",
    "$$$$",
    "a$$b",
    "%n",
    "",
    "-x",
    "@x",
  ]);
});

test("systemdRun() gives a command the environment of a child, and takes away what units have besides", () => {
  const argv = systemdRun({ ...command, env: { CERTAGENT_NAME: "web" }, inherited: ["LANG", "http_proxy"] });

  expect(argv.filter((word) => word.startsWith("--setenv="))).toEqual([
    "--setenv=PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin",
    "--setenv=LANG=C.UTF-8",
    "--setenv=CERTAGENT_NAME=web",
  ]);
  const unset = argv.find((word) => word.startsWith("--property=UnsetEnvironment="));
  expect(unset?.split("=")[2]?.split(" ")).toEqual(expect.arrayContaining(["http_proxy", "INVOCATION_ID"]));
  expect(unset).not.toMatch(/\b(LANG|PATH)\b/);
});

test("systemdRun() leaves the deadline and the limits to systemd", () => {
  const argv = systemdRun({ ...command, timeout: 1500 });

  for (const property of ["TimeoutStartSec=2", "TimeoutStopSec=5", "KillMode=control-group", "OOMPolicy=kill"]) {
    expect(argv).toContain(`--property=${property}`);
  }
  expect(argv.some((word) => word.startsWith("--property=MemoryMax="))).toBe(true);
});

test("systemdRun() describes a command in one line, whatever its words are", () => {
  const argv = systemdRun({ ...command, argv: ["/bin/echo", "a\nb\x1b[31m", "x".repeat(9999)] });

  const description = argv.find((word) => word.startsWith("--description="));
  expect(description).toMatch(/^--description=certagent for web: \/bin\/echo a\\nb\\x1b\[31m x+…$/);
});

test.for([
  ["success", 1, 0, "active", { exitCode: 0, signal: null, timedOut: false, outOfMemory: false, isFailed: false }],
  ["exit-code", 1, 7, "failed", { exitCode: 7, signal: null, timedOut: false, outOfMemory: false, isFailed: true }],
  ["signal", 2, 9, "failed", { exitCode: null, signal: "SIGKILL", timedOut: false, outOfMemory: false }],
  ["core-dump", 3, 11, "failed", { exitCode: null, signal: "SIGSEGV" }],
  ["timeout", 2, 15, "failed", { exitCode: null, signal: "SIGTERM", timedOut: true }],
  ["oom-kill", 2, 9, "failed", { signal: "SIGKILL", outOfMemory: true }],
] as const)("a unit that ended by %s tells how", ([result, code, status, state, ending]) => {
  const facts = { Result: result, ExecMainCode: code, ExecMainStatus: status, ActiveState: state, ControlGroup: "/x" };

  expect(readEnding(shown(facts))).toMatchObject(ending);
});

test("a unit that never began has no ending", () => {
  const facts = { Result: "success", ExecMainCode: 0, ExecMainStatus: 0, ActiveState: "inactive", ControlGroup: "" };

  expect(readEnding(shown(facts))).toBeUndefined();
  expect(readEnding("Failed to connect to bus: No such file or directory\n")).toBeUndefined();
});

test.each([
  ["well", { Result: "success", ExecMainCode: 1, ExecMainStatus: 0 }, true],
  ["with an exit code", { Result: "exit-code", ExecMainCode: 1, ExecMainStatus: 3 }, false],
  ["well, after its deadline had come", { Result: "timeout", ExecMainCode: 1, ExecMainStatus: 0 }, false],
  [
    "well, after a part of it had been stopped for its memory",
    { Result: "oom-kill", ExecMainCode: 1, ExecMainStatus: 0 },
    false,
  ],
  ["by a signal", { Result: "signal", ExecMainCode: 2, ExecMainStatus: 15 }, false],
])("a command that ended %s is told so", (_, facts, isWell) => {
  const ending = readEnding(shown({ ...facts, ActiveState: "active", ControlGroup: "" }));

  expect(ending && endedWell(ending)).toBe(isWell);
});

test("the manager's variables are found by name, whatever their values hold", () => {
  expect(variableNames("LANG=C.UTF-8\nhttp_proxy=$'http://a\\nB=c'\nX=\n")).toEqual(["LANG", "http_proxy", "X"]);
});
