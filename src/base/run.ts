/** Runs programs: the only place that starts a process. */
import { type ChildProcess, type StdioOptions, spawn } from "node:child_process";
import { once } from "node:events";
import type { Readable } from "node:stream";
import { formatDuration } from "./duration.ts";
import { AgentError } from "./errors.ts";
import { errnoOf } from "./file-error.ts";
import { reapOrphans } from "./reap.ts";
import { openOutput } from "./run-output.ts";
import { type Milliseconds, pause, SECOND, systemClock, withDeadline } from "./time.ts";

export interface RunOptions {
  /** SIGTERM to the whole process group at the deadline, SIGKILL 5 s later. */
  readonly timeout: Milliseconds;
  /** Ends the waiting, never the program: what certagent began to reload goes on when certagent is stopped. */
  readonly signal?: AbortSignal | undefined;
  /** Added to the fixed clean environment (PATH, LANG). */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** An open descriptor that the child gets as its descriptor 3. */
  readonly descriptor?: number | undefined;
  /** How many bytes of output are kept, half from its head and half from its tail; 64 KiB unless told. */
  readonly outputLimit?: number | undefined;
  /** Whose command it is, a spec's name, for the name of its unit where it runs in one. */
  readonly label?: string | undefined;
  /** The output is data, such as a whole configuration: it is not for the journal. */
  readonly isData?: boolean | undefined;
}

export interface RunResult {
  /** Null where a signal ended it. */
  readonly exitCode: number | null;
  readonly signal: string | null;
  readonly timedOut: boolean;
  /** Whether it was stopped since it needed more memory than its unit may have; only where it ran in one. */
  readonly outOfMemory?: boolean;
  /**
   * Standard output and error as they came, head and tail where that is too much, control characters escaped. Of a
   * command that ended well in a unit of its own the journal alone has it, unless it is data.
   */
  readonly output: string;
}

/** Exit code 0 by itself: what was stopped may end so too. */
export function endedWell({ exitCode, timedOut, outOfMemory }: Omit<RunResult, "output">): boolean {
  return exitCode === 0 && !timedOut && outOfMemory !== true;
}

/** How a command has ended that did not end well, for people: `exited with 1`. `timeout`: what it was given. */
export function howItEnded({ exitCode, signal, timedOut, outOfMemory }: RunResult, timeout: Milliseconds): string {
  if (outOfMemory) return "needed more memory than a command may have, half of this host's, and was stopped";
  if (timedOut) return `had not ended after ${formatDuration(timeout)} and was stopped`;
  return signal === null ? `exited with ${exitCode}` : `was ended by ${signal}`;
}

/**
 * Runs a program by argv, never through a shell, and waits for that program alone: a daemon that it leaves behind, and
 * that keeps its output open, is neither waited for nor harmed. Rejects with `RELOAD_FAILED` where the program cannot
 * be started, and where `signal` ends the waiting.
 */
export type Run = (argv: readonly string[], options: RunOptions) => Promise<RunResult>;

/** Nothing in /usr/local may shadow a program of the distribution, since it is writable by group staff on some. */
export const ENVIRONMENT: Readonly<Record<string, string>> = {
  PATH: "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin",
  LANG: "C.UTF-8",
};
/** How many bytes of output are kept where nothing else is asked for. */
export const OUTPUT_LIMIT: number = 64 * 1024;
/** Between SIGTERM and SIGKILL. */
export const GRACE: Milliseconds = 5 * SECOND;
const STEP: Milliseconds = 20;

/** How a program ended: by itself, or by a signal. */
export interface Ending {
  readonly exitCode: number | null;
  readonly signal: string | null;
}

/** A program that runs beside this process, and is spoken with in lines. */
export interface Program {
  readonly pid: number;
  readonly ended: Promise<Ending>;
  /** A line for its standard input; lost where nobody reads it any more. */
  tell(line: string): void;
  /** Nothing happens where it has ended. */
  signal(name: NodeJS.Signals): void;
}

