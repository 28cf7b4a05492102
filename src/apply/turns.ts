/**
 * Takes turns for services, by their keys: while a pair's files change, one after the other, no command of a service that
 * reads them runs, and the other way round. Of one kind many go side by side; who came first goes first.
 */
export type Turns = <T>(keys: readonly string[], kind: "files" | "command", act: () => Promise<T>) => Promise<T>;

interface Turn {
  readonly kind: "files" | "command";
  readonly ended: Promise<void>;
}

export function createTurns(): Turns {
  const turns = new Map<string, Set<Turn>>();
  return async (keys, kind, act) => {
    const { promise: ended, resolve: end } = Promise.withResolvers<void>();
    const own: Turn = { kind, ended };
    const others = keys.flatMap((key) => [...(turns.get(key) ?? [])].filter((turn) => turn.kind !== kind));
    for (const key of keys) turns.set(key, (turns.get(key) ?? new Set()).add(own));
    try {
      await Promise.all(others.map((turn) => turn.ended));
      return await act();
    } finally {
      for (const key of keys) {
        turns.get(key)?.delete(own);
        if (turns.get(key)?.size === 0) turns.delete(key);
      }
      end();
    }
  };
}
