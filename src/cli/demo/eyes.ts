/** How the demo sees: it looks again and again until something is so, and believes nothing that it has not seen. */
import { formatDuration } from "../../base/duration.ts";
import { type Milliseconds, pause, systemClock } from "../../base/time.ts";
import type { Actor } from "./actor.ts";

/** What was to be seen and was not. */
export class NotSeen extends Error {
  override readonly name = "NotSeen";
  readonly expected: string;
  /** What was there instead. */
  readonly seen: string;

  constructor(expected: string, seen: string) {
    super(`expected: ${expected}; seen: ${seen}`);
    this.expected = expected;
    this.seen = seen;
  }
}

export interface Eyes {
  /** Aborts when the demo is to end early. */
  readonly signal: AbortSignal;
  /** How long anything may take that should come at once. */
  readonly patience: Milliseconds;
  /** Who is on stage: one that ends by itself ends the demo. */
  readonly actors: readonly Actor[];
}

/** Answers what it found, or tells what it saw instead. */
export type Look<T> = (instead: (seen: string) => void) => Promise<T | undefined> | T | undefined;

const LOOK_EVERY: Milliseconds = 40;

/**
 * Looks until something is found. `within` is how long it may take, unless told the patience. Throws {@link NotSeen}, and
 * the signal's reason.
 */
export async function see<T>(eyes: Eyes, expected: string, look: Look<T>, within = eyes.patience): Promise<T> {
  const end = systemClock.monotonic() + within;
  for (let seen = "nothing"; ; await pause(LOOK_EVERY, eyes.signal)) {
    eyes.signal.throwIfAborted();
    // Before the look: one more is taken after the time is up.
    const isLast = systemClock.monotonic() > end;
    const instead = (what: string): void => {
      seen = what;
    };
    const found = await attempt(look, instead);
    if (found !== undefined) return found;
    const lost = eyes.actors.find((actor) => actor.ending() !== undefined && !actor.mayEnd());
    if (lost !== undefined) throw new NotSeen(expected, `${lost.name} ended by itself, ${endingOf(lost)}`);
    if (isLast) throw new NotSeen(`${expected}, within ${formatDuration(within)}`, seen);
  }
}

/** `exit code 1`, `SIGKILL`. */
export function endingOf(actor: Actor): string {
  const { exitCode = null, signal = null } = actor.ending() ?? {};
  return signal ?? `exit code ${exitCode}`;
}

/** In the words of whoever threw. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

async function attempt<T>(look: Look<T>, instead: (seen: string) => void): Promise<T | undefined> {
  try {
    return await look(instead);
  } catch (error) {
    if (error instanceof NotSeen) throw error;
    instead(messageOf(error));
    return undefined;
  }
}
