/**
 * The three ways to give bytes to a descriptor without waiting in the kernel. Nothing here throws: a log line that
 * cannot be written is no reason to stop renewing certificates.
 */
import { closeSync, constants, openSync, writeSync } from "node:fs";
import { Socket } from "node:net";
import { errnoOf } from "./file-error.ts";
import { type Milliseconds, pause } from "./time.ts";

export interface LogSink {
  /**
   * True when all bytes were taken, false where they are lost (nobody reads any more, the disk is full); a promise of
   * that where there is no room for them at once. Not called again before that has resolved.
   */
  take(bytes: Buffer): boolean | Promise<boolean>;
  close(): void;
}

/** How soon a terminal that was stopped (Ctrl-S, a dead ssh session) is tried again. */
const TERMINAL_RETRY: Milliseconds = 50;

/**
 * Pipes and sockets, journald's among them, through libuv: it sets O_NONBLOCK and waits for room in its own loop.
 * `process.stderr` would not do: it writes to pipes synchronously, so a full one stops the whole process.
 */
export function streamSink(descriptor: number): LogSink {
  const socket = new Socket({ fd: descriptor, readable: false, writable: true });
  socket.unref();
  // The callback of each write says the same; without a listener the process would end.
  socket.on("error", () => undefined);
  return {
    take: (bytes) => {
      const { promise, resolve } = Promise.withResolvers<boolean>();
      socket.write(bytes, (error) => resolve(error === undefined || error === null));
      return socket.writableLength === 0 && !socket.destroyed ? true : promise;
    },
    close: () => void socket.destroy(),
  };
}

/** Files and devices: written at once, as the page cache takes what it is given. */
export function directSink(descriptor: number): LogSink {
  let closed = false;
  const take = (bytes: Buffer): boolean | Promise<boolean> => {
    if (closed) return false;
    try {
      const written = writeSync(descriptor, bytes);
      return written === bytes.length || take(bytes.subarray(written));
    } catch (error) {
      return errnoOf(error) === "EAGAIN" && pause(TERMINAL_RETRY).then(() => take(bytes));
    }
  };
  return {
    take,
    close: () => {
      closed = true;
    },
  };
}

/**
 * A terminal, opened once more for an O_NONBLOCK of our own: the shell that shares the descriptor must not get it. Where
 * that is refused (the terminal of another user after `su`) it is written to as it is.
 */
export function terminalSink(descriptor: number): LogSink {
  const flags = constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY;
  let own: number;
  try {
    own = openSync(`/proc/self/fd/${descriptor}`, flags);
  } catch {
    return directSink(descriptor);
  }
  const sink = directSink(own);
  return {
    take: (bytes) => sink.take(bytes),
    close: () => {
      sink.close();
      closeSync(own);
    },
  };
}
