/**
 * Gives memory back to the kernel that is not needed any more. glibc's malloc has an arena for each of a dozen threads
 * by itself and holds on to nearly everything: 14 MB of an agent with a hundred certificates; V8 to another 8 MB
 * (measured).
 */
import { getHeapStatistics, setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

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

/** To be called when work has ended. Takes some milliseconds, and some fifty where V8's heap has grown. */
export async function giveMemoryBack(): Promise<void> {
  shrinkHeap();
  (await load())?.malloc_trim(0n);
}

/** So many bytes more than after the last time are worth the collection. */
const WORTH_IT = 6 * 1024 * 1024;

let smallest = 0;

/** The last resort is the one collection after which V8 keeps no pages for later. */
function shrinkHeap(): void {
  if (physicalHeap() < smallest + WORTH_IT) return;
  collector()?.({ type: "major", flavor: "last-resort", execution: "sync" });
  smallest = physicalHeap();
}

/** What --expose-gc would give. With that on its command line Node does not take its own modules from its code cache. */
function collector(): typeof globalThis.gc {
  setFlagsFromString("--expose-gc");
  const gc = runInNewContext("gc") as typeof globalThis.gc;
  setFlagsFromString("--no-expose-gc");
  return gc;
}

function physicalHeap(): number {
  return getHeapStatistics().total_physical_size;
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