export const run: Run = async (argv, options) => {
  const stopping = (): boolean => options.signal?.aborted ?? false;
  if (stopping()) throw leftBehind(argv, "start");
  await using output = await openOutput(options.outputLimit ?? OUTPUT_LIMIT);
  const { env, descriptor } = options;
  // Not a pipe: a program must outlive its reader, and a daemon that it leaves behind must not keep us waiting.
  const out = output.descriptor;
  const { child, ended } = await start(argv, env, [
    "ignore",
    out,
    out,
    ...(descriptor === undefined ? [] : [descriptor]),
  ]);
  using deadline = withDeadline(options.timeout, options.signal);
  const ending = await Promise.race([ended, aborted(deadline)]);
  if (ending !== undefined) {
    const group = groupOf(child);
    if (signalGroup(group, 0)) output.outlive(() => signalGroup(group, 0));
    return { ...ending, timedOut: false, output: await output.text() };
  }
  if (stopping()) {
    child.unref();
    throw leftBehind(argv, "wait for");
  }
  const killed = await endGroup(child, ended);
  return { ...killed, timedOut: true, output: await output.text() };
};

/**
 * Starts a program like {@link run}, and does not wait for it. `onLine` hears what it writes, standard output and error
 * told apart. Its standard input ends when this process does, however that ends.
 */
export async function startProgram(
  argv: readonly string[],
  onLine: (line: string, from: "output" | "error") => void,
): Promise<Program> {
  const { child, ended } = await start(argv, {}, ["pipe", "pipe", "pipe"]);
  const { pid, stdin } = child;
  if (pid === undefined || stdin === null) throw new TypeError("a program that was started has a process and an input");
  stdin.on("error", () => undefined); // it has ended, which `ended` tells
  void eachLine(child.stdout, (line) => onLine(line, "output"));
  void eachLine(child.stderr, (line) => onLine(line, "error"));
  return {
    pid,
    ended,
    tell: (line) => void stdin.write(`${line}\n`),
    signal: (name) => void child.kill(name),
  };
}

/** Who writes decides how long a line is, and not how much of it is held: what is longer comes in pieces. */
const LONGEST_LINE = 32 * 1024;

/** Resolves when nobody can write any more, or nothing can be read. */
async function eachLine(stream: Readable | null, onLine: (line: string) => void): Promise<void> {
  if (stream === null) return;
  let rest = "";
  stream.setEncoding("utf8").on("data", (text: string) => {
    const lines = `${rest}${text}`.split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) onLine(line);
    if (rest.length <= LONGEST_LINE) return;
    onLine(rest);
    rest = "";
  });
  await once(stream, "close").catch(() => undefined);
  if (rest !== "") onLine(rest);
}

/** A user to be, with no group but this one. */
export interface User {
  readonly uid: number;
  readonly gid: number;
}

/**
 * Starts a program as another user and does not wait for it. It gets none of the standard streams of this process: with
 * root's terminal it could read what root types, for ever. `onLine` hears what it writes, until it has `ended`; that is a
 * stranger's, and in pieces where a line is very long.
 */
export async function startAs(
  user: User,
  argv: readonly string[],
  env: Readonly<Record<string, string>>,
  onLine: (line: string, from: "output" | "error") => void,
): Promise<Pick<Program, "ended" | "signal">> {
  const { child, ended } = await start(argv, env, ["ignore", "pipe", "pipe"], user);
  const heard = Promise.all([
    eachLine(child.stdout, (line) => onLine(line, "output")),
    eachLine(child.stderr, (line) => onLine(line, "error")),
  ]);
  const endedAndHeard = async (): Promise<Ending> => {
    const ending = await ended;
    await Promise.race([heard, pause(GRACE)]); // what it has left behind may hold them open
    for (const stream of [child.stdout, child.stderr]) stream?.destroy();
    await heard;
    return ending;
  };
  return { ended: endedAndHeard(), signal: (name) => void child.kill(name) };
}

/** Those that were started here and have not ended. */
const own = new Set<number>();

