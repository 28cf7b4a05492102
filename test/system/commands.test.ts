/** Commands of the root side in a booted system, from within its sandbox, and without a dbus-daemon. */
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import type { RunOptions, RunResult } from "../../src/base/run.ts";
import { pause, SECOND } from "../../src/base/time.ts";
import { doConfined, installDriver } from "./confined.ts";
import { type Machine, makeMachine } from "./machine.ts";
import { put } from "./put.ts";

let machine: Machine;

beforeAll(async () => {
  machine = await makeMachine(inject("machines"), inject("layers"));
  await machine.boot();
  await machine.sh("systemctl stop dbus.socket dbus.service");
  await installDriver(machine);
  await put(machine, "/root/hook.sh", '#!/bin/sh\necho "in $PWD with $*"\nexit 4\n', "0755");
  await put(machine, "/usr/local/lib/lost", "#!/no/such/interpreter\n", "0755");
  // What an operator may do too: a limit for all commands of certagent.
  await put(machine, "/etc/systemd/system/certagent-run-small-.service.d/limit.conf", "[Service]\nMemoryMax=32M\n");
  await machine.sh("systemctl daemon-reload");
});

afterAll(async () => await machine[Symbol.asyncDispose]());

const shell = (script: string, ...words: string[]): string[] => ["/bin/sh", "-c", script, "sh", ...words];

async function runConfined(argv: readonly string[], options: Partial<RunOptions> = {}): Promise<RunResult> {
  const [result] = await doConfined(machine, [{ kind: "run", argv, options }]);
  return result as RunResult;
}

async function leftUnits(): Promise<string> {
  return await machine.sh("systemctl list-units --all --plain --no-legend 'certagent-run-*'");
}

const STRANGE = [
  ..."$HOME ${HOME} $$ $$HOME a$b %n %% @x -x +x !x :x \\x41 \\ * ; | -- $(id) `id`".split(" "),
  "",
  "a b",
  " around ",
  "q'q\"q",
  "two\nlines",
  "tab\tx",
  "äß…",
];

test.for<[what: string, argv: readonly string[], options?: Partial<RunOptions>]>([
  ["takes its words as they stand", shell('printf "[%s]\\n" "$@"; exit 3', ...STRANGE)],
  [
    "has the environment of a child, the root folder and no input",
    shell("env | grep -v ^_= | sort; pwd; cat; exit 3"),
    { env: { CERTAGENT_NAME: "web", CERTAGENT_PATHS: '/a b:/c$d%n:"x' } },
  ],
  ["tells its exit code", shell("echo so; exit 7")],
  ["may end with a code that systemd has a meaning for", shell("echo so; exit 203")],
  ["tells the signal that ended it", shell("kill -SYS $$")],
  ["is ended by SIGPIPE as others are", shell("kill -PIPE $$")],
  ["is silent", shell("exit 1")],
  ["is not there", ["/nowhere/nginx"]],
  ["is found nowhere by its name", ["no-such-program"]],
  ["may not be executed", ["/etc/passwd"]],
  ["is a folder", ["/etc"]],
  ["lacks its interpreter", ["/usr/local/lib/lost"]],
  ["has its words escaped", shell("printf 'a\\tb\\r\\nc\\033[31m\\377\\n'; exit 3")],
  ["has its head and its tail kept", shell("seq 20000; exit 3")],
  ["is data", shell("printf 'a\\000b\\n'"), { isData: true }],
  ["is a lot of data", shell("seq 20000"), { isData: true, outputLimit: 4096 }],
])("where a command %s it ends as a child does", async ([, argv, options = {}]) => {
  const [confined, child] = await doConfined(machine, [
    { kind: "run", argv, options },
    { kind: "child", argv, options },
  ]);

  expect(confined).toEqual("timedOut" in Object(child) ? { ...Object(child), outOfMemory: false } : child);
  expect(await leftUnits()).toBe("");
});

test("what another user writes to the journal about a command's unit is not believed", async () => {
  // As systemd says that a unit's program may not be executed (13), which only itself can know.
  const forged = ["MESSAGE=no", "MESSAGE_ID=641257651c1b4ec9a8624d7a40a9e1e7", "ERRNO=13"].join("\\n");
  const script = `unit=$(sed -n 's,.*/\\(certagent-run-.*\\)$,\\1,p' /proc/self/cgroup | head -n 1)
printf "${forged}\\nUNIT=$unit\\n" | setpriv --reuid=certagent --clear-groups logger --journald
journalctl --sync
echo "$unit"; exit 203`;

  const { exitCode, output } = await runConfined(shell(script));

  expect(exitCode).toBe(203);
  expect(await machine.sh(`journalctl --output=cat UNIT=${output.trim()} ERRNO=13`)).toBe("no");
});

test("a command goes on, and is waited for, while systemd executes itself anew, as each update of it does", async () => {
  const script = "systemctl daemon-reexec; sleep 2; echo done; exit 3";

  expect(await runConfined(shell(script))).toMatchObject({ exitCode: 3, output: expect.stringContaining("done\n") });
  expect(await leftUnits()).toBe("");
});

test("a command is found where the sandbox hides it from certagent", async () => {
  expect(await runConfined(["/root/hook.sh", "a b"])).toMatchObject({ exitCode: 4, output: "in / with a b\n" });
});

