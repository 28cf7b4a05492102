import { isDeepStrictEqual } from "node:util";
import type { ErrorCode, Failure } from "../base/errors.ts";
import { HOUR, type Instant, type Milliseconds } from "../base/time.ts";
import type { Desired } from "./ports.ts";
import { LONGEST_DELAY } from "./retry.ts";

/** The steps that fail, and are tried again, each for itself: a file is repaired while the CA is down. */
export type Step = "issue" | "apply" | "prove";

/** A streak of failures of one step. */
export interface Streak extends Failure {
  readonly since: Instant;
  /** The latest of them. */
  readonly at: Instant;
  readonly attempts: number;
  /** When the step is tried again. */
  readonly tryAt: Instant;
}

/** What a service was last seen to do. */
export interface Proof {
  readonly type: string;
  /** The leaf that was seen last, right or wrong; null where nothing answered or nothing can be looked at. */
  readonly fingerprint: string | null;
  readonly generation: number | null;
  readonly at: Instant;
  readonly address: string | null;
  readonly proven: boolean;
  /** Why it is not proven: it is down, or it is not served there. Null where it is. */
  readonly code: ErrorCode | null;
}

/**
 * What the agent has seen of one managed certificate and must not forget over a restart. Facts only, never a step to
 * resume: the next step is always asked of `plan`.
 */
export interface Facts {
  /** The spec that these facts are of: an edit forgives failures and issuances. */
  readonly digest: string | null;
  /** The issuer that it was asked of; null where an earlier version wrote them. The text may be the same, and the default another. */
  readonly issuer: string | null;
  /** Issuances that nobody asked for by hand, refused answers too, newest last, at most ten. */
  readonly issuances: readonly Instant[];
  readonly failures: { readonly [step in Step]: Streak | null };
  /** One for each service of the spec, in its order. */
  readonly proofs: readonly (Proof | null)[];
  /** Files that were put right although nobody asked for a change, of the last hour. */
  readonly repairs: readonly { readonly path: string; readonly at: Instant }[];
  /** Which paths this spec has deployed: it keeps them against a newcomer. */
  readonly deployed: readonly string[];
  /** The generation that a service refused, which waits while what is in force is renewed as it is. */
  readonly refused: number | null;
  readonly paused: { readonly since: Instant; readonly because: string } | null;
  /** When these facts were written: a clock that is far behind it is suspect. */
  readonly writtenAt: Instant;
}

export const NO_FACTS: Facts = {
  digest: null,
  issuer: null,
  issuances: [],
  failures: { issue: null, apply: null, prove: null },
  proofs: [],
  repairs: [],
  deployed: [],
  refused: null,
  paused: null,
  writtenAt: 0,
};

/** Issuances that count for the storm breaker. */
const REMEMBERED_ISSUANCES = 10;

/**
 * An edited spec starts afresh: no back-off, no storm breaker, no pause, no proof of what it no longer asks for. Of another
 * issuer nothing was asked yet.
 */
export function factsOfSpec(facts: Facts, { digest, issuer }: { digest: string; issuer: string }): Facts {
  if (facts.digest === digest && facts.issuer === issuer) return facts;
  const known = { ...facts, digest, issuer };
  if (facts.digest === digest && facts.issuer === null) return known;
  const fresh = { ...known, issuances: [], failures: NO_FACTS.failures };
  return facts.digest === digest ? fresh : { ...fresh, proofs: [], repairs: [], paused: null };
}

/**
 * Facts as they count at `now`. What lies in the future was written by a clock that was ahead: it counts as of now, and
 * waits keep their length. Otherwise a host whose clock was wrong for a minute would wait for years once it is right.
 */
export function factsAt(facts: Facts, now: Instant): Facts {
  const { issuances, failures, proofs, repairs } = facts;
  const streaks = [failures.issue, failures.apply, failures.prove];
  const newest = Math.max(
    ...issuances,
    ...[...streaks, ...proofs, ...repairs].flatMap((fact) => (fact === null ? [] : fact.at)),
  );
  if (newest <= now) return facts;
  // They keep their distances: two at one instant are an attempt that cost two.
  const ahead = Math.max(now, ...issuances) - now;
  const back = <Fact extends { readonly at: Instant }>(fact: Fact): Fact => ({ ...fact, at: Math.min(fact.at, now) });
  return {
    ...facts,
    issuances: issuances.map((at) => (at > now ? at - ahead : at)),
    failures: {
      issue: streakAt(failures.issue, now),
      apply: streakAt(failures.apply, now),
      prove: streakAt(failures.prove, now),
    },
    proofs: proofs.map((proof) => proof && back(proof)),
    repairs: repairs.map(back),
  };
}

function streakAt(streak: Streak | null, now: Instant): Streak | null {
  if (streak === null || streak.at <= now) return streak;
  return { ...streak, since: Math.min(streak.since, now), at: now, tryAt: streak.tryAt - (streak.at - now) };
}

/** The CA has issued so many at one instant, in one attempt, that nobody asked for by hand. */
export function withIssuances(facts: Facts, count: number, at: Instant): Facts {
  const added = Array.from({ length: count }, () => at);
  return { ...facts, issuances: [...facts.issuances, ...added].slice(-REMEMBERED_ISSUANCES) };
}

/** A step's streak is over. The same facts where there was none. */
export function withoutFailure(facts: Facts, step: Step): Facts {
  return facts.failures[step] === null ? facts : { ...facts, failures: { ...facts.failures, [step]: null } };
}

/** A step is tried now, whatever its back-off says; its streak goes on. */
export function withoutDelay(facts: Facts, step: Step, now: Instant): Facts {
  const streak = facts.failures[step];
  return streak === null ? facts : { ...facts, failures: { ...facts.failures, [step]: { ...streak, tryAt: now } } };
}

/** Adds a failure to a step's streak. `delayOf` is told how many came before it. */
export function withFailure(
  facts: Facts,
  step: Step,
  failure: Failure,
  at: Instant,
  tryAtOf: (attemptsBefore: number) => Instant,
): Facts {
  const streak = facts.failures[step];
  const before = streak?.attempts ?? 0;
  const next: Streak = { ...failure, since: streak?.since ?? at, at, attempts: before + 1, tryAt: tryAtOf(before) };
  return { ...facts, failures: { ...facts.failures, [step]: next } };
}

/** The files of this spec are what it has deployed. The same facts where they were already. */
export function withDeployed(facts: Facts, { outputs }: Pick<Desired, "outputs">): Facts {
  const deployed = outputs.map(({ path }) => path);
  return isDeepStrictEqual(deployed, facts.deployed) ? facts : { ...facts, deployed };
}

/** Files at these paths were put right. What is older than an hour is forgotten. */
export function withRepairs(facts: Facts, paths: readonly string[], at: Instant): Facts {
  const recent = facts.repairs.filter((repair) => isWithin(repair.at, at, HOUR));
  return { ...facts, repairs: [...recent, ...paths.map((path) => ({ path, at }))].slice(-100) };
}

/** Whether `then` lies in the span before `now`; an instant in the future (the clock stepped back) does too. */
export function isWithin(then: Instant, now: Instant, span: Milliseconds): boolean {
  return now - then < span;
}

/** The instant at which a step may be tried again after its failures; undefined where nothing failed. */
export function tryAt(facts: Facts, step: Step, now: Instant): Instant | undefined {
  const streak = facts.failures[step];
  return streak === null ? undefined : Math.min(streak.tryAt, now + LONGEST_DELAY);
}
