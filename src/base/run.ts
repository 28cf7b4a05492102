import type { Milliseconds } from "./time.ts";

export interface RunOptions {
  /** SIGTERM to the whole process group at the deadline, SIGKILL 5 s later. */
  readonly timeout: Milliseconds;
  readonly signal?: AbortSignal | undefined;
  /** Added to the fixed clean environment (PATH, LANG). */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** An open descriptor that the child gets as its descriptor 3. */
  readonly descriptor?: number | undefined;
  /** How many bytes of output are kept, half from its head and half from its tail; 64 KiB unless told. */
  readonly outputLimit?: number | undefined;
}

export interface RunResult {
  /** Null where a signal ended it. */
  readonly exitCode: number | null;
  readonly signal: string | null;
  readonly timedOut: boolean;
  /** Standard output and error as they came, at most 64 KiB, control characters escaped. */
  readonly output: string;
}

/** Runs a program by argv, never through a shell. Rejects only where the program cannot be started (`RELOAD_FAILED`). */
export type Run = (argv: readonly string[], options: RunOptions) => Promise<RunResult>;
