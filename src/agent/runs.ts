import type { ManagedCertificate } from "./managed.ts";

/** The certificates that are at work, each for itself and no more than once at one time, and who waits for them. */
export interface Runs {
  /** Begins a run, or joins the one that is under way. Resolves at its end; never rejects. */
  start(one: ManagedCertificate, signal: AbortSignal): Promise<void>;
  /** Who is at work under that name, also where its spec was removed meanwhile. */
  atWork(name: string): ManagedCertificate | undefined;
  /** Of all that are at work. */
  names(): readonly string[];
  /** Resolves when none is at work. */
  settled(): Promise<void>;
  /**
   * Resolves at the end of a run of that name that begins after this, or of the one under way where `isEnough` says so
   * then; where its spec is removed, and when `signal` aborts, without one.
   */
  ended(name: string, isEnough: () => boolean, signal: AbortSignal): Promise<void>;
  /** Who waits for what is neither managed nor at work any more waits no longer. */
  releaseRemoved(): void;
}

interface Waiter {
  readonly name: string;
  /** Hears that the run of that number has ended. */
  readonly hear: (run: number) => void;
}

const NO_OTHER = Number.POSITIVE_INFINITY;

/** `onEnd` is called at the end of each run, after those who waited for it have heard of it. */
export function openRuns(isManaged: (name: string) => boolean, onEnd: (one: ManagedCertificate) => void): Runs {
  const busy = new Map<string, { readonly one: ManagedCertificate; readonly done: Promise<void> }>();
  const waiters = new Set<Waiter>();
  /** Counts the runs of all certificates, to tell which began after somebody had asked. */
  let count = 0;

  const tell = (name: string, run: number): void => {
    for (const waiter of waiters) if (waiter.name === name) waiter.hear(isManaged(name) ? run : NO_OTHER);
  };

  return {
    start: (one, signal) => {
      const { name } = one;
      const running = busy.get(name);
      if (running !== undefined) return running.done;
      count += 1;
      const run = count;
      const done = one.work(signal).finally(() => {
        busy.delete(name);
        tell(name, run);
        onEnd(one);
      });
      busy.set(name, { one, done });
      return done;
    },
    atWork: (name) => busy.get(name)?.one,
    names: () => [...busy.keys()],
    settled: async () => {
      while (busy.size > 0) await Promise.all([...busy.values()].map(({ done }) => done));
    },
    ended: (name, isEnough, signal) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      const askedAt = count;
      const hear = (run: number): void => {
        if (run <= askedAt && !isEnough()) return;
        waiters.delete(waiter);
        resolve();
      };
      const waiter: Waiter = { name, hear };
      waiters.add(waiter);
      signal.addEventListener("abort", () => hear(NO_OTHER), { once: true });
      return promise;
    },
    releaseRemoved: () => {
      for (const { name, hear } of waiters) if (!isManaged(name) && !busy.has(name)) hear(NO_OTHER);
    },
  };
}
