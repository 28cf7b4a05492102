import type { Log } from "../base/log.ts";
import type { Clock, Milliseconds } from "../base/time.ts";
import type { Applier } from "../core/applier.ts";
import type { Issuer, Prove } from "../core/ports.ts";
import type { Layout } from "../store/layout.ts";

/** What one managed certificate needs of the world. */
export interface World {
  readonly clock: Clock;
  readonly log: Log;
  readonly layout: Layout;
  readonly applier: Applier;
  readonly prove: Prove;
  /** Only looked at: another process may be at work. */
  readonly readOnly?: boolean | undefined;
  /** The issuer of that name in the configuration in force. Throws `SPEC_INVALID` where there is none. */
  issuer(name: string): Issuer;
  /**
   * Runs an issuance when there is a place among those that ask this issuer at one time. Answers whether there was one
   * before `patience` ended, whose signal aborts when nobody waits any more.
   */
  issuing(issuer: string, issue: () => Promise<void>, patience: (over: AbortSignal) => Promise<void>): Promise<boolean>;
  /** Whether a spec wants something of an issuer that a secret may be needed for. */
  isAwaited(issuer: string): boolean;
  /** Monotonic milliseconds for which the clock has been older than our newest record; null where it is not. */
  clockSuspectFor(): Milliseconds | null;
}
