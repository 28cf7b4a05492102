/** Runs acts of one name one after the other, in the order asked; acts of different names run side by side. */
export type WithLock = <T>(name: string, act: () => Promise<T>) => Promise<T>;

export function createLocks(): WithLock {
  const tails = new Map<string, Promise<unknown>>();
  return async (name, act) => {
    const turn = (tails.get(name) ?? Promise.resolve()).then(act);
    const tail = turn.catch(() => {}); // its outcome belongs to who asked for it
    tails.set(name, tail);
    try {
      return await turn;
    } finally {
      if (tails.get(name) === tail) tails.delete(name);
    }
  };
}
