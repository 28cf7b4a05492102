/** The service manager's side of sd_notify(3): a unix datagram socket, made through libc since Node has none. */

import { dlopen } from "node:ffi";
import { chmodSync, closeSync, readSync } from "node:fs";

const SOCK_DGRAM_NONBLOCK_CLOEXEC = 2 | 0o4000 | 0o2000000;

export interface NotifySocket extends Disposable {
  /** What $NOTIFY_SOCKET has to be. */
  readonly address: string;
  /** The messages that have arrived since the last call, oldest first. */
  received(): string[];
}

/** Binds a socket at a path, or at an abstract name that begins with `@`. */
export function listenForNotifications(address: string): NotifySocket {
  const { functions: libc } = dlopen(null, {
    socket: { arguments: ["i32", "i32", "i32"], return: "i32" },
    bind: { arguments: ["i32", "buffer", "u32"], return: "i32" },
  });
  const family = Buffer.alloc(2);
  family.writeUInt16LE(1);
  const name = Buffer.concat([family, Buffer.from(address.startsWith("@") ? `\0${address.slice(1)}` : `${address}\0`)]);
  const descriptor = libc.socket(1, SOCK_DGRAM_NONBLOCK_CLOEXEC, 0);
  if (libc.bind(descriptor, name, name.length) !== 0) throw new Error(`cannot bind ${address}`);
  if (!address.startsWith("@")) chmodSync(address, 0o777);
  return {
    address,
    received: () => Array.from(datagrams(descriptor)),
    [Symbol.dispose]: () => closeSync(descriptor),
  };
}

function* datagrams(descriptor: number): Generator<string> {
  const buffer = Buffer.alloc(65_536);
  for (;;) {
    let length: number;
    try {
      length = readSync(descriptor, buffer);
    } catch {
      return;
    }
    yield buffer.toString("utf8", 0, length);
  }
}
