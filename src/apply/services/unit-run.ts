/** Runs commands outside of certagent's own sandbox: each in a transient unit of systemd, its output in the journal. */
import { randomBytes } from "node:crypto";
import { access, constants as modes, readdir, readFile } from "node:fs/promises";
import { constants } from "node:os";
import { join } from "node:path";
import type { AgentError } from "../../base/errors.ts";
import {
  cannotRun,
  ENVIRONMENT,
  endedWell,
  leftBehind,
  OUTPUT_LIMIT,
  type Run,
  type RunOptions,
  type RunResult,
} from "../../base/run.ts";
import { openOutput } from "../../base/run-output.ts";
import { MINUTE, type Milliseconds, pause, SECOND, withDeadline } from "../../base/time.ts";
import {
  ENDING_PROPERTIES,
  isUnderWay,
  mayBeSystemds,
  readEnding,
  systemdRun,
  UNIT_PREFIX,
  type UnitEnding,
  unitName,
  variableNames,
} from "./unit-command.ts";

/** How long systemd and its journal may take to answer. */
const QUESTION: Milliseconds = 30 * SECOND;
/** How long after its deadline a unit is given up: SIGTERM and SIGKILL have 5 s each, and systemd tries both twice. */
const BEYOND: Milliseconds = MINUTE;
/** How often systemd is looked for where it does not answer: `daemon-reexec`, as with each update of it, takes a moment. */
const LOOKS_WHILE_AWAY = 40;
const LOOK_AGAIN: Milliseconds = SECOND / 4;
/** "Failed at step EXEC", with the error's number (systemd's catalog of messages, SD_MESSAGE_SPAWN_FAILED). */
const SPAWN_FAILED = "MESSAGE_ID=641257651c1b4ec9a8624d7a40a9e1e7";

/**
 * A {@link Run} over transient units, made of one over children: `ask` runs systemd's own tools, which need no more than
 * unix sockets and the journal's files. The deadline and the limits are systemd's to keep, for every process of the
 * command, whatever becomes of certagent; a command whose waiting is aborted goes on. To be used where systemd runs.
 */
export function createUnitRun(ask: Run): Run {
  let inherited: Promise<readonly string[]> | undefined;
  return async (argv, options) => {
    if (options.descriptor !== undefined) throw new TypeError("a unit cannot be handed a descriptor");
    if (options.signal?.aborted) throw leftBehind(argv, "start");
    inherited ??= inheritedNames(ask).catch((error: unknown) => {
      inherited = undefined; // asked again for the next one
      throw error;
    });
    return await runInUnit(ask, argv, options, await inherited);
  };
}

async function inheritedNames(ask: Run): Promise<readonly string[]> {
  const { output } = await ask(["systemctl", "show-environment"], { timeout: QUESTION });
  return variableNames(output);
}

async function runInUnit(
  ask: Run,
  argv: readonly string[],
  options: RunOptions,
  inherited: readonly string[],
): Promise<RunResult> {
  const { label = "", timeout, env = {}, signal, outputLimit = OUTPUT_LIMIT } = options;
  const [program = "", ...words] = argv;
  const resolved = [await findProgram(program, env["PATH"] ?? ENVIRONMENT["PATH"]), ...words];
  const unit = unitName(label, randomBytes(4).toString("hex"));
  await using data = options.isData ? await openOutput(outputLimit) : undefined;
  // The file has no name, but the one that any process of root finds it by.
  const outputPath = data === undefined ? null : `/proc/${process.pid}/fd/${data.descriptor}`;
  const command = systemdRun({ unit, argv: resolved, label, timeout, env, inherited, outputPath });
  const attempt = async () => {
    const told = await ask(command, { timeout: timeout + BEYOND, signal });
    return { told, ending: await endingOf(ask, unit, told.timedOut ? 0 : timeout + BEYOND, signal) };
  };
  const { told, ending } = await attempt()
    // Of what was asked while systemd was away it has never heard. Why it refuses, it says the first time.
    .then(async (first) =>
      first.ending === undefined && !first.told.timedOut ? { ...(await attempt()), told: first.told } : first,
    )
    .catch((error: unknown) => {
      throw signal?.aborted ? leftBehind(argv, "wait for") : error;
    });
  if (ending === undefined) throw notBegun(argv, told.output);
  try {
    if (mayBeSystemds(ending)) await throwIfNotSpawned(ask, argv, unit);
    const { exitCode, signal: endedBy, timedOut, outOfMemory = false } = ending;
    const words = (): Promise<string> => (data === undefined ? journalOf(ask, unit, outputLimit) : data.text());
    const isSilent = data === undefined && endedWell(ending);
    return { exitCode, signal: endedBy, timedOut, outOfMemory, output: isSilent ? "" : await words() };
  } finally {
    await letGo(ask, unit, ending).catch(() => undefined); // then the next start does it
  }
}

