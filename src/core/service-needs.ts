/** What services need after a deployment: to be made to take the files, or to be looked at. Pure. */
import { HOUR, type Instant, MINUTE, type Milliseconds } from "../base/time.ts";
import type { ServiceFacts } from "./applier.ts";
import { type Proof, tryAt } from "./facts.ts";
import type { Observed, ObservedGeneration } from "./observed.ts";
import type { Desired, Service } from "./ports.ts";

/** How long a proof is good for before the service is looked at again. */
const PROOF_LIFE: Milliseconds = 15 * MINUTE;

export interface Need {
  readonly action: "apply" | "prove";
  readonly at: Instant;
  readonly because: string;
  readonly routine?: boolean;
}

/** What each service needs, as far as it was observed. */
export function needsOf(desired: Desired, generation: ObservedGeneration, observed: Observed, now: Instant) {
  return desired.services.flatMap((service, index) => {
    const facts = observed.apply.services[index];
    return facts === undefined ? [] : [{ ...needOf(service, facts, index, generation, observed, now), index }];
  });
}

/** What one service needs, and when. */
function needOf(
  service: Service,
  facts: ServiceFacts,
  index: number,
  generation: ObservedGeneration,
  observed: Observed,
  now: Instant,
): Need {
  const proof = observed.facts.proofs[index];
  const isGone = facts.liveness === "down" || facts.liveness === "absent";
  if (isProof(proof, generation)) {
    const at = Math.min(proof.at, now) + (isGone ? MINUTE : PROOF_LIFE);
    return { action: "prove", at, because: `time to look at ${service.type} again`, routine: true };
  }
  const retry = tryAt(observed.facts, "prove", now) ?? now;
  const reload = Math.max(retry, tryAt(observed.facts, "apply", now) ?? now);
  const { reloaded } = facts;
  if (service.passive || (reloaded?.generation === generation.number && reloaded.failure === null)) {
    const streak = observed.facts.failures.prove;
    const because = streak?.message ?? `${service.type} has not been seen to serve generation ${generation.number}`;
    // A reload of the future was made by a clock that was ahead: it was long ago.
    const wasBefore = streak !== null && reloaded !== null && (reloaded.at <= streak.at || reloaded.at > now);
    if (!service.passive && streak?.code === "SERVICE_STALE" && wasBefore)
      return { action: "apply", at: reload, because };
    return { action: "prove", at: retry, because };
  }
  if (isGone) return { action: "prove", at: retry, because: `${service.type} is not running` };
  const opens = windowOpensAt(service, observed.servedUntil, now);
  if (opens > now) return { action: "apply", at: opens, because: `${service.type} waits for its maintenance window` };
  return { action: "apply", at: reload, because: `${service.type} has not taken generation ${generation.number}` };
}

/** Whether a proof is of this generation: of its leaf, where one was seen, since numbers begin anew with a lost state folder. */
export function isProof(proof: Proof | null | undefined, generation: ObservedGeneration): proof is Proof {
  if (proof?.proven !== true || proof.generation !== generation.number) return false;
  return proof.fingerprint === null || proof.fingerprint === generation.fingerprint;
}

/**
 * When a service's action may run: now, or when its maintenance window opens, unless the certificate that it still
 * serves (`servedUntil`, null where there is none) would not live to see that.
 */
export function windowOpensAt(service: Pick<Service, "window">, servedUntil: Instant | null, now: Instant): Instant {
  if (service.window === null || servedUntil === null) return now;
  const { open, nextOpensAt } = service.window.at(now);
  return open || nextOpensAt + HOUR >= servedUntil ? now : nextOpensAt;
}
