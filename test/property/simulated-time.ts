import { type Clock, DAY, type Instant, type Milliseconds } from "../../src/base/time.ts";

/** When every simulation begins, true time. On a whole second, as the dates of certificates are. */
export const BEGIN: Instant = Date.UTC(2026, 10, 20, 9);
/** The model CAs live from a day before the beginning to this. */
export const END_OF_TIME: Instant = BEGIN + 40 * 365 * DAY;

/** Time as a simulation makes it: the true one, which the CAs go by, and the two clocks of the host. */
export interface SimulatedTime {
  truth(): Instant;
  /** What the host's wall clock says. */
  wall(): Instant;
  monotonic(): Milliseconds;
  /** How far the wall clock is ahead of the truth. */
  offset(): Milliseconds;
  pass(span: Milliseconds): void;
  /** The host sleeps: its monotonic clock stands still. */
  suspend(span: Milliseconds): void;
  /** The wall clock is set. */
  step(by: Milliseconds): void;
}

export function simulatedTime(): SimulatedTime {
  let truth = BEGIN;
  let offset = 0;
  let monotonic = 0;
  return {
    truth: () => truth,
    wall: () => truth + offset,
    monotonic: () => monotonic,
    offset: () => offset,
    pass: (span) => {
      truth += span;
      monotonic += span;
    },
    suspend: (span) => {
      truth += span;
    },
    step: (by) => {
      offset += by;
    },
  };
}

/** Lets everything that is ready run, file calls that are done included. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

export async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await turn();
}

/** What a process that was killed waits for. */
export function never<T>(): Promise<T> {
  return new Promise<T>(() => {});
}

/** An agent that sleeps, and what wakes it. */
export interface Sleeper {
  readonly until: Instant;
  readonly wake: () => void;
}

/** What the clock of one agent is told, and tells. */
export interface Sleeping {
  sleeper: Sleeper | undefined;
  isAlive: boolean;
}

/** The clock of one agent: who sleeps by it is woken by the simulation. */
export function clockOf(time: SimulatedTime, life: () => Sleeping): Clock {
  return {
    now: time.wall,
    monotonic: time.monotonic,
    sleepUntil: (until: Instant, signal?: AbortSignal): Promise<void> => {
      const one = life();
      if (!one.isAlive) return never();
      if (signal?.aborted) return Promise.resolve();
      const { promise, resolve } = Promise.withResolvers<void>();
      const sleeper = { until, wake: resolve };
      one.sleeper = sleeper;
      const wake = (): void => {
        if (one.sleeper === sleeper) one.sleeper = undefined;
        resolve();
      };
      signal?.addEventListener("abort", wake, { once: true });
      return promise;
    },
  };
}
