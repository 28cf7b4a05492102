import { type Milliseconds, pause } from "./time.ts";

/**
 * Does work that may hang: answers `known` where that takes longer than `limit` of real time, and at once for as long as
 * it goes on, since each file call that hangs holds one of few threads. Rejects as the work does.
 */
export function createInTime(limit: Milliseconds) {
  let isLate = false;
  return async <Result>(work: () => Promise<Result>, known: Result): Promise<Result> => {
    if (isLate) return known;
    const working = work();
    const over = new AbortController();
    const late = async (): Promise<Result> => {
      await pause(limit, over.signal);
      if (over.signal.aborted) return known; // nobody waits for it
      isLate = true;
      const end = (): void => void (isLate = false);
      working.then(end, end);
      return known;
    };
    try {
      return await Promise.race([working, late()]);
    } finally {
      over.abort();
    }
  };
}
