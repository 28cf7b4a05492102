import { type Clock, type Milliseconds, SECOND } from "../base/time.ts";

/** Requests that come within this of each other are one, … */
const QUIET: Milliseconds = 100;
/** … but the first of them waits no longer than this. */
const LONGEST: Milliseconds = 2 * SECOND;

/**
 * Runs what several specs want of one service once. Who asks before a run begins shares its outcome; who asks while one
 * runs gets the next, since that run may have read the old files. Runs of one key never overlap.
 */
export type Coalesce<T> = (key: string, act: () => Promise<T>) => Promise<T>;

interface Batch<T> {
  act: () => Promise<T>;
  latest: Milliseconds;
  outcome: Promise<T>;
}

/** `quiet` is how long a run waits for others to join; with 0 only those share one that came while another ran. */
export function createCoalesce<T>(clock: Clock, quiet: Milliseconds = QUIET): Coalesce<T> {
  const waiting = new Map<string, Batch<T>>();
  const running = new Map<string, Promise<unknown>>();

  const silence = async (batch: Batch<T>, first: Milliseconds): Promise<void> => {
    for (;;) {
      const left = Math.min(batch.latest + quiet, first + LONGEST) - clock.monotonic();
      if (quiet === 0 || left <= 0) return;
      await clock.sleepUntil(clock.now() + left);
    }
  };

  const runBatch = async (key: string, batch: Batch<T>, first: Milliseconds): Promise<T> => {
    await running.get(key)?.catch(() => {}); // its outcome is told to those who joined it
    await silence(batch, first);
    waiting.delete(key);
    const run = batch.act();
    running.set(key, run);
    try {
      return await run;
    } finally {
      if (running.get(key) === run) running.delete(key);
    }
  };

  return async (key, act) => {
    const now = clock.monotonic();
    const joined = waiting.get(key);
    if (joined !== undefined) {
      joined.act = act; // the latest knows the newest files
      joined.latest = now;
      return await joined.outcome;
    }
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const batch: Batch<T> = { act, latest: now, outcome: promise };
    waiting.set(key, batch);
    runBatch(key, batch, now).then(resolve, reject);
    return await promise;
  };
}
