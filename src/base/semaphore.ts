/** What somebody waits for at the longest; the signal tells it that nobody waits any more. */
type Patience = (over: AbortSignal) => Promise<void>;

/**
 * Lets at most `places` calls of one key run at one time; the others wait their turn in order, until their patience ends:
 * they are not called, and resolve to undefined.
 */
export function semaphores(
  places: number,
): <Result>(key: string, call: () => Promise<Result>, patience?: Patience) => Promise<Result | undefined> {
  const running = new Map<string, number>();
  const queues = new Map<string, (() => void)[]>();

  return async (key, call, patience) => {
    const queue = queues.get(key) ?? [];
    queues.set(key, queue);
    const count = running.get(key) ?? 0;
    // Who leaves hands its place on, so the count stays.
    if (count < places) running.set(key, count + 1);
    else if (!(await turnIn(queue, patience))) return undefined;
    try {
      return await call();
    } finally {
      const next = queue.shift();
      if (next === undefined) running.set(key, (running.get(key) ?? 0) - 1);
      else next();
    }
  };
}

async function turnIn(queue: (() => void)[], patience: Patience | undefined): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const enter = (): void => resolve(true);
  queue.push(enter);
  const over = new AbortController();
  void patience?.(over.signal).then(() => {
    const place = queue.indexOf(enter);
    if (place < 0) return; // its turn has come
    queue.splice(place, 1);
    resolve(false);
  });
  try {
    return await promise;
  } finally {
    over.abort();
  }
}
