/**
 * Decides what is done next for one managed certificate: a list of small named checks, first finding wins, each with its
 * reason. Pure: no clock, no dice, no I/O; the same input gives the same answer after a restart.
 */
import type { Failure } from "../base/errors.ts";
import { HOUR, type Instant, LONGEST_SLEEP } from "../base/time.ts";
import type { OutputFacts } from "./applier.ts";
import { changeOfRequest } from "./change.ts";
import { type Facts, isWithin, type Step, tryAt } from "./facts.ts";
import { baseOf, holdOfIssuance, isByHand, type Reason, reasonToIssue } from "./issuing.ts";
import { type Observed, validityOf } from "./observed.ts";
import type { Desired } from "./ports.ts";
import { renewAt } from "./renewal.ts";
import { needsOf } from "./service-needs.ts";

export type Action = "adopt" | "issue" | "apply" | "prove";

/** Nothing is done now. */
export interface Wait {
  readonly kind: "wait";
  readonly because: string;
  /** What comes next and when; null where only an operator can go on. */
  readonly next: { readonly action: Action; readonly at: Instant } | null;
  /** When to look again, which may be earlier than `next`: a routine look at a service. */
  readonly until: Instant;
}

export type Plan =
  | { readonly kind: "adopt"; readonly because: string }
  | ({ readonly kind: "issue" } & Reason)
  /** `again`: which of the spec's services, by index, took the files and do not serve them. */
  | { readonly kind: "apply"; readonly because: string; readonly again: readonly number[] }
  /** `services`: which of the spec's services, by index, are looked at. */
  | { readonly kind: "prove"; readonly because: string; readonly services: readonly number[] }
  | Wait;

/** As many repairs of one file within an hour mean that somebody else writes it. */
const DRIFT_REPAIRS = 3;
/** Why a certificate waits for which nothing is to be done. */
export const AHEAD = "current until its place in the renewal window";

/** Something to look at again at `until` that is not worth telling anybody of. */
interface Routine {
  readonly kind: "routine";
  readonly until: Instant;
}

type Finding = Plan | Routine | undefined;
type Check<Found> = (desired: Desired, observed: Observed, now: Instant) => Found;

/** What holds everything, in order of precedence. */
const STOPS: readonly Check<Wait | undefined>[] = [paused, obstructed];
/** Every reason to act, in order of precedence. */
const CHECKS: readonly Check<Finding>[] = [
  pairFoundOnHost,
  issuanceNeeded,
  outputsDiffer,
  servicesUnsettled,
  renewalAhead,
];

/**
 * What to do now for one certificate, and why. The first check that finds something to do wins. A check that only finds
 * something to wait for does not hide a later one that is due: files are repaired while the CA is down. Of several
 * waits, the one that ends first is told.
 */
export function plan(desired: Desired, observed: Observed, now: Instant): Plan {
  for (const stop of STOPS) {
    const wait = stop(desired, observed, now);
    if (wait !== undefined) return wait;
  }
  const waits: Wait[] = [];
  let until = now + LONGEST_SLEEP * 2;
  for (const check of CHECKS) {
    const finding = check(desired, observed, now);
    if (finding === undefined) continue;
    if (finding.kind !== "wait" && finding.kind !== "routine") return finding;
    until = Math.min(until, finding.until);
    if (finding.kind === "wait") waits.push(finding);
  }
  const first = waits.toSorted((a, b) => a.until - b.until)[0];
  return first === undefined
    ? { kind: "wait", because: "nothing to do", next: null, until }
    : { ...first, until: Math.min(until, first.until) };
}

/**
 * The steps that there is nothing to do for any more: whatever failed in them is over, although they never succeeded (a
 * clock was set right, a file was mended by hand, a wish was lost in a restart).
 */
export function stepsOver(desired: Desired, observed: Observed, now: Instant): readonly Step[] {
  const { generation } = observed;
  if (generation === null) return [];
  const waitsForReload = needsOf(desired, generation, observed, now).some(({ action }) => action === "apply");
  return [
    ...(reasonToIssue(desired, observed, now) === undefined ? (["issue"] as const) : []),
    ...(isInPlace(observed) && !waitsForReload ? (["apply"] as const) : []),
  ];
}

/** Whether the newest generation stands at all outputs, each as the spec says. */
export function isInPlace({ generation, apply }: Observed): boolean {
  return apply.deployed === generation?.number && apply.outputs.every(({ state }) => state === "current");
}

