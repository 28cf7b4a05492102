/**
 * Makes the real world out of this process and hands over to the commands. The only file that knows the process: its
 * arguments, its environment, its standard streams and its end.
 */
import type { Mode } from "./cli/mode.ts";
import type { AgentSignal, Signals } from "./cli/signals.ts";
import type { ApplyMode } from "./core/status-document.ts";

// Before anything is loaded: until somebody listens, SIGHUP ends Node and SIGUSR1 opens its inspector.
const signals = ["run", "once", "apply", "demo"].includes(process.argv[2] ?? "") ? holdSignals() : noSignals();

// What is made has the mode that was asked for at once, and what certagent runs finds the umask that it expects.
process.umask(0o022);

// Each certificate whose file system hangs holds one of the threads that do file calls, and Node's four are the host's.
process.env["UV_THREADPOOL_SIZE"] ??= "16";

// Node's own warnings are no output of certagent. The daemon writes them into its log.
process.removeAllListeners("warning");

(await import("./cli/schemas.ts")).compileNoParsers();

const [{ isatty }, { certagent }, { TERMINALS }, { createPrint }, { endAtOnce }, { run }, { systemClock }] =
  await Promise.all([
    import("node:tty"),
    import("./cli/certagent.ts"),
    import("./cli/command.ts"),
    import("./cli/print.ts"),
    import("./base/libc.ts"),
    import("./base/run.ts"),
    import("./base/time.ts"),
  ]);

// The only place that knows the ways to outputs and services apart.
const modes: Readonly<Record<ApplyMode, Mode>> = {
  direct: {
    name: "direct",
    apart: "broker",
    open: async (...site) => await (await import("./cli/root-side.ts")).holdRootSide(...site),
  },
  broker: {
    name: "broker",
    apart: "broker",
    open: async (_, { clock, log }, layout) => {
      const applier = (await import("./agent/broker.ts")).openBroker(layout, clock, log);
      return { applier, recover: () => applier.recover(), [Symbol.asyncDispose]: async () => undefined };
    },
  },
};

const argv = process.argv.slice(2);
const unread = new AbortController();
const isTerminal = (descriptor: number): boolean =>
  isatty(descriptor) || (process.env[TERMINALS] ?? "").includes(`${descriptor}`);
const isColoured = (descriptor: number): boolean =>
  isTerminal(descriptor) && (process.env["NO_COLOR"] ?? "") === "" && process.env["TERM"] !== "dumb";
let stdout: NodeJS.WriteStream | undefined;
let outputFailure: Error | undefined;

const print = createPrint(channel(1), channel(2), {
  showCauses: argv.includes("--log-level=debug") || argv[argv.indexOf("--log-level") + 1] === "debug",
});
const code = await certagent(argv, {
  env: process.env,
  clock: systemClock,
  run,
  print,
  signals,
  uid: process.geteuid?.() ?? 0,
  log: { isTerminal: isTerminal(2), isColoured: isColoured(2) },
  modes,
  program: [process.execPath, ...process.execArgv, process.argv[1] ?? ""],
  unread: unread.signal,
});
await flushed();
if (outputFailure !== undefined) print.note(`Cannot write the output: ${outputFailure.message}`);
// By name: a connection that something left open is no reason to stay.
const exitCode = outputFailure === undefined ? code : 1;
await endAtOnce(exitCode);
process.exit(exitCode);

function holdSignals(): Signals {
  const stop = new AbortController();
  const early: AgentSignal[] = [];
  let handle = (signal: AgentSignal): void => void early.push(signal);
  for (const name of ["SIGUSR1", "SIGHUP", "SIGTERM", "SIGINT"] as const) process.on(name, () => handle(name));
  for (const name of ["SIGTERM", "SIGINT"] as const) process.once(name, () => stop.abort());
  return {
    stop: stop.signal,
    listen: (handler) => {
      handle = handler;
      for (const signal of early.splice(0)) handler(signal);
    },
  };
}

function noSignals(): Signals {
  return { listen: () => undefined, stop: new AbortController().signal };
}

/** A standard stream, opened when it is first written to: the daemon's log has a writer of its own. */
function channel(descriptor: 1 | 2) {
  const open = () => {
    const stream = descriptor === 1 ? process.stdout : process.stderr;
    if (stream.listenerCount("error") === 0) stream.on("error", (error: Error) => failed(descriptor, error));
    if (descriptor === 1) stdout = process.stdout;
    return stream;
  };
  return {
    write: (text: string): void => {
      if (descriptor === 2 || !unread.signal.aborted) open().write(text);
    },
    isTerminal: isTerminal(descriptor),
    isColoured: isColoured(descriptor),
    size: () => {
      const { columns, rows } = open();
      return columns > 0 && rows > 0 ? { columns, rows } : undefined;
    },
  };
}

/** A reader that went away wants no more, which is no failure; a full disk is one. */
function failed(descriptor: 1 | 2, error: NodeJS.ErrnoException): void {
  if (descriptor === 2) return;
  if (error.code !== "EPIPE") outputFailure = error;
  unread.abort();
}

async function flushed(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  if (stdout === undefined || stdout.destroyed) resolve();
  else stdout.write("", () => resolve());
  await promise;
}