/** Starts a program as the leader of a new process group, with nothing of ours but what it is given. */
async function start(
  argv: readonly string[],
  env: Readonly<Record<string, string>> | undefined,
  stdio: StdioOptions,
  user?: User,
): Promise<{ child: ChildProcess; ended: Promise<Ending> }> {
  const [program = "", ...rest] = argv;
  if (process.pid === 1) await reapOrphans(own);
  const child = spawn(program, rest, { cwd: "/", env: { ...ENVIRONMENT, ...env }, detached: true, stdio, ...user });
  const { pid = Number.NaN } = child;
  own.add(pid);
  const started = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<Ending>();
  child.once("spawn", started.resolve);
  child.once("error", (error) => {
    const words = error.message.replace(/^spawn\S* /, "");
    started.reject(cannotRun(program, errnoOf(error) ?? words, error));
  });
  child.once("exit", (exitCode, signal) => {
    own.delete(pid);
    ended.resolve({ exitCode, signal });
  });
  await started.promise;
  return { child, ended: ended.promise };
}

const NO_DESCRIPTOR = { fact: "too many open files", hint: "raise LimitNOFILE= of certagent's unit" };
const NOT_RUN: Readonly<Record<string, { readonly fact: string; readonly hint?: string }>> = {
  ENOENT: { fact: "no such program", hint: "is it installed, and the interpreter that a script's first line names?" },
  EACCES: { fact: "permission denied, or not executable" },
  EISDIR: { fact: "permission denied, or not executable" },
  // A shell would take it for a script of its own; systemd runs no shell.
  ENOEXEC: {
    fact: "it is no program of this machine's kind",
    hint: 'a script needs a first line that names its interpreter, such as "#!/bin/sh"',
  },
  EMFILE: NO_DESCRIPTOR,
  ENFILE: NO_DESCRIPTOR,
  EAGAIN: { fact: "no more processes may be started", hint: "raise TasksMax= of certagent's unit" },
};

/** Why a program could not be started; `reason` is an error's name such as `ENOENT`, or else words. */
export function cannotRun(program: string, reason: string, cause?: unknown): AgentError {
  const { fact, hint } = NOT_RUN[reason] ?? { fact: reason };
  return new AgentError("RELOAD_FAILED", `Cannot run "${program}": ${fact}`, { cause, hint });
}

/** Why a program is not started, or not waited for, once certagent has been told to stop. */
export function leftBehind(argv: readonly string[], action: "start" | "wait for"): AgentError {
  return new AgentError("RELOAD_FAILED", `Cannot ${action} "${argv[0]}": certagent is stopping`);
}

/** Resolves with nothing as soon as the signal aborts. */
function aborted(signal: AbortSignal): Promise<undefined> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(undefined);
    else signal.addEventListener("abort", () => resolve(undefined), { once: true });
  });
}

/** As kill(2) wants it. */
function groupOf({ pid = Number.NaN }: ChildProcess): number {
  return -pid;
}

/** SIGTERM to the group, SIGKILL to what is left of it after a grace; then nothing of it runs. */
async function endGroup(child: ChildProcess, ended: Promise<Ending>): Promise<Ending> {
  const group = groupOf(child);
  signalGroup(group, "SIGTERM");
  await goneWithin(group, GRACE);
  signalGroup(group, "SIGKILL");
  // What hangs in the kernel (a dead NFS server) outlives even SIGKILL for as long as that hangs.
  const ending = await Promise.race([ended, pause(GRACE)]);
  if (ending === undefined) child.unref();
  return ending ?? { exitCode: null, signal: "SIGKILL" };
}

async function goneWithin(group: number, span: Milliseconds): Promise<void> {
  const end = systemClock.monotonic() + span;
  while (signalGroup(group, 0) && systemClock.monotonic() < end) await pause(STEP);
}

/** False where nothing is left of the group. What has become root (sudo) hears nothing of us, and is there. */
function signalGroup(group: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(group, signal);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === "ESRCH") return false;
    if (errno === "EPERM") return true;
    throw error;
  }
}