// ------------------------------------------------------------------------------------------------------------- checks

/** Revoked: nothing is done until the spec changes. */
function paused(_: Desired, { facts }: Observed, now: Instant): Wait | undefined {
  if (facts.paused === null) return undefined;
  return { kind: "wait", because: facts.paused.because, next: null, until: now + LONGEST_SLEEP };
}

/** Something to issue or to write is held by what would make the deployment fail: it is looked at again in a moment. */
function obstructed(desired: Desired, observed: Observed, now: Instant): Wait | undefined {
  const failure = obstacleInForce(desired, observed, now);
  if (failure === null) return undefined;
  const action = reasonToIssue(desired, observed, now) === undefined ? "apply" : "issue";
  const at = Math.max(now, observed.nextLook);
  return { kind: "wait", because: failure.message, next: { action, at }, until: now + LONGEST_SLEEP };
}

/**
 * An unknown owner, a refused path, a full disk: would make a deployment fail, so no issuance is spent on it. It counts
 * only where there is something to issue or to write: a disk that is full while all files are right harms nobody.
 */
export function obstacleInForce(desired: Desired, observed: Observed, now: Instant): Failure | null {
  const { obstacle } = observed.apply;
  if (obstacle === null) return null;
  return isInPlace(observed) && reasonToIssue(desired, observed, now) === undefined ? null : obstacle;
}

/** A pair that stands there and fits is taken over: it costs no issuance and needs no secret on the host. */
function pairFoundOnHost(desired: Desired, observed: Observed, now: Instant): Finding {
  const { generation, apply, adoptionRefused, facts, wish } = observed;
  const isFound =
    generation === null ? apply.adoptable : isBehind(desired, observed, now) || isOthersPlace(desired, observed);
  if (!isFound || adoptionRefused) return undefined;
  const at = isByHand(wish) ? now : (tryAt(facts, "issue", now) ?? now);
  const because = "a certificate and its key stand at its outputs already";
  if (at <= now) return { kind: "adopt", because };
  const failed = facts.failures.issue?.message ?? because;
  return { kind: "wait", because: failed, next: { action: "adopt", at }, until: at };
}

/**
 * The newest generation is to be renewed, and others' files or a generation that is lost stand at the outputs: a state
 * folder from a backup knows less than they do.
 */
function isBehind(desired: Desired, observed: Observed, now: Instant): boolean {
  const { generation, apply, wish } = observed;
  if (isByHand(wish)) return false;
  const isLost = generation !== null && (apply.deployed ?? 0) > generation.number;
  if (!isLost && !apply.outputs.some(({ state }) => state === "drifted" || state === "foreign")) return false;
  // A wish that has failed once is kept, and what it cannot have may stand there.
  return reasonToIssue(desired, { ...observed, wish: null }, now)?.by === "renewal";
}

/**
 * All that stands at the outputs is others', and the newest generation is for something else than the spec asks for: a spec
 * was given the name of an earlier one, or other names and paths at one time. Such a certificate replaces nobody's.
 */
function isOthersPlace({ request }: Desired, { generation, apply, facts }: Observed): boolean {
  // What was taken over as it stands is in force, though certagent has not written it.
  const isOthers = ({ path, state }: OutputFacts): boolean =>
    (state === "foreign" || state === "missing") && !facts.deployed.includes(path);
  if (!apply.outputs.every(isOthers) || !apply.outputs.some(({ state }) => state === "foreign")) return false;
  return generation !== null && changeOfRequest(generation, request) !== undefined;
}

/** Issues where a reason is due and nothing holds it. */
function issuanceNeeded(desired: Desired, observed: Observed, now: Instant): Finding {
  const reason = reasonToIssue(desired, observed, now);
  if (reason === undefined) return undefined;
  const hold = holdOfIssuance(desired, observed, now);
  if (hold !== undefined) {
    return { kind: "wait", because: hold.because, next: { action: "issue", at: hold.until }, until: hold.until };
  }
  return { kind: "issue", ...reason };
}

