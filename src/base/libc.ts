/** The calls of libc that Node has no function for, through its own `node:ffi`. */
import type { DynamicLibraryResult } from "node:ffi";

/** As declared in <sys/socket.h>, <sys/xattr.h> and <unistd.h>, on x86-64 and arm64 alike. */
const CALLS = {
  socket: { arguments: ["i32", "i32", "i32"], return: "i32" },
  connect: { arguments: ["i32", "buffer", "u32"], return: "i32" },
  _exit: { arguments: ["i32"], return: "void" },
  getxattr: { arguments: ["buffer", "buffer", "buffer", "u64"], return: "i64" },
} as const;

let libc: DynamicLibraryResult<typeof CALLS>["functions"] | undefined;

/** Loaded when it is first needed: most commands need none of it. */
export async function loadLibc() {
  if (libc !== undefined) return libc;
  const { dlopen } = await import("node:ffi");
  libc ??= dlopen(null, CALLS).functions;
  return libc;
}

/**
 * Ends the process without Node's own farewell. That one waits for threads that compile, and now and then one of them
 * waits for a collection of garbage that never comes (nodejs/node 54918): the process stays for ever. What was written
 * must be flushed. Resolves only where that cannot be done.
 */
export async function endAtOnce(code: number): Promise<void> {
  await loadLibc().then(
    ({ _exit }) => _exit(code),
    () => {},
  );
}
