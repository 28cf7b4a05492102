import type { Log } from "../base/log.ts";
import type { Clock, Milliseconds } from "../base/time.ts";
import type { Applier, Issuer, ProbeTarget } from "../core/ports.ts";
import type { Layout } from "../store/layout.ts";
import type { Certificate } from "../x509/certificate.ts";

/** What was seen when a service was looked at. */
export interface Sighting {
  readonly proven: boolean;
  /** The leaf that was served last, right or wrong; undefined where none could be read. */
  readonly seen: Certificate | undefined;
  /** Why nothing could be read. */
  readonly error: unknown;
}

/**
 * Looks with fresh connections until the leaf of that fingerprint is served reliably, for `within` milliseconds at the
 * most. Never throws for what the service does.
 */
export type Prove = (
  target: ProbeTarget,
  fingerprint: string,
  within: Milliseconds,
  signal: AbortSignal,
) => Promise<Sighting>;

/** What one managed certificate needs of the world. */
export interface World {
  readonly clock: Clock;
  readonly log: Log;
  readonly layout: Layout;
  readonly applier: Applier;
  readonly prove: Prove;
  /** The issuer of that name in the configuration in force. Throws `SPEC_INVALID` where there is none. */
  issuer(name: string): Issuer;
  /** Runs an issuance when there is a place among those that run at one time. */
  issuing<Result>(issue: () => Promise<Result>): Promise<Result>;
  /** How many specs of an issuer wait for their first certificate. */
  waiting(issuer: string): number;
  /** Monotonic milliseconds for which the clock has been older than our newest record; null where it is not. */
  clockSuspectFor(): Milliseconds | null;
}
