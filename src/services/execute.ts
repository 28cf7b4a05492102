import { AgentError } from "../base/errors.ts";
import { lastWords } from "../base/printable.ts";
import { endedWell, howItEnded, type RunResult } from "../base/run.ts";
import { shellWord } from "../base/shell-word.ts";
import type { Milliseconds } from "../base/time.ts";
import type { System } from "../core/ports.ts";

/** How much of a program's last words goes into an error. */
const LAST_WORDS = 1000;

const MORE_TIME = "where it takes that long, write a longer timeout:";
const MORE_MEMORY =
  "a drop-in with MemoryMax= in /etc/systemd/system/certagent-run-.service.d/ gives commands another limit";

/** A command as people would type it. */
export function showCommand(argv: readonly string[]): string {
  return argv.map(shellWord).join(" ");
}

export interface Execution {
  /** Completes "Cannot …": `reload nginx`. */
  readonly action: string;
  readonly timeout: Milliseconds;
  readonly hint?: string | undefined;
  /** A better hint for what the program said. */
  readonly explain?: ((output: string) => string | undefined) | undefined;
}

/** Runs a command of a recipe. Throws `RELOAD_FAILED` with the program's last words where it does not end well. */
export async function execute(
  { run }: Pick<System, "run">,
  argv: readonly string[],
  { action, timeout, hint, explain }: Execution,
  signal: AbortSignal,
): Promise<void> {
  const result = await run(argv, { timeout, signal });
  if (endedWell(result)) return;
  throw new AgentError("RELOAD_FAILED", `Cannot ${action}: "${showCommand(argv)}" ${ending(result, timeout)}`, {
    hint: hintFor(result, explain?.(result.output) ?? hint),
  });
}

function hintFor({ outOfMemory, timedOut }: RunResult, hint: string | undefined): string | undefined {
  if (outOfMemory === true) return MORE_MEMORY;
  if (!timedOut) return hint;
  return hint === undefined ? MORE_TIME : `${hint}; ${MORE_TIME}`;
}

/** How a command has ended, with its last words: `exited with 1: nginx: [emerg] …`. */
function ending(result: RunResult, timeout: Milliseconds): string {
  const words = toldOf(result.output);
  const how = howItEnded(result, timeout);
  return words === "" ? how : `${how}: ${words}`;
}

function toldOf(output: string): string {
  const lines = lastWords(output, LAST_WORDS)
    .split("\n")
    .map((line) => line.trim());
  return lines.filter((line) => line !== "").join(" | ");
}
