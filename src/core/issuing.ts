/** Whether a certificate is to be issued now: the reasons for it, and what holds it back. Pure. */
import { type Instant, LONGEST_SLEEP, MINUTE, type Milliseconds } from "../base/time.ts";
import { changeOfRequest } from "./change.ts";
import { type Facts, isWithin, tryAt } from "./facts.ts";
import { type Observed, type ObservedGeneration, validityOf, type Wish } from "./observed.ts";
import type { Desired } from "./ports.ts";
import { lifetimeOf, renewAt, type Validity } from "./renewal.ts";
import { ASSUMED_LIFETIME } from "./retry.ts";

/** As many automatic issuances within lifetime/6 hold the next one. */
const STORM_ISSUANCES = 3;
/**
 * How long a suspect clock holds issuances, before the CA's clock is asked by trying; lifetime/48 where that is shorter,
 * since a certificate of minutes would not live to see the end.
 */
const CLOCK_PATIENCE: Milliseconds = 10 * MINUTE;
/** Leaves of seconds where more was asked for must not have services told every second: three issuances a minute at most. */
const SHORTEST_ANSWER: Milliseconds = 6 * MINUTE;

export interface Reason {
  readonly because: string;
  /**
   * Whether the CA is asked to renew `base`, or for a new certificate. `as before`: whatever the spec asks for by now, as
   * that could not be had, or a service refuses it.
   */
  readonly by: "renewal" | "minting" | "renewal as before" | "renewal as before, else minting";
  /** What the next generation follows; null before the first. */
  readonly base: ObservedGeneration | null;
}

/** Why a certificate is to be issued now; undefined where there is no reason. */
export function reasonToIssue(desired: Desired, observed: Observed, now: Instant): Reason | undefined {
  const { generation, deployed, apply, facts, wish, credentialChanged } = observed;
  const base = baseOf(desired, observed);
  if (generation === null || base === null) return { because: "nothing was issued yet", by: "minting", base };
  const change = changeOfRequest(base, desired.request);
  if (change !== undefined) {
    if (mustStayInForce(desired, base, observed, now)) {
      const because = `${change}, which could not be had: it is renewed as it is`;
      return { because, by: "renewal as before, else minting", base };
    }
    const refused = refusedStill(desired, observed, now);
    if (refused === null) return { because: change, by: "minting", base };
    // First comes into force what was renewed for as long as that is refused, unless somebody wants it now. Where that is
    // refused too, what is asked for must not run into its end meanwhile.
    const isAwaited = apply.deployed !== generation.number && !isByHand(wish);
    const hasFailed = (facts.failures.apply?.at ?? 0) > generation.issuedAt;
    const next = hasFailed ? [generation, refused] : [generation];
    if (isAwaited && !next.some((one) => isDue(desired, one, now))) return undefined;
    const because = `${change}, and a service refused generation ${refused.number}, which was issued for that`;
    return { because, by: "renewal", base: refused };
  }
  if (deployed !== null && isRefused(desired, deployed, generation, observed, now)) {
    const because = `a service refuses generation ${generation.number}: what it has is renewed as it is`;
    return { because, by: "renewal as before", base: deployed };
  }
  if (wish !== null) return { because: "an operator asked for it", by: "renewal", base };
  if (base !== generation) {
    const because = `generation ${generation.number}, which is not deployed, is asked for no more: what is deployed is`;
    return { because, by: "renewal", base };
  }
  if (apply.deployed !== null && apply.deployed > generation.number) {
    const because = `generation ${apply.deployed}, which is deployed, is missing from the state folder`;
    return { because, by: "renewal", base };
  }
  if (credentialChanged) return { because: "the certificate that authorises it has changed", by: "minting", base };
  if (generation.chainNotAfter <= now) return { because: "it has expired", by: "renewal", base };
  return isDue(desired, generation, now)
    ? { because: "its place in the renewal window has come", by: "renewal", base }
    : undefined;
}

/**
 * What the next generation follows: the newest; or what is deployed, where the newest was issued for what neither the spec
 * asks for by now nor that was (a service refused it, and the edit was taken back): nothing can be done with that one.
 */
export function baseOf(
  { request }: Desired,
  { generation, deployed }: Pick<Observed, "generation" | "deployed">,
): ObservedGeneration | null {
  if (generation === null || deployed === null || deployed.number >= generation.number) return generation;
  const isFor = (other: Desired["request"]): boolean => changeOfRequest(generation, other) === undefined;
  // An issuer that was given another name renews what is deployed under that.
  const wanted = [request, deployed.request, { ...deployed.request, issuer: request.issuer }];
  return wanted.some(isFor) ? generation : deployed;
}

