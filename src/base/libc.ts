/** The calls of libc that Node has no function for, through its own `node:ffi`. */
import type { DynamicLibraryResult } from "node:ffi";
import { AgentError } from "./errors.ts";

/** As declared in the headers of glibc and musl, on x86-64 and arm64 alike. */
const CALLS = {
  socket: { arguments: ["i32", "i32", "i32"], return: "i32" },
  connect: { arguments: ["i32", "buffer", "u32"], return: "i32" },
  flock: { arguments: ["i32", "i32"], return: "i32" },
  fallocate: { arguments: ["i32", "i32", "i64", "i64"], return: "i32" },
  memfd_create: { arguments: ["buffer", "u32"], return: "i32" },
  waitid: { arguments: ["i32", "u32", "buffer", "i32"], return: "i32" },
  waitpid: { arguments: ["i32", "pointer", "i32"], return: "i32" },
  _exit: { arguments: ["i32"], return: "void" },
  getxattr: { arguments: ["buffer", "buffer", "buffer", "u64"], return: "i64" },
  strerror: { arguments: ["i32"], return: "pointer" },
  __errno_location: { arguments: [], return: "pointer" },
} as const;

interface Libc extends Omit<DynamicLibraryResult<typeof CALLS>["functions"], "strerror"> {
  /** Why the call before this one failed: a number of errno(3), good only where it is asked for at once. */
  errno(): number;
  /** Such a number in words. libuv, and so Node, does not know all of them. */
  strerror(errno: number): string;
}

let libc: Libc | undefined;

/** Loaded when it is first needed: most commands need none of it. Throws `USAGE` on a Node that is too old. */
export async function loadLibc(): Promise<Libc> {
  if (libc !== undefined) return libc;
  const { dlopen, getInt32, toString } = await import("node:ffi").catch((cause: unknown) => {
    const hint = "take Node 26.9 or later; certagent's packages bring one of their own";
    throw new AgentError("USAGE", `Cannot run on Node ${process.version}: it has no node:ffi`, { cause, hint });
  });
  const { functions } = dlopen(null, CALLS);
  libc ??= {
    ...functions,
    errno: () => getInt32(functions.__errno_location()),
    strerror: (errno) => toString(functions.strerror(errno)) ?? "",
  };
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
