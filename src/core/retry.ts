import { DAY, HOUR, type Instant, type Milliseconds, SECOND } from "../base/time.ts";
import { fraction } from "./hash.ts";

/** What the lifetime is taken for before anything was issued and where the spec asks for none. */
export const ASSUMED_LIFETIME: Milliseconds = DAY;

export interface RetryInput {
  /** Failures before this one in the streak: 0 at the first. */
  readonly attempt: number;
  readonly lifetime: Milliseconds;
  /** Until the certificate in force expires; zero or less once it has, which then no longer hurries. */
  readonly remaining: Milliseconds;
  /** Spreads a fleet: name and step of this certificate on this host. */
  readonly seed: string;
}

/** A lifetime of seconds (a slip in a spec, an intermediate that ends) is no reason to ask a CA more often. */
const SHORTEST_DELAY: Milliseconds = SECOND;

/**
 * How long to wait after a failure: `min(30 s·2^k, 6 h, lifetime/48, remaining/12) × 0.5…1.5`, at least
 * `min(30 s, lifetime/120)` and a second. Deadline-aware: it tightens as the expiry nears, and relaxes to lifetime/48
 * after it.
 */
export function retryDelay({ attempt, lifetime, remaining, seed }: RetryInput): Milliseconds {
  const hurry = remaining > 0 ? remaining / 12 : Number.POSITIVE_INFINITY;
  const delay = Math.min(30 * SECOND * 2 ** Math.min(attempt, 20), 6 * HOUR, lifetime / 48, hurry);
  const spread = 0.5 + fraction(`${seed} ${attempt}`);
  return Math.ceil(Math.max(delay * spread, Math.min(30 * SECOND, lifetime / 120), SHORTEST_DELAY));
}

/**
 * When to try again. What the other side asked for (Retry-After) wins where it is later, but never by more than a day,
 * and never past half of what is left: a CA cannot talk a host into letting its certificate expire.
 */
export function retryAt(now: Instant, input: RetryInput, told: Instant | null): Instant {
  const own = now + retryDelay(input);
  if (told === null || told <= own) return own;
  const limit = input.remaining > 0 ? Math.min(DAY, input.remaining / 2) : HOUR;
  return Math.max(own, Math.min(told, now + limit));
}

/** No wait that was written down may be longer: a clock that stepped back must not stretch it. */
export const LONGEST_DELAY: Milliseconds = DAY;
