/**
 * The only place that reads a clock or sets a timer. Instants are epoch milliseconds of wall time; spans are
 * milliseconds.
 */

/** Epoch milliseconds, UTC. */
export type Instant = number;
/** A span of time in milliseconds. */
export type Milliseconds = number;

export const SECOND: Milliseconds = 1000;
export const MINUTE: Milliseconds = 60 * SECOND;
export const HOUR: Milliseconds = 60 * MINUTE;
export const DAY: Milliseconds = 24 * HOUR;

/** No sleep is longer than this: wall clocks step and hosts suspend, and a long timer notices neither. */
export const LONGEST_SLEEP: Milliseconds = 30 * SECOND;

export interface Clock {
  /** Wall time. */
  now(): Instant;
  /** Milliseconds that never step back; only differences mean anything. */
  monotonic(): Milliseconds;
  /**
   * Resolves at `instant`, and at the latest after {@link LONGEST_SLEEP}, or as soon as `signal` aborts. It never
   * rejects: who sleeps looks at the clock and at the signal afterwards.
   */
  sleepUntil(instant: Instant, signal?: AbortSignal): Promise<void>;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  sleepUntil: (instant, signal) => pause(Math.min(Math.max(instant - Date.now(), 0), LONGEST_SLEEP), signal),
};

/**
 * Calls `act` every `every` milliseconds of real time until the returned disposable is disposed. It does not keep the
 * process alive.
 */
export function repeat(every: Milliseconds, act: () => void): Disposable {
  const timer = setInterval(act, every);
  timer.unref();
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

/**
 * A signal that aborts when `signal` does, or after `limit` milliseconds of real time, whichever comes first. Disposed
 * of when nobody waits any more, its timer does not wake the process up. A timer that was cleared does so all the same,
 * once, so there is none until the loop has turned twice: what is answered on this host itself is over by then.
 */
export function withDeadline(limit: Milliseconds, signal?: AbortSignal): AbortSignal & Disposable {
  const late = new AbortController();
  const reason = (): DOMException => new DOMException("The operation was aborted due to timeout", "TimeoutError");
  let timer: NodeJS.Timeout | undefined;
  const arm = (): void => {
    timer = setTimeout(() => late.abort(reason()), limit).unref();
  };
  // These keep the loop turning: it would not come to one that is not counted while nothing else happens.
  let turn = setImmediate(() => {
    turn = setImmediate(arm);
  });
  // AbortSignal.any() takes longer than all the rest of a file call.
  const follow = (): void => late.abort(signal?.reason);
  if (signal?.aborted === true) follow();
  else signal?.addEventListener("abort", follow, { once: true });
  const dispose = (): void => {
    clearImmediate(turn);
    clearTimeout(timer);
    signal?.removeEventListener("abort", follow);
  };
  return Object.assign(late.signal, { [Symbol.dispose]: dispose });
}

/** Resolves after `span` milliseconds of real time, or as soon as `signal` aborts. For polling, not for decisions. */
export function pause(span: Milliseconds, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return Promise.resolve();
  const { promise, resolve } = Promise.withResolvers<void>();
  const wake = (): void => {
    clearTimeout(timer);
    signal?.removeEventListener("abort", wake);
    resolve();
  };
  const timer = setTimeout(wake, span);
  signal?.addEventListener("abort", wake, { once: true });
  return promise;
}

/** RFC 3339 in UTC to the second, as `--json` and the journal print it. */
export function formatInstant(instant: Instant): string {
  return new Date(instant).toISOString().replace(/\.\d{3}Z$/, "Z");
}

/** CLOCK_MONOTONIC in microseconds, as systemd compares it (`MONOTONIC_USEC=`); only for that. */
export function monotonicMicroseconds(): bigint {
  return process.hrtime.bigint() / 1000n;
}
