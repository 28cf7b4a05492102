import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { mkdtempDisposable, open, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { cannotRun, run, startAs, startProgram } from "../../../src/base/run.ts";
import { MINUTE, pause, SECOND } from "../../../src/base/time.ts";

const timeout = MINUTE;

/** A shell is the shortest way to write a program that misbehaves; certagent itself never starts one. */
const shell = (script: string, ...words: string[]): string[] => ["/bin/sh", "-c", script, "sh", ...words];

function runs(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await pause(10);
}

test("run() passes every word as it stands and starts no shell", async () => {
  const words = ["a b", "$(id)", "`id`", ";", "*", "--", "", "ä\n"];

  const result = await run(["/usr/bin/printf", "[%s]", ...words], { timeout });

  expect(result).toEqual({
    exitCode: 0,
    signal: null,
    timedOut: false,
    output: words.map((word) => `[${word}]`).join(""),
  });
});

test("run() gives a program a fixed environment, the root folder, no input and no descriptor of ours", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-run-"));
  await using _ours = await open(join(folder.path, "ours"), "w");
  const script = `env | sort | grep -E '^(CERTAGENT|LANG|LC_|PATH|HOME|NODE)'; pwd; cat; ls -l /proc/$$/fd | grep -c "$1"`;

  const { output } = await run(shell(script, folder.path), { timeout, env: { CERTAGENT_NAME: "web" } });

  expect(output.trim().split("\n")).toEqual([
    "CERTAGENT_NAME=web",
    "LANG=C.UTF-8",
    "PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin",
    "/",
    "0",
  ]);
});

test("run() tells the exit code and the signal that ended a program", async () => {
  expect(await run(shell("exit 7"), { timeout })).toMatchObject({ exitCode: 7, signal: null });
  expect(await run(shell("kill -SYS $$"), { timeout })).toMatchObject({ exitCode: null, signal: "SIGSYS" });
});

test("run() names the program that cannot be started", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-run-"));
  const plain = join(folder.path, "plain");
  await writeFile(plain, "#!/bin/sh\n", { mode: 0o644 });

  await expect(run(["/nowhere/nginx"], { timeout })).rejects.toMatchObject({
    code: "RELOAD_FAILED",
    message: 'Cannot run "/nowhere/nginx": no such program',
  });
  await expect(run([plain], { timeout })).rejects.toMatchObject({
    code: "RELOAD_FAILED",
    message: `Cannot run "${plain}": permission denied, or not executable`,
  });
});

test("a script without a first line is told as that: in a unit no shell takes it for its own", () => {
  expect(cannotRun("/usr/local/bin/reload-web", "ENOEXEC")).toMatchObject({
    message: 'Cannot run "/usr/local/bin/reload-web": it is no program of this machine\'s kind',
    hint: expect.stringContaining("#!/bin/sh"),
  });
});

test("run() escapes control characters and what turns the direction of text", async () => {
  const { output } = await run(["/usr/bin/printf", "a\\tb\\r\\nc\\033[31m\\000\\xff\\u202e\\n"], { timeout });

  expect(output).toBe("a\tb\nc\\x1b[31m\\x00\ufffd\\u{202e}\n");
});

test("run() keeps head and tail of a flood", async () => {
  const flood = 'echo first; head -c 100000000 /dev/zero | tr "\\0" x; echo; echo last';

  const { output, exitCode } = await run(shell(flood), { timeout });

  expect(exitCode).toBe(0);
  expect(output.length).toBeLessThan(65 * 1024);
  expect(output).toMatch(/^first\nx+\n\[… left out …\]\nx+\nlast\n$/);
});

test("run() keeps the last words of a flood whenever they come", async () => {
  const flood = 'head -c 20000000 /dev/zero | tr "\\0" x; echo; echo last';
  const ends: string[] = [];
  for (let round = 0; round < 30; round += 1) {
    const results = await Promise.all([1, 2, 3].map(() => run(shell(flood), { timeout })));
    ends.push(...results.map(({ output }) => output.slice(-6)));
  }

  expect(new Set(ends)).toEqual(new Set(["\nlast\n"]));
});

