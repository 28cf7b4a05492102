/** What services need after a deployment: to be made to take the files, or to be looked at. Pure. */
import { HOUR, type Instant, MINUTE, type Milliseconds } from "../base/time.ts";
import type { ServiceFacts } from "./applier.ts";
import { type Proof, tryAt } from "./facts.ts";
import type { Observed, ObservedGeneration } from "./observed.ts";
import type { Desired, Liveness, Service } from "./ports.ts";

/** How long a proof is good for before the service is looked at again. */
const PROOF_LIFE: Milliseconds = 15 * MINUTE;
/** A service that is down is looked at at least this often: it costs nothing, and it may be up again. */
export const LONGEST_BLINDNESS: Milliseconds = MINUTE;

/** As many looks in a row without a leaf mean that the service does not serve one. */
const SURE_AFTER = 3;

export interface Need {
  readonly action: "apply" | "prove";
  readonly at: Instant;
  readonly because: string;
  /** Not worth telling anybody of: `soon` is worth waking up for, `round` is done when everything is looked at. */
  readonly routine?: "soon" | "round";
  /** It has taken the files and does not serve them. */
  readonly again?: boolean;
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
  const proof = observed.facts.proofs[index] ?? null;
  const lookedAt = proof?.generation === generation.number ? Math.min(proof.at, now) : null;
  const [code, leaf] = [proof?.code ?? null, proof?.fingerprint ?? null];
  const gone = isGone(facts.liveness);
  if (isProof(proof, generation)) {
    const provenAt = Math.min(proof.at, now);
    // Of a service with an old worker left all looks may meet the new ones, right after a reload.
    const { reloaded } = facts;
    const isYoung = reloaded !== null && reloaded.at <= now && provenAt < reloaded.at + LONGEST_BLINDNESS;
    const at = provenAt + (gone || isYoung ? LONGEST_BLINDNESS : PROOF_LIFE);
    const because = `time to look at ${calledOf(service)} again`;
    return { action: "prove", at, because, routine: gone ? "soon" : "round" };
  }
  const streak = observed.facts.failures.prove;
  const retry = tryAt(observed.facts, "prove", now);
  const reload = Math.max(retry ?? now, tryAt(observed.facts, "apply", now) ?? now);
  // Whoever answers with another leaf is not down, whatever the unit says.
  const isDown = code === "SERVICE_DOWN" || (gone && code !== "SERVICE_STALE");
  const look = lookedAt === null || retry === undefined ? now : isDown ? lookAtDown(lookedAt, retry) : retry;
  const { reloaded } = facts;
  if (service.passive || hasTaken(facts, generation.number)) {
    const isOfThis = streak !== null && (code === null || code === streak.code);
    const because = isOfThis
      ? streak.message
      : `${calledOf(service)} has not been seen to serve generation ${generation.number}`;
    // A reload of the future was made by a clock that was ahead: it was long ago.
    const isNews = reloaded !== null && reloaded.at <= now && reloaded.at > (lookedAt ?? now);
    // Who shows no leaf at all once or twice may be busy, and a restart costs its users something.
    const isSure = leaf !== null || (streak?.attempts ?? 0) >= SURE_AFTER;
    const isStale = lookedAt !== null && code === "SERVICE_STALE" && isSure && streak !== null;
    // The root side tells nobody who does not run, nor outside of a window, however often it is asked.
    const mayBeTold = !service.passive && !gone && windowOpensAt(service, generation.chainNotAfter, now) <= now;
    if (mayBeTold && !isNews && isStale) return { action: "apply", at: reload, because, again: true };
    return { action: "prove", at: isNews ? now : look, because };
  }
  if (gone) return { action: "prove", at: look, because: `${calledOf(service)} is not running` };
  const opens = windowOpensAt(service, observed.servedUntil, now);
  if (opens > now)
    return { action: "apply", at: opens, because: `${calledOf(service)} waits for its maintenance window` };
  // What others were not seen to serve is no reason to keep from it what it was never told of.
  const isOfOthers = streak?.code === "SERVICE_STALE" || streak?.code === "SERVICE_DOWN";
  const at = isOfOthers ? (tryAt(observed.facts, "apply", now) ?? now) : reload;
  return { action: "apply", at, because: `${calledOf(service)} has not taken generation ${generation.number}` };
}

/**
 * When a service that was seen to be down is looked at again. The back-off may be another one's: it is looked at all the
 * same, but once it was looked at after the end of that, no sooner than in a while.
 */
function lookAtDown(lookedAt: Instant, retry: Instant): Instant {
  const again = lookedAt + LONGEST_BLINDNESS;
  return retry <= lookedAt ? again : Math.min(retry, again);
}

/** Whether a service was told of the files of the generation of that number and did not refuse. */
export function hasTaken(
  facts: Pick<ServiceFacts, "reloaded"> | undefined,
  generation: number | null | undefined,
): boolean {
  const reloaded = facts?.reloaded ?? null;
  return reloaded !== null && reloaded.generation === generation && reloaded.failure === null;
}

/** Whether a service does not run, be it installed or not. */
export function isGone(liveness: Liveness): liveness is "down" | "absent" {
  return liveness === "down" || liveness === "absent";
}

/** A service as people call it: "systemd is not running" would alarm them, and "none serves this" says the opposite. */
export function calledOf({ called, type, passive }: Pick<Service, "called" | "type" | "passive">): string {
  return called ?? (passive ? "the service" : type);
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
