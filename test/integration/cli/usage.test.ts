/** What certagent says to people who use it, right or wrongly. The real program, run as they run it. */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { openSync } from "node:fs";
import { text } from "node:stream/consumers";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import manifest from "../../../package.json" with { type: "json" };
import { bundled, certagent } from "../../servers/program.ts";

const bare = { options: [] };
const COMMANDS = ["run", "once", "check", "plan", "status", "renew", "apply", "bootstrap", "schema", "help", "version"];

async function ask(...argv: readonly [string, ...string[]]) {
  return await certagent(bare, ...argv);
}

describe("help", () => {
  test.each([["--help"], ["-h"], ["help"]])("%s lists every command", async (word) => {
    const { code, stdout, stderr } = await ask(word);

    expect([code, stderr]).toEqual([0, ""]);
    for (const command of COMMANDS) expect(stdout).toMatch(new RegExp(`^  ${command} .*\\w{3}`, "m"));
  });

  test.each(COMMANDS)("of %s is enough on its own", async (command) => {
    const { code, stdout, stderr } = await ask(command, "--help");

    expect([code, stderr]).toEqual([0, ""]);
    for (const part of ["Usage:", "Options of every command:", "Examples:", "Exit codes:", "Files:"]) {
      expect(stdout).toContain(`\n${part}\n`);
    }
    expect(stdout).toContain(`  certagent ${command}`);
    expect(stdout).toContain("(default /etc/certagent/certagent.yaml)");
    expect(stdout).toContain("/etc/certagent.d/*.yaml");
    expect(stdout).not.toContain("\x1b");
    expect((await ask("help", command)).stdout).toBe(stdout);
  });

  test.each(["run", "once"])("of %s names what decides who writes and how it logs", async (command) => {
    const { stdout } = await ask(command, "--help");

    expect(stdout).toMatch(/--apply HOW .*; direct, broker \(default direct\)/);
    expect(stdout).toMatch(/--log FORMAT .*; auto, text, json \(default auto\)/);
    expect(stdout).toMatch(/--log-level LEVEL .*; debug, info, warning, error \(default info\)/);
  });

  test("says that there is a second agent's exit code, signals, and what a status means", async () => {
    expect((await ask("run", "--help")).stdout).toMatch(/SIGHUP[^]*SIGUSR1[^]*SIGTERM[^]*another agent/);
    expect((await ask("status", "--help")).stdout).toMatch(/pending[^]*current[^]*unproven[^]*failing[^]*3  something/);
  });
});

test.each(["--version", "version"])("%s tells the version", async (word) => {
  expect(await ask(word)).toMatchObject({
    code: 0,
    stdout: `certagent ${manifest.version} (node ${process.versions.node})\n`,
    stderr: "",
  });
});

test.each<[argv: [string, ...string[]], said: string]>([
  [["stauts"], 'Unknown command "stauts"\nhint: did you mean "status"?\nhint: certagent --help lists the commands'],
  [["Renew"], 'Unknown command "Renew"\nhint: did you mean "renew"?\nhint: certagent --help lists the commands'],
  [["install"], 'Unknown command "install"\nhint: certagent --help lists the commands'],
  [["\x1b[2J\n<3>x"], 'Unknown command "\\x1b[2J\n<3>x"\nhint: certagent --help lists the commands'],
  [["--jsno"], 'Unknown option "--jsno"\nhint: a command comes first\nhint: certagent --help'],
  [
    ["help", "chekc"],
    'Unknown command "chekc"\nhint: did you mean "check"?\nhint: certagent --help lists the commands',
  ],
  [
    ["status", "--jsno"],
    'Unknown option "--jsno" of "certagent status"\nhint: did you mean "--json"?\nhint: certagent status --help',
  ],
  [["status", "-j"], 'Unknown option "-j" of "certagent status"\nhint: certagent status --help'],
  [["plan", "--watch"], 'Unknown option "--watch" of "certagent plan"\nhint: certagent plan --help'],
  [["status", "--json=yes"], '"--json" takes no value\nhint: certagent status --help'],
  [["check", "--config"], '"--config" needs a value\nhint: --config FILE\nhint: certagent check --help'],
  [["check", "--config="], '"--config" needs a value\nhint: --config FILE\nhint: certagent check --help'],
  [["check", "--config", "--json"], '"--config" needs a value\nhint: --config FILE\nhint: certagent check --help'],
  [["run", "--log", "txt"], '"--log" cannot be "txt"\nhint: did you mean "text"?\nhint: one of auto, text, json'],
  [["once", "--log-level=warn"], '"--log-level" cannot be "warn"\nhint: one of debug, info, warning, error'],
  [
    ["run", "--apply", "brokre"],
    '"--apply" cannot be "brokre"\nhint: did you mean "broker"?\nhint: one of direct, broker',
  ],
  [["version", "now"], '"certagent version" takes no "now"\nhint: certagent version --help'],
  [["renew"], "renew takes either names or --all\nhint: certagent renew web\nhint: certagent renew --all"],
  [
    ["renew", "web", "--all"],
    "renew takes either names or --all\nhint: certagent renew web\nhint: certagent renew --all",
  ],
  [
    ["bootstrap", "--ca-url", "https://ca.internal"],
    "bootstrap needs --ca-url and --fingerprint\nhint: certagent bootstrap --ca-url https://ca.internal:9000 --fingerprint b8d4…",
  ],
  [
    ["bootstrap", "--ca-url", "ca.internal:9000", "--fingerprint", "00".repeat(32)],
    '"--ca-url": "ca.internal:9000" is no URL; write https://HOST:PORT\nhint: certagent bootstrap --help',
  ],
  [
    ["bootstrap", "--ca-url", "http://ca.internal:9000", "--fingerprint", "00".repeat(32)],
    '"--ca-url": a CA is spoken to over https only, not http\nhint: certagent bootstrap --help',
  ],
  [
    ["bootstrap", "--ca-url", "https://ca.internal:9000", "--fingerprint", "b8d4"],
    '"--fingerprint": must be a SHA-256 fingerprint of 64 hex digits\nhint: certagent bootstrap --help',
  ],
  [["schema"], "schema takes host or spec\nhint: certagent schema host\nhint: certagent schema spec"],
  [["schema", "spec", "host"], "schema takes host or spec\nhint: certagent schema host\nhint: certagent schema spec"],
])("used wrongly, %j ends with 2 and says what was meant", async (argv, said) => {
  const { code, stdout, stderr } = await ask(...argv);

  expect(stderr).toBe(`${said}\n`.replace(/^/gm, "certagent: ").replace(/certagent: $/, ""));
  expect(stdout).toBe("");
  expect(code).toBe(2);
});

