import { type Clock, LONGEST_SLEEP, type Milliseconds, repeat, SECOND } from "../base/time.ts";

/** How late a tick may be on a busy host before it counts as missing. */
const GRACE: Milliseconds = 10 * SECOND;

export interface Heartbeat extends Disposable {
  /** Every certificate's due time was looked at just now. */
  beat(): void;
}

/**
 * Gives a sign of life every `every` milliseconds for as long as ticks come: a tick is one itself, and between two of
 * them others are given, since they may be further apart than the watchdog's patience. A loop that hangs gives none, and
 * neither does one that still turns but has stopped looking at due times.
 */
export function startHeartbeat(
  every: Milliseconds | null,
  clock: Pick<Clock, "monotonic">,
  sign: () => void,
): Heartbeat {
  let lastTick = clock.monotonic();
  const between = (): void => {
    if (clock.monotonic() - lastTick <= LONGEST_SLEEP + GRACE) sign();
  };
  let timer = every === null ? undefined : repeat(every, between);
  return {
    beat: () => {
      lastTick = clock.monotonic();
      if (every === null) return;
      sign();
      // Counted from here, so that ticks and signs share their wake-ups.
      timer?.[Symbol.dispose]();
      timer = repeat(every, between);
    },
    [Symbol.dispose]: () => timer?.[Symbol.dispose](),
  };
}
