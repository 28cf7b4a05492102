import { once } from "node:events";
import { type Milliseconds, withDeadline } from "./time.ts";

/**
 * Does work that may hang: answers `known` where that takes longer than `limit` of real time, and at once for as long as
 * it goes on, since each file call that hangs holds one of few threads. Rejects as the work does.
 */
export function createInTime(limit: Milliseconds) {
  let isLate = false;
  return async <Result>(work: () => Promise<Result>, known: Result): Promise<Result> => {
    if (isLate) return known;
    using deadline = withDeadline(limit);
    const working = work();
    const late = async (): Promise<Result> => {
      await once(deadline, "abort");
      isLate = true;
      const end = (): void => void (isLate = false);
      working.then(end, end);
      return known;
    };
    return await Promise.race([working, late()]);
  };
}
