import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { expect, test } from "vitest";

const MODULE = join(import.meta.dirname, "..", "..", "scripts", "pinned-node.mjs");

/** Starts a program that runs `script` in the foreground, as the starters do; `output` is all it printed so far. */
function inForeground(script: string): { readonly child: ChildProcess; output: string } {
  const starter = `import { runInForeground } from ${JSON.stringify(MODULE)};
    await runInForeground(process.execPath, ["--input-type=module", "-e", ${JSON.stringify(script)}]);`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", starter], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const started = { child, output: "" };
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    started.output += text;
  });
  return started;
}

/** A program that waits, and says which signal it got before it ends in its own way. */
const WAITING = `for (const signal of ["SIGTERM", "SIGHUP", "SIGINT", "SIGUSR1"])
    process.on(signal, () => { process.stdout.write(signal); process.exit(9); });
  setInterval(() => undefined, 1000);
  process.stdout.write("ready ");`;

test("a starter ends with the exit code of what it started", async () => {
  const { child } = inForeground("process.exitCode = 3");

  expect(await once(child, "exit")).toEqual([3, null]);
});

test("a starter ends by the signal that ended what it started", async () => {
  const { child } = inForeground("process.kill(process.pid, 'SIGKILL')");

  expect(await once(child, "exit")).toEqual([null, "SIGKILL"]);
});

test.each(["SIGTERM", "SIGHUP", "SIGINT", "SIGUSR1"] as const)("a starter passes %s on, once", async (signal) => {
  const started = inForeground(WAITING);
  await expect.poll(() => started.output).toBe("ready ");

  started.child.kill(signal);

  expect(await once(started.child, "close")).toEqual([9, null]);
  expect(started.output).toBe(`ready ${signal}`);
});
