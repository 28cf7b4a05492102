import { type ChildProcess, spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { chown, rename, writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { pause } from "../../src/base/time.ts";

/** A real server that runs for one test. */
export interface Daemon extends AsyncDisposable {
  readonly pid: number;
  /** What it has written to standard output and error. */
  log(): string;
  readonly running: boolean;
  /** Sends the signal and waits for the end. */
  stop(signal?: NodeJS.Signals): Promise<void>;
}

/** Starts a program in the foreground and waits until `ready` holds. Throws with its words where it ends before. */
export async function startDaemon(
  argv: readonly [string, ...string[]],
  ready: () => Promise<boolean>,
  signal: NodeJS.Signals = "SIGTERM",
): Promise<Daemon> {
  // A test that is ended by force must not leave servers behind.
  const child = spawn("/usr/bin/setpriv", ["--pdeathsig=TERM", ...argv], { stdio: ["ignore", "pipe", "pipe"] });
  let log = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (log += chunk.toString()));
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  child.once("error", (error) => (log += error.message));
  const daemon = {
    pid: child.pid ?? 0,
    log: () => log,
    get running() {
      return isRunning(child);
    },
    stop: async (how: NodeJS.Signals = signal) => {
      if (isRunning(child)) child.kill(how);
      await ended;
    },
    [Symbol.asyncDispose]: () => daemon.stop(),
  };
  while (!(await ready())) {
    if (!isRunning(child)) throw new Error(`${argv.join(" ")} ended before it was ready:\n${log}`);
    await pause(20);
  }
  return daemon;
}

function isRunning(child: ChildProcess): boolean {
  return child.pid !== undefined && child.exitCode === null && child.signalCode === null;
}

/**
 * A port of 127.0.0.1 that is free now: one at random below those that the kernel gives to whoever asks for any, since
 * tests that run beside this one would be given the same again before a server has taken it.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(10_000, 32_000);
    const server = createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      server.once("error", () => resolve(false)).listen(port, "127.0.0.1", () => resolve(true));
    });
    if (!isFree) continue;
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
}

/** Whether something takes connections there. */
export function listens(
  to: { readonly port: number; readonly host?: string } | { readonly path: string },
): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect("port" in to ? { host: "127.0.0.1", ...to } : to);
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}

/** What servers of tests load: PEM texts. */
export interface PairText {
  /** Leaf, then intermediates. */
  readonly pem: string;
  readonly key: { toPem(): string };
}

export interface PairFiles {
  readonly certificate: string;
  readonly key: string;
}

/** Puts a pair at its paths as an agent does, each file by a rename. `uid` owns them both. */
export async function putPair(files: PairFiles, pair: PairText, uid?: number): Promise<void> {
  await putFile(files.certificate, pair.pem, 0o644, uid);
  await putFile(files.key, pair.key.toPem(), 0o600, uid);
}

export async function putFile(path: string, text: string, mode: number, uid?: number): Promise<void> {
  await writeFile(`${path}.new`, text, { mode });
  if (uid !== undefined) await chown(`${path}.new`, uid, uid);
  await rename(`${path}.new`, path);
}
