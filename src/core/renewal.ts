import type { Instant, Milliseconds } from "../base/time.ts";
import { fraction } from "./hash.ts";

/** The dates of a chain that decide when it is renewed. */
export interface Validity {
  readonly notBefore: Instant;
  /** The earliest expiry in the chain: a leaf is worth nothing once an intermediate has expired. */
  readonly notAfter: Instant;
}

/** The span in which a certificate is to be renewed. */
export interface RenewalWindow {
  readonly start: Instant;
  readonly end: Instant;
}

/** notAfter − notBefore, at least a second, so that nothing divides by zero or loops. */
export function lifetimeOf(validity: Validity): Milliseconds {
  return Math.max(validity.notAfter - validity.notBefore, 1000);
}

/**
 * The span in which to renew: from 1/2 to 2/3 of the lifetime, the field's rule. `renewBefore` moves it forward where
 * that is earlier, with the same width, but never into the first quarter of the lifetime: a spec that asks for more
 * time than the CA gives would otherwise be renewed without end.
 */
export function renewalWindow(validity: Validity, renewBefore: Milliseconds | null): RenewalWindow {
  const lifetime = lifetimeOf(validity);
  const earliest = validity.notBefore + lifetime / 4;
  const latest = validity.notBefore + (lifetime * 2) / 3;
  const asked = renewBefore === null ? latest : validity.notAfter - renewBefore;
  const end = Math.max(Math.min(latest, asked), earliest);
  return { start: Math.max(end - lifetime / 6, earliest), end };
}

/** The leaf's own instant in its window: a hash of its fingerprint, so the same after a restart and spread over a fleet. */
export function renewAt(fingerprint: string, validity: Validity, renewBefore: Milliseconds | null): Instant {
  const { start, end } = renewalWindow(validity, renewBefore);
  return Math.floor(start + fraction(fingerprint) * (end - start));
}