function isDue({ renewBefore }: Desired, generation: ObservedGeneration, now: Instant): boolean {
  return renewAt(generation.fingerprint, validityOf(generation), renewBefore) <= now;
}

/**
 * A change that is refused, or that no secret is left to ask for, does not have what is in force run into its end, however
 * often somebody asks for it.
 */
function mustStayInForce(desired: Desired, base: ObservedGeneration, { facts }: Observed, now: Instant): boolean {
  return facts.failures.issue !== null && isDue(desired, base, now);
}

/** What holds an issuance back, and until when. The first try of an operator's wish passes all; its others are automatic. */
export function holdOfIssuance(
  desired: Desired,
  { generation, facts, wish, clockSuspectFor, isIssuerBusy }: Observed,
  now: Instant,
): { because: string; until: Instant } | undefined {
  if (isIssuerBusy) return { because: "others ask the same issuer at the moment", until: now + LONGEST_SLEEP };
  if (isByHand(wish)) return undefined;
  const retry = tryAt(facts, "issue", now) ?? now;
  const until = endOfStorm(desired, generation, facts, now) ?? now;
  if (until > Math.max(retry, now)) {
    return { because: "too many certificates were issued in a short time: held by the storm breaker", until };
  }
  if (retry > now) return { because: facts.failures.issue?.message ?? "it failed before", until: retry };
  const patience = Math.min(CLOCK_PATIENCE, lifetimeInForce(desired, generation && validityOf(generation)) / 48);
  if (clockSuspectFor !== null && clockSuspectFor < patience) {
    const because = "the clock of this host is older than what certagent has seen already";
    return { because, until: now + Math.min(patience - clockSuspectFor, LONGEST_SLEEP) };
  }
  return undefined;
}

/**
 * Whether a service refuses the newest generation, which the spec asks for by now, and what was there before has come to
 * its place in the window: that does not run into its end for it. Where it cannot be renewed, nor does the newest: they are
 * tried in turn.
 */
function isRefused(
  desired: Desired,
  deployed: ObservedGeneration,
  generation: ObservedGeneration,
  { facts: { failures }, wish }: Observed,
  now: Instant,
): boolean {
  const isTurnOfNewest = (failures.issue?.attempts ?? 0) % 2 === 1 && isDue(desired, generation, now);
  return (
    failures.apply?.code === "RELOAD_FAILED" &&
    deployed.number < generation.number &&
    changeOfRequest(deployed, desired.request) !== undefined &&
    isDue(desired, deployed, now) &&
    // One that is over already is in no hurry: two issuances of one instant would count as an attempt that costs two.
    (deployed.chainNotAfter > now || generation.issuedAt < now) &&
    !isTurnOfNewest &&
    !isByHand(wish)
  );
}

/** What a service refused, and the spec still asks for: renewed it needs no secret; null where it cannot be any more. */
function refusedStill({ request }: Desired, { refused }: Observed, now: Instant): ObservedGeneration | null {
  if (refused === null || refused.chainNotAfter <= now) return null;
  return changeOfRequest(refused, request) === undefined ? refused : null;
}

/** Whether an issuance now is the operator's own, which the storm breaker neither holds nor counts. */
export function isByHand(wish: Wish | null): boolean {
  return wish !== null && !wish.attempted;
}

/** When the storm breaker lets the next automatic issuance through; undefined where it does not hold. */
export function endOfStorm(
  desired: Desired,
  generation: ObservedGeneration | null,
  facts: Facts,
  now: Instant,
): Instant | undefined {
  const span = lifetimeInForce(desired, generation && validityOf(generation)) / 6;
  const recent = facts.issuances.filter((at) => isWithin(at, now, span));
  // A renewal that came back of no use was minted in the same attempt, and the next one would cost two again.
  const cost = recent.length > 1 && recent.at(-1) === recent.at(-2) ? 2 : 1;
  const before = STORM_ISSUANCES - cost;
  if (recent.length <= before) return undefined;
  const last = recent.at(-(before + 1)) ?? now;
  // An instant in the future (the clock stepped back) holds for one span and no longer.
  return Math.min(last, now) + span;
}

/**
 * The lifetime that pauses go by: the one in force, else the one asked for, else 24 h. A CA that gives less than six
 * minutes where the spec asks for more hurries nobody.
 */
export function lifetimeInForce(desired: Desired, validity: Validity | null): Milliseconds {
  const { lifetime } = desired.request;
  return validity === null
    ? (lifetime ?? ASSUMED_LIFETIME)
    : Math.max(lifetimeOf(validity), Math.min(lifetime ?? 0, SHORTEST_ANSWER));
}