test("run() collects what a program says in a file without a name, of which nothing can stay behind", async () => {
  expect((await run(shell("stat --dereference --format=%h /proc/self/fd/1"), { timeout })).output).toBe("0\n");
});

test("run() keeps short what a flood goes to while the program still runs", async () => {
  const script = `
    written=0; size=0
    while [ "$size" -eq "$written" ]; do
      head -c 1000000 /dev/zero; written=$((written + 1000000)); sleep 0.02
      size=$(( 512 * $(stat --dereference --format %b /proc/self/fd/2) ))
      [ "$size" -lt "$written" ] || size=$written
    done`;

  // It ends when what it has written takes more than the disk holds of it.
  expect(await run(shell(script), { timeout })).toMatchObject({ exitCode: 0, timedOut: false });
});

test("run() keeps as much output as it is asked for", async () => {
  const script = shell('head -c 200000 /dev/zero | tr "\\0" x');

  expect((await run(script, { timeout, outputLimit: 1024 * 1024 })).output).toBe("x".repeat(200_000));
  expect((await run(script, { timeout, outputLimit: 10 })).output).toBe("xxxxx\n[… left out …]\nxxxxx");
});

test("run() ends a hanging program with its whole group at the deadline", async () => {
  const { output, ...result } = await run(shell("sleep 1000 & echo $! $$; wait"), { timeout: SECOND });

  expect(result).toEqual({ exitCode: null, signal: "SIGTERM", timedOut: true });
  expect(output.trim().split(" ").map(Number).filter(runs)).toEqual([]);
});

test("run() kills what ignores SIGTERM, members of the group that outlive their leader too", async () => {
  const deaf = `${process.execPath} -e 'process.on("SIGTERM",()=>{});process.on("SIGHUP",()=>{});setInterval(()=>{},1000);console.log(process.pid)'`;
  const script = `${deaf} & while [ ! -s "$1" ]; do sleep 0.05; done; echo $!; sleep 1000`;
  await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-run-"));
  const ready = join(folder.path, "ready");

  const { output, timedOut } = await run(shell(script.replace(" & ", ' >"$1" & '), ready), { timeout: 3 * SECOND });

  expect(timedOut).toBe(true);
  await until(() => !runs(Number(output.trim())));
});

test("run() waits for a moment for what it may not end, a program that has become root", async () => {
  const kill = process.kill.bind(process);
  using _kill = vi.spyOn(process, "kill").mockImplementation((pid, signal) => {
    if (signal === 0) return kill(pid, signal);
    throw Object.assign(new Error("kill EPERM"), { code: "EPERM", errno: -1, syscall: "kill" });
  });

  const result = await run(shell("sleep 1; echo done"), { timeout: 100 });

  expect(result).toEqual({ exitCode: 0, signal: null, timedOut: true, output: "done\n" });
});

test("run() neither waits for a daemon that keeps its output open nor harms it", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-run-"));
  const go = join(folder.path, "go");
  const done = join(folder.path, "done");
  const daemon = 'while [ ! -e "$1" ]; do sleep 0.05; done; echo still writing && echo yes > "$2"';

  const { exitCode, output, timedOut } = await run(
    ["/usr/bin/setsid", "--fork", ...shell(`echo started; ${daemon}`, go, done)],
    { timeout },
  );
  await writeFile(go, "");
  await until(() => existsSync(done) && readFileSync(done, "utf8") === "yes\n");

  expect({ exitCode, timedOut }).toEqual({ exitCode: 0, timedOut: false });
  expect("started\n").toContain(output);
});

test("run() holds on to the output of what it leaves behind, so that it is kept short, and of nothing else", async () => {
  const nameless = (): number =>
    readdirSync("/proc/self/fd").filter((fd) => {
      const path = `/proc/self/fd/${fd}`;
      return existsSync(path) && readlinkSync(path).endsWith(" (deleted)");
    }).length;
  const before = nameless();

  await run(shell("exit 0"), { timeout });
  const afterOne = nameless();
  const { output } = await run(shell("sleep 1000 & echo $!"), { timeout });
  const afterTwo = nameless();
  process.kill(Number(output));

  expect([afterOne, afterTwo]).toEqual([before, before + 1]);
});

