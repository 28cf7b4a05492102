/** Lets at most `places` calls of one key run at one time; the others wait their turn in order. */
export function semaphores(places: number): <Result>(key: string, call: () => Promise<Result>) => Promise<Result> {
  const running = new Map<string, number>();
  const queues = new Map<string, (() => void)[]>();

  return async (key, call) => {
    const queue = queues.get(key) ?? [];
    queues.set(key, queue);
    const count = running.get(key) ?? 0;
    // Who leaves hands its place on, so the count stays.
    if (count < places) running.set(key, count + 1);
    else await new Promise<void>((resolve) => queue.push(resolve));
    try {
      return await call();
    } finally {
      const next = queue.shift();
      if (next === undefined) running.set(key, (running.get(key) ?? 0) - 1);
      else next();
    }
  };
}