test("the journal has what a command says, under its unit", async () => {
  await runConfined(shell("echo a line for the journal"), { label: "vlc-admin" });

  const lines = await machine.sh("journalctl --output=json --output-fields=_SYSTEMD_UNIT _TRANSPORT=stdout -n 1");
  const { _SYSTEMD_UNIT: unit } = JSON.parse(lines) as { _SYSTEMD_UNIT: string };
  expect(unit).toMatch(/^certagent-run-vlc-admin-[0-9a-f]{8}\.service$/);
  expect(await machine.sh(`journalctl --output=cat _TRANSPORT=stdout -u ${unit}`)).toBe("a line for the journal");
});

test("what a command says as data is not in the journal", async () => {
  const { output } = await runConfined(shell("echo canary-5c1e"), { isData: true });

  expect(output).toBe("canary-5c1e\n");
  await machine.sh("journalctl --sync");
  expect(await machine.sh("journalctl --output=cat _TRANSPORT=stdout | grep -c canary-5c1e || true")).toBe("0");
});

test("a question that is answered by an exit code is no failure to the journal", async () => {
  const { exitCode } = await runConfined(shell("exit 1"), { isData: true, label: "answer-5c1e" });

  expect(exitCode).toBe(1);
  await machine.sh("journalctl --sync");
  expect(await machine.sh("journalctl --output=cat --priority=warning | grep -c answer-5c1e || true")).toBe("0");
  expect(await leftUnits()).toBe("");
});

test("at its deadline a command is ended with all that it began, wherever that has moved", async () => {
  const stubborn = "trap '' TERM; sleep 1001";
  const script = `setsid sh -c "${stubborn}" & (setsid sleep 1002 &) ; echo began; ${stubborn}; sleep 1003`;

  const result = await runConfined(shell(script), { timeout: 5 * SECOND });

  expect(result).toMatchObject({ timedOut: true, exitCode: null, output: "began\n" });
  expect((await machine.run(["pgrep", "-a", "sleep"])).stdout).toBe("");
  expect(await leftUnits()).toBe("");
});

test("a command that needs too much memory is stopped, and the host goes on", async () => {
  const greedy = shell("head -c 100M /dev/zero | tail -c 100M > /dev/null");

  expect((await runConfined(greedy)).exitCode).toBe(0);
  expect((await runConfined(greedy, { label: "small" })).exitCode).not.toBe(0);
});

test("a flood of output is kept short, in the report and in the journal", async () => {
  const before = Number(await machine.sh("du -sk /var/log/journal | cut -f1"));

  const result = await runConfined(shell("yes 'a line that is as long as lines are' | head -c 40M; exit 5"));

  expect(result.exitCode).toBe(5);
  expect(result.output.length).toBeLessThan(70_000);
  expect(Number(await machine.sh("du -sk /var/log/journal | cut -f1")) - before).toBeLessThan(100_000);
});

test("a daemon that a command leaves behind goes on, and its unit is let go when that has ended", async () => {
  await runConfined(shell("setsid sleep 1004 > /dev/null 2>&1 & :"));

  expect((await machine.run(["pgrep", "-f", "sleep 1004"])).code).toBe(0);
  expect(await leftUnits()).toMatch(/active +exited/);
  await machine.run(["pkill", "-f", "sleep 1004"]);
  while ((await machine.run(["pgrep", "-f", "sleep 1004"])).code === 0) await pause(50);
  await runConfined(["/bin/true"]);
  expect(await leftUnits()).toBe("");
});

test("a command goes on in its unit when nobody waits for it any more, and is let go at the next start", async () => {
  const script = "touch /run/began; while [ ! -e /run/go ]; do sleep 0.1; done; touch /run/finished";

  const [outcome] = await doConfined(machine, [{ kind: "abandon", argv: shell(script), when: "/run/began" }]);

  expect(outcome).toMatchObject({ code: "RELOAD_FAILED", message: 'Cannot wait for "/bin/sh": certagent is stopping' });
  await runConfined(["/bin/true"]);
  expect(await leftUnits()).toMatch(/activating +start/);
  await machine.sh("touch /run/go");
  while ((await machine.run(["test", "-e", "/run/finished"])).code !== 0) await pause(50);
  while (!/exited/.test(await leftUnits())) await pause(50);
  await runConfined(["/bin/true"]);
  expect(await leftUnits()).toBe("");
});

test("a hundred specs may each run a command at one time", async () => {
  const argv = shell("sleep 3; exit 6");

  const [results] = await doConfined(machine, [{ kind: "many", argv, count: 100 }]);

  expect(results).toHaveLength(100);
  expect(results).toEqual(Array.from({ length: 100 }, () => expect.objectContaining({ exitCode: 6 })));
  expect(await leftUnits()).toBe("");
});

test("a killed certagent takes no command with it", async () => {
  const script = "touch /run/began2; while [ ! -e /run/go2 ]; do sleep 0.1; done; touch /run/finished2";
  const doing = doConfined(machine, [{ kind: "run", argv: shell(script) }]).catch(() => undefined);
  while ((await machine.run(["test", "-e", "/run/began2"])).code !== 0) await pause(50);

  await machine.sh("systemctl kill --signal=KILL driver.service");
  await doing;
  await machine.sh("touch /run/go2");

  while ((await machine.run(["test", "-e", "/run/finished2"])).code !== 0) await pause(50);
});