test("run() stops waiting when it is told to, and leaves the program alone", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-run-"));
  const [begun, go, done] = ["begun", "go", "done"].map((name) => join(folder.path, name)) as [string, string, string];
  const stop = new AbortController();
  const script = 'echo > "$1"; while [ ! -e "$2" ]; do sleep 0.05; done; echo out; echo yes > "$3"';

  const waiting = run(shell(script, begun, go, done), { timeout, signal: stop.signal });
  const outcome = expect(waiting).rejects.toMatchObject({
    code: "RELOAD_FAILED",
    message: 'Cannot wait for "/bin/sh": certagent is stopping',
  });
  await until(() => existsSync(begun));
  stop.abort();
  await outcome;
  await writeFile(go, "");

  await until(() => existsSync(done) && readFileSync(done, "utf8") === "yes\n");
  await expect(run(["/bin/true"], { timeout, signal: stop.signal })).rejects.toThrow('Cannot start "/bin/true"');
});

test("run() hands over a descriptor, so that a child locks it for its parent", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-run-"));
  const path = join(folder.path, "lock");
  const flock = ["/usr/bin/flock", "--nonblock", "3"];
  const holder = await open(path, "a");
  await using rival = await open(path, "a");

  expect((await run(flock, { timeout, descriptor: holder.fd })).exitCode).toBe(0);
  expect((await run(flock, { timeout, descriptor: rival.fd })).exitCode).toBe(1);
  await holder.close();
  expect((await run(flock, { timeout, descriptor: rival.fd })).exitCode).toBe(0);
});

test("startProgram() tells standard output from standard error, line by line, and how the program ended", async () => {
  const lines: string[] = [];
  const program = await startProgram(shell("echo one; echo two >&2; exit 3"), (line, from) => {
    lines.push(`${from}: ${line}`);
  });

  expect(await program.ended).toEqual({ exitCode: 3, signal: null });
  await until(() => lines.length === 2);
  expect(lines.toSorted()).toEqual(["error: two", "output: one"]);
});

test("startProgram() hands lines to the program, and signals", async () => {
  const lines: string[] = [];
  const program = await startProgram(shell('while read -r line; do echo "got $line"; done'), (line) =>
    lines.push(line),
  );

  program.tell("a b");
  await until(() => lines.length === 1);
  program.signal("SIGKILL");

  expect(lines).toEqual(["got a b"]);
  expect(await program.ended).toEqual({ exitCode: null, signal: "SIGKILL" });
  program.tell("to nobody");
  program.signal("SIGTERM");
});

/** No user of the tests' own. */
const STRANGER = { uid: 47_110, gid: 47_110 };

test("startAs() gives a program no stream of ours, and hears all that it wrote before its end is told", async () => {
  const lines: string[] = [];
  const script = "id -u; readlink /proc/self/fd/0; cat; echo words >&2; printf 'no line feed'; exit 3";
  const program = await startAs(STRANGER, shell(script), {}, (line, from) => lines.push(`${from}: ${line}`));

  expect(await program.ended).toEqual({ exitCode: 3, signal: null });
  const [uid, input, ...rest] = lines.filter((line) => line.startsWith("output"));
  expect([uid, input, rest]).toEqual(["output: 47110", "output: /dev/null", ["output: no line feed"]]);
  expect(lines).toContain("error: words");
});

test("startAs() holds no more of a line than a bounded piece, and does not wait for what holds the streams", async () => {
  const lines: string[] = [];
  const script = "head -c 1000000 /dev/zero | tr '\\0' x; sleep 60 & echo $! >&2";
  const program = await startAs(STRANGER, shell(script), {}, (line) => lines.push(line));

  await program.ended;

  process.kill(Number(lines.find((line) => /^\d+$/.test(line))));
  const pieces = lines.filter((line) => line.startsWith("x"));
  expect(pieces.join("")).toBe("x".repeat(1_000_000));
  expect(Math.max(...pieces.map(({ length }) => length))).toBeLessThan(128 * 1024);
});

test("startProgram() says which program is not there", async () => {
  await expect(startProgram(["/nowhere"], () => undefined)).rejects.toMatchObject({
    code: "RELOAD_FAILED",
    message: 'Cannot run "/nowhere": no such program',
  });
});
