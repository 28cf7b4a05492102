/**
 * Gives memory back to the kernel that is not needed any more. glibc's malloc has an arena for each of a dozen threads
 * by itself and holds on to nearly everything: 14 MB of an agent with a hundred certificates; V8 to another 8 MB; and of
 * Node's program 50 MB stay mapped that only the start or a burst of work has used (measured).
 */
import { readFile } from "node:fs/promises";
import { getHeapStatistics, setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

let calls: ReturnType<typeof open> | undefined;

/** From <malloc.h>. */
const M_TRIM_THRESHOLD = -1;
const M_MMAP_THRESHOLD = -3;
const M_ARENA_MAX = -8;

/** From <sys/mman.h>. */
const MADV_DONTNEED = 4;

/** To be called early, before threads have their arenas. Another libc than glibc is left as it is. */
export async function keepMallocSmall(): Promise<void> {
  const glibc = await load();
  glibc?.mallopt(M_ARENA_MAX, 1);
  glibc?.mallopt(M_TRIM_THRESHOLD, 128 * 1024);
  glibc?.mallopt(M_MMAP_THRESHOLD, 64 * 1024);
}

/** To be called when work has ended. Takes some milliseconds, and some fifty where V8's heap has grown. */
export async function giveMemoryBack(): Promise<void> {
  const glibc = await load();
  if (glibc !== undefined) await unmapProgram(glibc);
  shrinkHeap(); // what was read for that, too
  glibc?.malloc_trim(0n);
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

/** In kB. An agent at rest uses a third of that, a start 50 MB. */
const MANY_PAGES = 20 * 1024;

interface Mapping {
  readonly start: bigint;
  readonly length: bigint;
}

/**
 * Has the kernel take Node's own code and constants out of this process (madvise(2)). They stay in its cache for as long
 * as it has room, and what is used again comes back by itself, from there or from the file. What was written to would
 * come back as it was before, so it is asked anew each time what that is.
 */
async function unmapProgram({ madvise }: Awaited<ReturnType<typeof open>>): Promise<void> {
  const status = await readFile("/proc/self/status", "utf8").catch(() => "");
  if (Number(/^RssFile:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) < MANY_PAGES) return;
  const smaps = await readFile("/proc/self/smaps", "utf8").catch(() => "");
  for (const { start, length } of mappingsOf(smaps, process.execPath)) madvise(start, length, MADV_DONTNEED);
}

/** Of the mappings in the text of proc(5)'s `smaps` those of a file that nobody can write to, and nobody has written to. */
export function mappingsOf(smaps: string, file: string): readonly Mapping[] {
  return smaps.split(/^(?=[0-9a-f]+-)/m).flatMap((text) => {
    const [, start, end, path] = /^([0-9a-f]+)-([0-9a-f]+) r-[x-]p .* (\/.*)$/m.exec(text) ?? [];
    const isAsInFile = /^Anonymous: +0 kB$/m.test(text) && /^Swap: +0 kB$/m.test(text);
    if (path !== file || !isAsInFile) return [];
    return [{ start: BigInt(`0x${start}`), length: BigInt(`0x${end}`) - BigInt(`0x${start}`) }];
  });
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

/** Undefined where it is another libc. */
async function load() {
  calls ??= open();
  return await calls.catch(() => undefined);
}

async function open() {
  const { dlopen } = await import("node:ffi");
  return dlopen(null, {
    mallopt: { arguments: ["i32", "i32"], return: "i32" },
    malloc_trim: { arguments: ["u64"], return: "i32" },
    madvise: { arguments: ["u64", "u64", "i32"], return: "i32" },
  }).functions;
}