test.each([
  ["check", "--specs", "specs"],
  ["bootstrap", "--ca-url", "https://ca.internal", "--fingerprint", "a".repeat(64), "--root", "root.crt"],
])("a path from a working directory that was removed is told as that: %s", async (...argv) => {
  const script = 'cd "$(mktemp -d)" && rmdir "$PWD" && exec "$@"';
  const words = ["-c", script, "sh", process.execPath, await bundled(), ...argv];

  const error = await promisify(execFile)("sh", words).catch((thrown: unknown) => thrown);

  expect(error).toMatchObject({ code: 2, stdout: "" });
  expect(error).toHaveProperty(
    "stderr",
    expect.stringMatching(/^certagent: Cannot find "\w+(\.crt)?": the working directory is gone\n/),
  );
});

test("no command at all ends with 2 and lists them", async () => {
  const child = spawn(process.execPath, [await bundled()]);
  const [said, [code]] = await Promise.all([text(child.stderr), once(child, "exit")]);

  expect(said).toMatch(/^certagent: No command given\ncertagent: hint: there are run, once, check, /);
  expect(code).toBe(2);
});

test("what follows -- is a name, whatever it looks like", async () => {
  const { code, stderr } = await ask("renew", "--runtime", "/nowhere", "--", "--all");

  expect(stderr).toContain('certagent: Cannot renew: no agent answers in "/nowhere/control"\n');
  expect(code).toBe(1);
});

test.each(["host", "spec"])("schema %s is JSON and nothing else", async (kind) => {
  const { code, stdout, stderr } = await ask("schema", kind);

  expect(JSON.parse(stdout)).toMatchObject({ $schema: "https://json-schema.org/draft/2020-12/schema" });
  expect([code, stderr]).toEqual([0, ""]);
});

describe("an output that takes no more", () => {
  test("is no failure where the reader has seen enough", async () => {
    const command = `"${process.execPath}" "${await bundled()}" schema spec | head -n 1; echo "\${PIPESTATUS[0]}"`;
    const { stdout, stderr } = await promisify(execFile)("bash", ["-c", command]);

    expect(stdout).toBe("{\n0\n");
    expect(stderr).toBe("");
  });

  test("is no failure where nobody ever read", async () => {
    const child = spawn(process.execPath, [await bundled(), "help"], { stdio: ["ignore", "pipe", "pipe"] });
    child.stdout.destroy();
    const [said, [code]] = await Promise.all([text(child.stderr), once(child, "exit")]);

    expect([code, said]).toEqual([0, ""]);
  });

  test("is one where the disk is full", async () => {
    const child = spawn(process.execPath, [await bundled(), "help"], {
      stdio: ["ignore", openSync("/dev/full", "w"), "pipe"],
    });
    const [said, [code]] = await Promise.all([text(child.stderr!), once(child, "exit")]);

    expect(said).toMatch(/^certagent: Cannot write the output: ENOSPC.*\n$/);
    expect(code).toBe(1);
  });
});

test.each([
  ["", true],
  ["NO_COLOR=1", false],
  ["TERM=dumb", false],
])("on a terminal with %j the help is coloured: %j", async (setting, isColoured) => {
  const command = `env TERM=xterm ${setting} "${process.execPath}" "${await bundled()}" help`;
  const { stdout } = await promisify(execFile)("script", ["-qec", command, "/dev/null"]);

  expect(stdout).toContain("Exit codes");
  expect(stdout.includes("\x1b[1m")).toBe(isColoured);
});
