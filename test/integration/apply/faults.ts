/** File calls of which the n-th fails, falls short, or never returns, as for a process that is killed there. */
import { constants, writeSync } from "node:fs";
import { type Files, nodeFiles } from "../../../src/base/atomic-file.ts";
import type { OpenFile } from "../../../src/base/file-calls.ts";

export type Fault = (call: string) => Promise<never> | "short" | undefined;

export interface CountedFiles {
  readonly files: Files;
  /** How many calls were made. */
  count(): number;
  /** Resolves when the fault was met. */
  readonly met: Promise<void>;
  /** Closes what an abandoned call left open. */
  close(): Promise<void>;
}

const { O_CREAT } = constants;
const CHANGES = new Set(["write", "chmod", "chown", "sync", "mkdir", "symlink", "rename", "unlink", "rmdir"]);

/**
 * Calls go through until the `at`-th, which meets the fault. Only calls that change something count, unless `which` is
 * `all`: a process that is killed at a call that only looks leaves the disk as one killed at the next change.
 */
export function countFiles(at: number, fault: Fault, which: "changes" | "all" = "changes"): CountedFiles {
  let count = 0;
  const { promise: met, resolve } = Promise.withResolvers<void>();
  const handles: OpenFile[] = [];
  const files = Object.fromEntries(
    Object.entries(nodeFiles).map(([call, act]) => {
      const counted = async (...values: never[]): Promise<unknown> => {
        const counts = which === "all" || CHANGES.has(call) || (call === "open" && (Number(values[1]) & O_CREAT) !== 0);
        if (counts) count += 1;
        if (counts && count === at) {
          resolve();
          const outcome = fault(call);
          if (outcome === "short" && call === "write") return await shortWrite(values);
          if (outcome !== undefined && outcome !== "short") return await outcome;
        }
        const result = await (act as (...values: never[]) => Promise<unknown>)(...values);
        if (call === "open") handles.push(result as OpenFile);
        return result;
      };
      return [call, counted];
    }),
  ) as unknown as Files;
  const close = async (): Promise<void> => {
    for (const handle of handles) await handle.close().catch(() => {});
  };
  return { files, count: () => count, met, close };
}

/** A disk that fills up in the middle of a write: fewer bytes, and no error. */
async function shortWrite(values: readonly unknown[]): Promise<unknown> {
  const [file, bytes, offset] = values as [OpenFile, Uint8Array, number];
  const half = Math.max(1, Math.floor((bytes.length - offset) / 2));
  return { bytesWritten: writeSync(file.fd, bytes, offset, half, offset) };
}

export function errno(code: string): Fault {
  return (call) => Promise.reject(Object.assign(new Error(`${code}: ${call}`), { code, errno: -1, syscall: call }));
}

/** For ever. */
export const hang: Fault = () => new Promise<never>(() => {});
