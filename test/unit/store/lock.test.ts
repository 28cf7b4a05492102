import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempDisposable, readFile, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { HOUR } from "../../../src/base/time.ts";
import { lock } from "../../../src/store/lock.ts";

async function open() {
  const home = await mkdtempDisposable(join(tmpdir(), "certagent-lock-"));
  return { path: join(home.path, "agent", "lock"), [Symbol.asyncDispose]: home.remove };
}

const source = (file: string): string => JSON.stringify(new URL(`../../../src/${file}`, import.meta.url).href);
const module = (script: string): string[] => ["--no-warnings", "--input-type=module", "--eval", script];

/** Another process that locks `path`, says so, and holds it until it is killed. */
async function otherAgent(path: string): Promise<ChildProcess & { pid: number }> {
  const script = `
    import { lock } from ${source("store/lock.ts")};
    globalThis.held = await lock(${JSON.stringify(path)});
    console.log("locked");
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, module(script), {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(child.stdout, "data");
  return Object.assign(child, { pid: Number(child.pid) });
}

test("a state folder that another process holds is refused with its process id, and free as soon as that is killed", async () => {
  await using state = await open();
  const other = await otherAgent(state.path);

  await expect(lock(state.path)).rejects.toMatchObject({
    code: "LOCKED",
    message: `Cannot use the state folder: another agent (process ${other.pid}) holds "${state.path}"`,
    hint: "stop it first, or use a folder of its own with --state",
  });

  const ended = once(other, "exit");
  other.kill("SIGKILL");
  await ended;
  await using held = await lock(state.path);
  expect(held).toBeDefined();
  expect(await readFile(state.path, "utf8")).toBe(`${process.pid}\n`);
});

test("within one process too only one holds the lock, and the next one does when it is given back", async () => {
  await using state = await open();
  const first = await lock(state.path);

  await expect(lock(state.path)).rejects.toMatchObject({ code: "LOCKED" });
  await first[Symbol.asyncDispose]();

  await using second = await lock(state.path);
  expect(second).toBeDefined();
});

test("who waits for a lock and is told to stop waits no longer", async () => {
  await using state = await open();
  await using _held = await lock(state.path);
  const stop = new AbortController();
  const waiting = lock(state.path, HOUR, stop.signal);

  stop.abort();

  await expect(waiting).rejects.toMatchObject({ code: "LOCKED" });
});

test("the folder of the lock is made for its owner alone", async () => {
  await using state = await open();

  await using held = await lock(state.path);

  expect(held).toBeDefined();
  expect((await stat(join(state.path, ".."))).mode & 0o777).toBe(0o700);
  expect((await stat(state.path)).mode & 0o777).toBe(0o600);
});

test("a file system that knows no locks is not taken for another agent", async () => {
  await using state = await open();
  const inject = ["-f", "-o", "/dev/null", "-e", "trace=flock", "-e", "inject=flock:error=ENOLCK"];
  const script = `
    import { lock } from ${source("store/lock.ts")};
    await lock(${JSON.stringify(state.path)}).catch(({ code, message }) => console.log(code, message));`;

  const { stdout } = await promisify(execFile)("strace", [...inject, process.execPath, ...module(script)]);

  expect(stdout).toBe(`STATE_UNUSABLE Cannot lock "${state.path}": No locks available\n`);
});

test("a disk with no room for the process id keeps nobody from locking", async () => {
  await using state = await open();
  const script = `
    import { lock } from ${source("store/lock.ts")};
    await using held = await lock(${JSON.stringify(state.path)});
    console.log("locked");`;
  const inNoRoom = ["-c", 'ulimit -f 0; exec "$0" "$@"', process.execPath, ...module(script)];

  const { stdout } = await promisify(execFile)("sh", inNoRoom);

  expect(stdout).toBe("locked\n");
  expect(await readFile(state.path, "utf8")).toBe("");
});
