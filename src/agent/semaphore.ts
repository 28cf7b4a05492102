/** Lets at most `places` calls run at one time; the others wait their turn in order. */
export function semaphore(places: number): <Result>(call: () => Promise<Result>) => Promise<Result> {
  const queue: (() => void)[] = [];
  let free = places;

  return async (call) => {
    if (free > 0) free -= 1;
    else await new Promise<void>((resolve) => queue.push(resolve));
    try {
      return await call();
    } finally {
      const next = queue.shift();
      if (next === undefined) free += 1;
      else next();
    }
  };
}
