/** An intruder that wants to take the machine down with it: makes as many processes as it can, or takes memory. */
import { setTimeout as pause } from "node:timers/promises";
import { CallFailed, call } from "./kernel.ts";

const MANY = 500;
const GIBIBYTE = 2 ** 30;
const BLOCK = 2 ** 24;

const [, , kind] = process.argv;
if (kind === "memory") eat();
else await multiply();

function eat(): void {
  const blocks: Uint8Array[] = [];
  while (blocks.length * BLOCK < GIBIBYTE) blocks.push(Buffer.alloc(BLOCK, 1));
  process.stdout.write(`{"taken":${blocks.length * BLOCK}}\n`);
}

/** Children that do nothing, until there may be no more of them. */
async function multiply(): Promise<void> {
  const children: number[] = [];
  let why = "";
  while (children.length < MANY && why === "") {
    try {
      const child = Number(call("clone", 17, 0, 0, 0, 0));
      // In the child nothing but this thread is left, and it must not come back into Node.
      if (child === 0) for (;;) call("pselect6", 0, null, null, null, null, null);
      children.push(child);
    } catch (error) {
      why = error instanceof CallFailed ? error.errno : String(error);
    }
  }
  await pause(0);
  for (const child of children) process.kill(child, "SIGKILL");
  process.stdout.write(`${JSON.stringify({ children: children.length, why })}\n`);
}
