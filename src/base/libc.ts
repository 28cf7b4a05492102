/** The calls of libc that Node has no function for, through its own `node:ffi`. */
import type { DynamicLibraryResult } from "node:ffi";

/** As declared in <sys/socket.h> and <sys/xattr.h>, on x86-64 and arm64 alike. */
const CALLS = {
  socket: { arguments: ["i32", "i32", "i32"], return: "i32" },
  connect: { arguments: ["i32", "buffer", "u32"], return: "i32" },
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
