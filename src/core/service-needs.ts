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

/** One service as it was observed, and the generation that it is to serve. */
interface ObservedService {
  readonly service: Service;
  readonly facts: ServiceFacts;
  /** How it was found last; null where nobody has looked. */
  readonly proof: Proof | null;
  readonly generation: ObservedGeneration;
  readonly observed: Observed;
  readonly now: Instant;
}

/** What each service needs, as far as it was observed. */
export function needsOf(desired: Desired, generation: ObservedGeneration, observed: Observed, now: Instant) {
  return desired.services.flatMap((service, index) => {
    const facts = observed.apply.services[index];
    const proof = observed.facts.proofs[index] ?? null;
    if (facts === undefined) return [];
    const one = { service, facts, proof, generation, observed, now };
    return [needOf(one), ...lookMeanwhile(one)].map((need) => ({ ...need, index }));
  });
}

/** What one service needs, and when. */
function needOf(one: ObservedService): Need {
  const { service, facts, proof, generation } = one;
  if (isProof(proof, generation)) return needOfProven(one, proof);
  if (service.passive || hasTaken(facts, generation.number)) return needOfUnproven(one);
  if (!isGone(facts.liveness)) return needOfUntold(one);
  return { action: "prove", at: nextLook(one), because: `${calledOf(service)} is not running` };
}

/** It serves the generation: that is looked at again. */
function needOfProven({ service, facts: { liveness, reloaded }, now }: ObservedService, proof: Proof): Need {
  const provenAt = Math.min(proof.at, now);
  const gone = isGone(liveness);
  // Of a service with an old worker left all looks may meet the new ones, right after a reload.
  const isYoung = reloaded !== null && reloaded.at <= now && provenAt < reloaded.at + LONGEST_BLINDNESS;
  const at = provenAt + (gone || isYoung ? LONGEST_BLINDNESS : PROOF_LIFE);
  return {
    action: "prove",
    at,
    because: `time to look at ${calledOf(service)} again`,
    routine: gone ? "soon" : "round",
  };
}

/** It has taken the files, or reads them by itself, and was not seen to serve them: it is looked at, or told once more. */
function needOfUnproven(one: ObservedService): Need {
  const { service, facts, proof, generation, observed, now } = one;
  const lookedAt = lookedAtOf(one);
  const streak = observed.facts.failures.prove;
  const code = proof?.code ?? null;
  const because =
    streak !== null && (code === null || code === streak.code)
      ? streak.message
      : `${calledOf(service)} has not been seen to serve generation ${generation.number}`;
  // A reload of the future was made by a clock that was ahead: it was long ago.
  const { reloaded } = facts;
  const isNews = reloaded !== null && reloaded.at <= now && reloaded.at > (lookedAt ?? now);
  if (isNews) return { action: "prove", at: now, because };
  // Who shows no leaf at all once or twice may be busy, and a restart costs its users something.
  const isSure = proof?.fingerprint != null || (streak?.attempts ?? 0) >= SURE_AFTER;
  const isStale = lookedAt !== null && code === "SERVICE_STALE" && isSure && streak !== null;
  // The root side tells nobody who does not run, nor outside of a window, however often it is asked.
  const mayBeTold =
    !service.passive && !isGone(facts.liveness) && windowOpensAt(service, facts.servedUntil, now) <= now;
  return isStale && mayBeTold
    ? { action: "apply", at: nextReload(one), because, again: true }
    : { action: "prove", at: nextLook(one), because };
}

/** It runs, and was not told of the files yet. */
function needOfUntold(one: ObservedService): Need {
  const { service, facts, generation, observed, now } = one;
  const opens = windowOpensAt(service, facts.servedUntil, now);
  if (opens > now)
    return { action: "apply", at: opens, because: `${calledOf(service)} waits for its maintenance window` };
  // What others were not seen to serve is no reason to keep from it what it was never told of.
  const code = observed.facts.failures.prove?.code;
  const isOfOthers = code === "SERVICE_STALE" || code === "SERVICE_DOWN";
  const at = isOfOthers ? (tryAt(observed.facts, "apply", now) ?? now) : nextReload(one);
  return { action: "apply", at, because: `${calledOf(service)} has not taken generation ${generation.number}` };
}

/**
 * Whose own check refuses is told nothing, but an operator may have restarted it: with its files in place it is looked at,
 * too, as long as it is not seen to serve them.
 */
function lookMeanwhile(one: ObservedService): readonly Need[] {
  const { facts, proof, generation, observed, now } = one;
  const refused = observed.facts.failures.prove;
  if (refused?.code !== "RELOAD_FAILED" || facts.probe === null || !isUntold(one)) return [];
  if (isProof(proof, generation)) return [];
  const at = Math.max(Math.min(refused.since, now), lookedAtOf(one) ?? 0) + LONGEST_BLINDNESS;
  return [{ action: "prove", at, because: `${calledOf(one.service)} may have been restarted`, routine: "soon" }];
}

/** Whether a service runs, and was not told of the files of a generation. */
export function isUntold({
  service,
  facts,
  generation,
}: Pick<ObservedService, "service" | "facts" | "generation">): boolean {
  return !service.passive && !isGone(facts.liveness) && !hasTaken(facts, generation.number);
}

/** When it was last looked at for this generation; null where it was not. */
function lookedAtOf({ proof, generation, now }: ObservedService): Instant | null {
  return proof?.generation === generation.number ? Math.min(proof.at, now) : null;
}

/** When it may be told of its files again: neither what failed there nor what was not seen since is tried too soon. */
function nextReload({ observed: { facts }, now }: ObservedService): Instant {
  return Math.max(tryAt(facts, "prove", now) ?? now, tryAt(facts, "apply", now) ?? now);
}

/**
 * When it is looked at again. Of one that was seen to be down the back-off may be another one's: it is looked at all the
 * same, but once it was looked at after the end of that, no sooner than in a while.
 */
function nextLook(one: ObservedService): Instant {
  const { facts, proof, observed, now } = one;
  const lookedAt = lookedAtOf(one);
  const retry = tryAt(observed.facts, "prove", now);
  if (lookedAt === null || retry === undefined) return now;
  // There is a place to look at by now: what kept it from being seen is over.
  if (proof?.code === "SERVICE_UNSEEN" && facts.unseen === undefined) return now;
  // Whoever answers with another leaf is not down, whatever the unit says.
  const isDown = proof?.code === "SERVICE_DOWN" || (isGone(facts.liveness) && proof?.code !== "SERVICE_STALE");
  if (!isDown) return retry;
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