/** The outputs do not hold the newest generation, or somebody changed them. */
function outputsDiffer(desired: Desired, observed: Observed, now: Instant): Finding {
  const { generation, apply, facts } = observed;
  if (generation === null || isOthersPlace(desired, observed)) return undefined;
  // A file that somebody fights for does not hide another that may be put right now.
  const fightEndOf = ({ path }: OutputFacts): Instant => endOfFight(path, facts, now) ?? 0;
  const wrong = apply.outputs
    .filter(({ state }) => state !== "current")
    .toSorted((a, b) => fightEndOf(a) - fightEndOf(b));
  const isNew = apply.deployed !== generation.number;
  const [first] = wrong;
  if (first === undefined && !isNew) return undefined;

  const spoilt = wrong.find((output) => isSpoilt(output, facts) && fightEndOf(output) <= now);
  // It is asked for no more, and may be what a service has refused: another one is on its way.
  const areAsLeft = wrong.every(({ state }) => state === "stale");
  if (areAsLeft && baseOf(desired, observed) !== generation) return undefined;
  const told = spoilt ?? first;
  const because =
    told === undefined || (isNew && told !== spoilt && told.state !== "drifted" && told.state !== "unknown")
      ? `generation ${generation.number} is not deployed yet`
      : `${told.path} ${told.because ?? "is not as the spec says"}`;
  const fightEnds = first === undefined || isNew ? 0 : fightEndOf(first);
  const until = Math.max(fightEnds, retryOfFiles(facts, spoilt !== undefined, now));
  return until <= now
    ? { kind: "apply", because, again: [] }
    : { kind: "wait", because, next: { action: "apply", at: until }, until };
}

/** Whether somebody has changed or removed what certagent had put there. */
function isSpoilt({ path, state }: OutputFacts, { deployed }: Facts): boolean {
  return state === "drifted" || (state === "missing" && deployed.includes(path));
}

/** When files may be put right. That a service refuses them is no reason to leave them spoilt for as long as it does. */
function retryOfFiles(facts: Facts, isSpoiling: boolean, now: Instant): Instant {
  const retry = tryAt(facts, "apply", now) ?? 0;
  const streak = facts.failures.apply;
  return isSpoiling && streak?.code === "RELOAD_FAILED" ? Math.min(retry, streak.at + LONGEST_SLEEP) : retry;
}

/** A service has not taken the deployed generation, or has not been seen to serve it. */
function servicesUnsettled(desired: Desired, observed: Observed, now: Instant): Finding {
  const { generation, apply } = observed;
  if (generation === null || apply.deployed !== generation.number || isOthersPlace(desired, observed)) return undefined;
  const needs = needsOf(desired, generation, observed, now);
  const due = needs.filter((need) => need.at <= now);
  const [apply1, ...more] = due.filter((need) => need.action === "apply");
  if (apply1 !== undefined) {
    const again = [apply1, ...more].filter((need) => need.again === true).map((need) => need.index);
    return { kind: "apply", because: apply1.because, again };
  }
  const [prove] = due;
  if (prove !== undefined) {
    return { kind: "prove", because: prove.because, services: due.map((need) => need.index) };
  }
  const next = needs.filter((need) => need.routine === undefined).toSorted((a, b) => a.at - b.at)[0];
  if (next !== undefined) {
    return { kind: "wait", because: next.because, next: { action: next.action, at: next.at }, until: next.at };
  }
  const soon = needs.filter((need) => need.routine === "soon");
  return soon.length === 0 ? undefined : { kind: "routine", until: Math.min(...soon.map((need) => need.at)) };
}

/** Nothing is wrong: the certificate waits for its own instant in the renewal window. */
function renewalAhead({ renewBefore }: Desired, { generation }: Observed, now: Instant): Finding {
  if (generation === null) return undefined;
  const at = renewAt(generation.fingerprint, validityOf(generation), renewBefore);
  if (at <= now) return undefined;
  return { kind: "wait", because: AHEAD, next: { action: "issue", at }, until: at };
}

// ------------------------------------------------------------------------------------------------------------- drift

/** When a file that others keep changing is put right again: at most three times an hour; undefined where none do. */
export function endOfFight(path: string, facts: Facts, now: Instant): Instant | undefined {
  const recent = facts.repairs.filter((repair) => repair.path === path && isWithin(repair.at, now, HOUR));
  const third = recent.at(-DRIFT_REPAIRS);
  return third === undefined ? undefined : Math.min(third.at, now) + HOUR;
}

/**
 * Whether somebody else writes an output: it is wrong again after it was put right as often as is reasonable within an
 * hour. What holds an older generation is as certagent left it.
 */
export function isFought({ path, state }: OutputFacts, facts: Facts, now: Instant): boolean {
  const isWrong = state !== "current" && state !== "stale" && state !== "unknown";
  return isWrong && (endOfFight(path, facts, now) ?? 0) > now;
}
