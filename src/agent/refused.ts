import type { Instant } from "../base/time.ts";
import type { ManagedCertificate } from "./managed.ts";

/**
 * Those whose files a service refused before another spec had put its own there, which that service reads as well: one
 * nginx refuses its configuration for as long as the certificate of any of its servers is missing. Not those that may be
 * tried already: something else is in their way.
 */
export function refusedTooSoon(all: readonly ManagedCertificate[], now: Instant): readonly ManagedCertificate[] {
  return all.filter((one) => {
    const { desired, observed } = one.view();
    const { apply, prove } = observed.facts.failures;
    // The latter where the service was broken before, and its reload waits.
    const refusal = [apply, prove].find((streak) => streak?.code === "RELOAD_FAILED");
    if (refusal == null || refusal.tryAt <= now) return false;
    // Of what was written since, the service may have seen nothing, however late the refusal was known.
    const since = one.triedAt();
    const keys = new Set(desired.services.map(({ key }) => key));
    return all.some(
      (other) =>
        other !== one && other.wroteAt() > since && other.view().desired.services.some(({ key }) => keys.has(key)),
    );
  });
}
