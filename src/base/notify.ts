/**
 * What a service tells systemd, by the protocol of sd_notify(3): one datagram of `KEY=value` lines to the socket that
 * $NOTIFY_SOCKET names.
 *
 * Node cannot make datagram sockets of the unix kind, but its own `node:ffi` can ask libc for one. From there on it is
 * a descriptor like any other. The `systemd-notify` program would be a child for each beat of the watchdog, and would
 * need `NotifyAccess=all`, with which every child of ours could claim to be us.
 */
import { Buffer } from "node:buffer";
import { closeSync, writeSync } from "node:fs";
import { errnoOf } from "./file-error.ts";
import { loadLibc } from "./libc.ts";
import { type Milliseconds, monotonicMicroseconds, pause } from "./time.ts";

/** Messages leave in the order of the calls. Nothing here throws: a lost message is told to `onLost`, with the reason. */
export interface Notifier {
  /** Start-up or a reload has ended. */
  ready(): void;
  /** A reload begins (for `Type=notify-reload`); `ready` has to follow. */
  reloading(): void;
  stopping(): void;
  /** One line for `systemctl status`. */
  status(line: string): void;
  /** It is at work, and may be so for as long again: for what is ended otherwise (`Type=oneshot`). */
  extendTimeout(span: Milliseconds): void;
  /** A sign of life. */
  watchdog(): void;
  /** How often `watchdog` has to be called: half of what the unit allows. Null where it wants no signs of life. */
  readonly watchdogEvery: Milliseconds | null;
  /** Resolves when all messages have left, or failed to. */
  flush(): Promise<void>;
}

/** The variables that systemd sets for a service. */
export interface NotifyEnvironment {
  readonly NOTIFY_SOCKET?: string | undefined;
  readonly WATCHDOG_USEC?: string | undefined;
  readonly WATCHDOG_PID?: string | undefined;
}

/** A notifier for this process; one that does nothing where no service manager asked to be told. */
export function openNotifier(env: NotifyEnvironment, onLost: (because: string) => void): Notifier {
  const path = env.NOTIFY_SOCKET ?? "";
  let queue = Promise.resolve();
  const send = (...lines: readonly string[]): void => {
    if (path === "") return;
    queue = queue
      .then(() => sendDatagram(path, Buffer.from(lines.join("\n"))))
      .catch((error: unknown) => onLost(`${path}: ${reasonOf(error)}`));
  };
  return {
    ready: () => send("READY=1"),
    // The time tells systemd that the READY=1 that follows is not one of before the signal it sent.
    reloading: () => send("RELOADING=1", `MONOTONIC_USEC=${monotonicMicroseconds()}`),
    stopping: () => send("STOPPING=1"),
    status: (line) => send(`STATUS=${line.replaceAll("\n", " ")}`),
    extendTimeout: (span) => send(`EXTEND_TIMEOUT_USEC=${span * 1000}`),
    watchdog: () => send("WATCHDOG=1"),
    watchdogEvery: watchdogInterval(env),
    flush: () => queue,
  };
}

function watchdogInterval({ NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID }: NotifyEnvironment): Milliseconds | null {
  const microseconds = Number(WATCHDOG_USEC);
  const isOurs = WATCHDOG_PID === undefined || WATCHDOG_PID === "" || Number(WATCHDOG_PID) === process.pid;
  if (!NOTIFY_SOCKET || !isOurs || !Number.isSafeInteger(microseconds) || microseconds <= 0) return null;
  return Math.max(1, Math.floor(microseconds / 2000));
}

function reasonOf(error: unknown): string {
  return errnoOf(error) ?? (error instanceof Error ? error.message : String(error));
}

/** From <sys/socket.h> and <bits/socket_type.h>, the same on x86-64 and arm64. */
const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
/** A manager that is busy has a full queue for moments; one that is stuck must not hold us up. */
const ATTEMPTS = 40;
const RETRY: Milliseconds = 50;

/** Opened for each message: the socket may be another one after a restart of the manager. */
async function sendDatagram(path: string, bytes: Buffer): Promise<void> {
  const libc = await loadLibc();
  const address = socketAddress(path);
  const descriptor = libc.socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (descriptor < 0) throw new Error("no socket could be made");
  try {
    if (libc.connect(descriptor, address, address.length) !== 0) throw new Error("nobody listens there");
    await writeDatagram(descriptor, bytes);
  } finally {
    closeSync(descriptor);
  }
}

async function writeDatagram(descriptor: number, bytes: Buffer): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      writeSync(descriptor, bytes);
      return;
    } catch (error) {
      if (errnoOf(error) !== "EAGAIN" || attempt === ATTEMPTS) throw error;
      await pause(RETRY);
    }
  }
}

/** A `struct sockaddr_un` (unix(7)): a path ends in NUL, an abstract name (`@…`) begins with it. */
function socketAddress(path: string): Buffer {
  const isAbstract = path.startsWith("@");
  if (!isAbstract && !path.startsWith("/")) throw new Error("only unix sockets are supported");
  const name = isAbstract ? `\0${path.slice(1)}` : `${path}\0`;
  const address = Buffer.from(`\0\0${name}`);
  address.writeUInt16LE(AF_UNIX);
  if (address.length > 110) throw new Error("the path is longer than a socket's can be");
  return address;
}
