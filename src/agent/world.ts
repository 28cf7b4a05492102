import type { AgentError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { Clock, Milliseconds } from "../base/time.ts";
import type { Applier } from "../core/applier.ts";
import type { Issuer, ProbeTarget } from "../core/ports.ts";
import type { Layout } from "../store/layout.ts";
import type { Certificate } from "../x509/certificate.ts";

/** What was seen when a service was looked at. */
export type Sighting =
  | { readonly served: true }
  | {
      readonly served: false;
      /** `SERVICE_DOWN` or `SERVICE_STALE`, with who answers otherwise. */
      readonly failure: AgentError;
      /** The leaf that is served in place of the wanted one; undefined where none could be read. */
      readonly other: Certificate | undefined;
    };

/**
 * Looks with fresh connections until the leaf of that fingerprint is served reliably, for `timeout` milliseconds at the
 * most; `inDoubt`: it was seen not to be, and more is asked. Never throws for what the service does.
 */
export type Prove = (
  target: ProbeTarget,
  fingerprint: string,
  options: { readonly timeout: Milliseconds; readonly key: string; readonly inDoubt: boolean },
  signal: AbortSignal,
) => Promise<Sighting>;

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
