/** Where a traced run can be hit: the n-th call of a kind on the thread that does the file work. */
import { readFile } from "node:fs/promises";

export interface Point {
  readonly call: string;
  readonly at: number;
}

/** Calls that change the disk, and `write`, by which the thread tells that one of its calls has ended. */
const CHANGES = [
  "pwrite64",
  "fsync",
  "rename",
  "renameat",
  "unlink",
  "rmdir",
  "mkdir",
  "symlink",
  "fchmod",
  "fchown",
  "ftruncate",
];
export const TRACED = [...CHANGES, "write", "openat"];

export interface Trace {
  /** All calls of the process. */
  readonly calls: number;
  readonly changes: readonly Point[];
  /** After each call that the thread did, and before each file that it opened. */
  readonly between: readonly Point[];
}

/** Reads what `strace -f -o FILE` wrote. With one thread for file calls that thread is the one that syncs. */
export async function readTrace(file: string): Promise<Trace> {
  const counts = new Map<string, Map<string, number>>();
  let calls = 0;
  for (const line of (await readFile(file, "utf8")).split("\n")) {
    const [, thread, call] = /^(\d+) +(\w+)\(/.exec(line) ?? [];
    if (thread === undefined || call === undefined) continue;
    calls += 1;
    const ofThread = counts.get(thread) ?? new Map<string, number>();
    ofThread.set(call, (ofThread.get(call) ?? 0) + 1);
    counts.set(thread, ofThread);
  }
  const worker = [...counts.values()].toSorted((a, b) => (b.get("fsync") ?? 0) - (a.get("fsync") ?? 0))[0];
  const pointsOf = (call: string): Point[] =>
    Array.from({ length: worker?.get(call) ?? 0 }, (_, index) => ({ call, at: index + 1 }));
  return { calls, changes: CHANGES.flatMap(pointsOf), between: ["write", "openat"].flatMap(pointsOf) };
}

/** About `count` of them, evenly spread. */
export function spread<T>(all: readonly T[], count: number): readonly T[] {
  if (all.length <= count) return all;
  return Array.from({ length: count }, (_, index) => all[Math.floor((index * all.length) / count)] as T);
}
