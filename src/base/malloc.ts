/**
 * Has glibc's malloc keep little of what was given back to it. By itself it has an arena for each of a dozen threads
 * and holds on to nearly everything: 14 MB of an agent with a hundred certificates (measured).
 */
let calls: Promise<{ mallopt(name: number, value: number): number; malloc_trim(pad: bigint): number }> | undefined;

/** From <malloc.h>. */
const M_TRIM_THRESHOLD = -1;
const M_MMAP_THRESHOLD = -3;
const M_ARENA_MAX = -8;

/** To be called early, before threads have their arenas. Another libc than glibc is left as it is. */
export async function keepMallocSmall(): Promise<void> {
  const glibc = await load();
  glibc?.mallopt(M_ARENA_MAX, 1);
  glibc?.mallopt(M_TRIM_THRESHOLD, 128 * 1024);
  glibc?.mallopt(M_MMAP_THRESHOLD, 64 * 1024);
}

/** To be called when work has ended: gives free pages back to the kernel. Takes some milliseconds. */
export async function giveMemoryBack(): Promise<void> {
  (await load())?.malloc_trim(0n);
}

async function load() {
  calls ??= import("node:ffi").then(
    ({ dlopen }) =>
      dlopen(null, {
        mallopt: { arguments: ["i32", "i32"], return: "i32" },
        malloc_trim: { arguments: ["u64"], return: "i32" },
      }).functions,
  );
  return await calls.catch(() => undefined);
}