/**
 * How a unit has ended; undefined where it never began, or does not end within `patience`. Who waited for it may have been
 * cut off while it goes on, since systemd executed itself anew.
 */
async function endingOf(
  ask: Run,
  unit: string,
  patience: Milliseconds,
  signal: AbortSignal | undefined,
): Promise<UnitEnding | undefined> {
  using late = withDeadline(patience);
  for (let failed = 0; ; ) {
    const shown = await ask(["systemctl", "show", "-p", ENDING_PROPERTIES, "--", unit], { timeout: QUESTION });
    const ending = readEnding(shown.output);
    if (ending !== undefined || late.aborted) return ending;
    if (!endedWell(shown)) failed += 1;
    else if (!isUnderWay(shown.output)) return undefined;
    if (failed > LOOKS_WHILE_AWAY) return undefined;
    await pause(LOOK_AGAIN, signal);
    signal?.throwIfAborted();
  }
}

/** A bare name's path: systemd has an order of its own, with /usr/local first. Throws `RELOAD_FAILED`. */
async function findProgram(program: string, path = ""): Promise<string> {
  if (program.includes("/")) return program;
  for (const folder of path.split(":")) {
    const candidate = join(folder, program);
    const isThere = await access(candidate, modes.X_OK).then(
      () => true,
      () => false,
    );
    if (isThere) return candidate;
  }
  throw cannotRun(program, "ENOENT");
}

function notBegun([program = ""]: readonly string[], output: string): AgentError {
  const words = output.trim().replaceAll("\n", " | ");
  return cannotRun(program, `systemd did not start its unit${words === "" ? "" : `: ${words}`}`);
}

async function throwIfNotSpawned(ask: Run, argv: readonly string[], unit: string): Promise<void> {
  // Said by a process that is gone at once: the journal may not know which unit's it was, but the message itself tells.
  // Anybody may write such a message; its user is the one thing in it that is the journal's own word.
  const matches = [`UNIT=${unit}`, SPAWN_FAILED, "_UID=0"];
  const output = await readJournal(ask, ["--output-fields=ERRNO", ...matches], OUTPUT_LIMIT);
  const number = Number.parseInt(output, 10);
  const name = Object.entries(constants.errno).find(([, value]) => value === number)?.[0];
  if (name !== undefined) throw cannotRun(argv[0] ?? "", name);
}

/**
 * What the command wrote: both fields are the journal's own word. By the unit's name, which is never used again: its id is missing where the journal
 * came to read a line only after a command had failed (measured: with 12 of 40).
 */
async function journalOf(ask: Run, unit: string, limit: number): Promise<string> {
  return await readJournal(ask, [`_SYSTEMD_UNIT=${unit}`, "_TRANSPORT=stdout"], limit);
}

/** What was written may still wait in the journal's sockets, until the journal is told to read them. */
async function readJournal(ask: Run, matches: readonly string[], outputLimit: number): Promise<string> {
  await ask(["journalctl", "--sync"], { timeout: QUESTION });
  const argv = ["journalctl", "--quiet", "--no-pager", "--all", "--output=cat", ...matches];
  return (await ask(argv, { timeout: QUESTION, outputLimit })).output;
}

/** A unit is let go, but for one that still has processes: a daemon that its command left behind. */
async function letGo(ask: Run, unit: string, { isFailed, cgroup }: UnitEnding): Promise<void> {
  if (isFailed) await ask(["systemctl", "reset-failed", "--", unit], { timeout: QUESTION });
  else if (!(await isPopulated(cgroup))) await ask(["systemctl", "stop", "--", unit], { timeout: QUESTION });
}

/** Whether processes are in a cgroup; yes where nothing tells. */
async function isPopulated(cgroup: string): Promise<boolean> {
  if (cgroup === "") return false;
  for (const mount of ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]) {
    const events = await readFile(`${mount}${cgroup}/cgroup.events`, "utf8").catch(() => "");
    if (events !== "") return events.includes("populated 1");
  }
  return true;
}

/**
 * Lets go of units of commands that ended after the process that began them; those that still run are left alone. To be
 * called while no other process runs commands.
 */
export async function sweepUnits(ask: Run): Promise<void> {
  const transient = await readdir("/run/systemd/transient").catch(() => []);
  if (!transient.some((file) => file.startsWith(UNIT_PREFIX))) return;
  const argv = ["systemctl", "show", "-p", `Id,${ENDING_PROPERTIES}`, "--", `${UNIT_PREFIX}*.service`];
  const { output } = await ask(argv, { timeout: QUESTION, outputLimit: 1024 * 1024 });
  for (const block of output.split("\n\n")) {
    const unit = /^Id=(.*)$/m.exec(block)?.[1];
    const ending = readEnding(block);
    const hasEnded = /^ActiveState=(active|failed)$/m.test(block);
    if (unit?.startsWith(UNIT_PREFIX) && ending !== undefined && hasEnded) await letGo(ask, unit, ending);
  }
}
