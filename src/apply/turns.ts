import { type Milliseconds, pause, SECOND } from "../base/time.ts";

/**
 * Takes turns for services, by their keys: while a pair's files change, one after the other, no command of a service that
 * reads them runs, and the other way round. Of one kind many go side by side; who came first goes first.
 * Who waits for long goes on: a command or a file system that hangs holds up nobody else for good.
 */
export type Turns = <T>(keys: readonly string[], kind: "files" | "command", act: () => Promise<T>) => Promise<T>;

interface Turn {
  readonly kind: "files" | "command";
  readonly ended: Promise<void>;
}

const LONGEST_WAIT: Milliseconds = 10 * SECOND;

/** `longest`: how long one kind waits for the other at most. */
export function createTurns(longest: Milliseconds = LONGEST_WAIT): Turns {
  const turns = new Map<string, Set<Turn>>();
  return async (keys, kind, act) => {
    const { promise: ended, resolve: end } = Promise.withResolvers<void>();
    const own: Turn = { kind, ended };
    const others = keys.flatMap((key) => [...(turns.get(key) ?? [])].filter((turn) => turn.kind !== kind));
    for (const key of keys) turns.set(key, (turns.get(key) ?? new Set()).add(own));
    try {
      if (others.length > 0) await allEnded(others, longest);
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

async function allEnded(turns: readonly Turn[], longest: Milliseconds): Promise<void> {
  const ended = new AbortController();
  void Promise.all(turns.map((turn) => turn.ended)).then(() => ended.abort());
  await pause(longest, ended.signal);
}
