import type { Log } from "../base/log.ts";
import { type Clock, type Instant, MINUTE, type Milliseconds, SECOND } from "../base/time.ts";

/** More than that between wall and monotonic time is a stepped clock or a resumed host. */
const STEP: Milliseconds = 5 * SECOND;
/** How far behind our newest record a clock may be: as far as a CA's clock may be ahead of ours. */
const TOLERANCE: Milliseconds = 5 * MINUTE;

/** Notices what a clock should not do. */
export interface ClockWatch {
  /** To be called at each tick; answers whether the clock stepped or the host slept since the last one. */
  notice(now: Instant, newestRecord: Instant): boolean;
  /** How long the clock has been older than the newest record; null where it is not. */
  suspectFor(): Milliseconds | null;
}

export function watchClock(clock: Clock, log: Log): ClockWatch {
  let last: { readonly wall: Instant; readonly monotonic: Milliseconds } | undefined;
  let suspectSince: Milliseconds | undefined;

  return {
    notice: (now, newestRecord) => {
      const monotonic = clock.monotonic();
      const drift = last === undefined ? 0 : now - last.wall - (monotonic - last.monotonic);
      last = { wall: now, monotonic };
      const isSuspect = now < newestRecord - TOLERANCE;
      if (isSuspect && suspectSince === undefined) {
        log.error("the clock of this host is older than what was seen already", {
          code: "CLOCK_SUSPECT",
          hint: "if it is behind: timedatectl",
        });
      }
      suspectSince = isSuspect ? (suspectSince ?? monotonic) : undefined;
      if (Math.abs(drift) <= STEP) return false;
      const seconds = Math.round(drift / SECOND);
      log.warning("the clock was stepped or the host was suspended: looking at everything again", { seconds });
      return true;
    },
    suspectFor: () => (suspectSince === undefined ? null : clock.monotonic() - suspectSince),
  };
}
