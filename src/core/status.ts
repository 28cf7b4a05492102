/** Tells the documents that `status` and `plan` show from what is known of a managed certificate. Pure. */
import type { Failure } from "../base/errors.ts";
import { shellWord } from "../base/shell-word.ts";
import { formatInstant, type Instant } from "../base/time.ts";
import { formatName } from "../x509/name.ts";
import { addressText, placesOf, placesText } from "./address.ts";
import type { ApplyFacts, OutputState } from "./applier.ts";
import type { Streak } from "./facts.ts";
import { endOfStorm, isByHand } from "./issuing.ts";
import type { Observed } from "./observed.ts";
import { AHEAD, endOfFight, isFought, obstacleInForce, type Plan, plan } from "./plan.ts";
import type { Desired, Service } from "./ports.ts";
import { calledOf, hasTaken, isProof } from "./service-needs.ts";
import type { CertificateStatus, PlannedCertificate, State, StatusFailure } from "./status-document.ts";

/** Everything that the status of one managed certificate is told from. */
export interface Managed {
  readonly desired: Desired;
  readonly observed: Observed;
  /** Whether an issuance is under way. */
  readonly issuing: boolean;
  /** Why the spec's newest text is not in force; null where it is. */
  readonly broken: Streak | null;
}

/** The status of one managed certificate. */
export function statusOf(managed: Managed, now: Instant): CertificateStatus {
  const { desired, observed } = managed;
  const { deployed } = observed;
  const next = plan(desired, observed, now);
  const state = stateOf(managed, now);
  return {
    name: desired.name,
    spec: desired.file,
    issuer: desired.request.issuer,
    subject: desired.request.subject,
    sans: desired.request.names.map(formatName),
    state,
    because: becauseOf(managed, state, next, now),
    leaf:
      deployed === null
        ? null
        : {
            generation: deployed.number,
            fingerprint: deployed.fingerprint,
            serial: deployed.serial,
            key: deployed.key,
            not_before: formatInstant(deployed.notBefore),
            not_after: formatInstant(deployed.notAfter),
          },
    next: nextOf(next, managed, now),
    outputs: observed.apply.outputs.map(({ path, format, state }) => ({ path, format, state })),
    services: desired.services.map((service, index) => serviceStatus(service, index, observed)),
    failure: failureStatus(managed, now),
  };
}

/** The status of a spec of which no version was ever understood. */
export function statusOfInvalid(name: string, file: string, failure: Streak): CertificateStatus {
  return {
    name,
    spec: file,
    issuer: null,
    subject: null,
    sans: [],
    state: "invalid",
    because: failure.message,
    leaf: null,
    next: null,
    outputs: [],
    services: [],
    failure: streakStatus(failure, null),
  };
}

/** Whether somebody has to look: `status` then exits 3. */
export function needsAttention(status: CertificateStatus): boolean {
  return (status.state !== "current" && status.state !== "renewing") || status.failure !== null;
}

/** What would be done now for one managed certificate, and the steps of it. */
export function planOf({ desired, observed }: Managed, now: Instant): PlannedCertificate {
  const next = plan(desired, observed, now);
  const at = next.kind === "wait" ? (next.next?.at ?? null) : now;
  return {
    name: desired.name,
    action: next.kind,
    because: next.because,
    at: at === null ? null : formatInstant(at),
    steps: stepsOf(next, desired, observed),
  };
}

/** The plan of a spec of which no version was ever understood: it waits for its mend. */
export function planOfInvalid(name: string, failure: Streak): PlannedCertificate {
  return { name, action: "wait", because: failure.message, at: null, steps: [] };
}

// ---------------------------------------------------------------------------------------------------------- the state

function stateOf({ desired, observed, issuing }: Managed, now: Instant): State {
  const { facts, generation, apply, wish } = observed;
  if (facts.paused !== null) return "paused";
  if (generation !== null && generation.chainNotAfter <= now) return "expired";
  if (failingWith(desired, observed, now) !== null) return "failing";
  if (
    !isByHand(wish) &&
    (endOfStorm(desired, generation, facts, now) ?? 0) > now &&
    isDueToIssue(desired, observed, now)
  ) {
    return "paused";
  }
  if (issuing) return generation === null ? "pending" : "renewing";
  if (generation === null) return "pending";
  if (isUnseen(apply)) return "unproven"; // what nobody has looked at may well be deployed
  if (apply.deployed !== generation.number) return apply.deployed === null ? "pending" : "renewing";
  // Whatever a service still serves: it would not start with that.
  if (apply.outputs.some(({ state }) => state !== "current")) return "unproven";
  return desired.services.every((_, index) => isProof(facts.proofs[index], generation)) ? "current" : "unproven";
}

/** Whether nobody has looked at its outputs and services yet. */
export function isUnseen({ outputs }: ApplyFacts): boolean {
  return outputs.some(({ state }) => state === "unknown");
}

function isDueToIssue(desired: Desired, observed: Observed, now: Instant): boolean {
  const next = plan(desired, { ...observed, facts: { ...observed.facts, issuances: [] } }, now);
  return next.kind === "issue";
}

/** The failure that makes a certificate `failing`: what stops every step, else one of issuing or deploying. */
function failingWith(desired: Desired, observed: Observed, now: Instant): Failure | null {
  const { facts, apply } = observed;
  const obstacle = obstacleInForce(desired, observed, now);
  if (obstacle !== null) return obstacle;
  const fought = apply.outputs.find((output) => isFought(output, facts, now));
  if (fought !== undefined) return fightOver(fought.path);
  return facts.failures.issue ?? facts.failures.apply;
}

function fightOver(path: string): Failure {
  return {
    code: "DRIFT_FIGHT",
    message: `Cannot keep "${path}" as the spec says: it was put right three times within an hour`,
    hint: "another program writes it; find out which and let only one of them",
    retryAt: null,
  };
}

function becauseOf({ desired, observed }: Managed, state: State, next: Plan, now: Instant): string {
  if (state === "current") return proofText(desired, observed);
  if (state === "failing") return failingText(failingWith(desired, observed, now)) ?? next.because;
  if (state === "renewing") return "a newer certificate is on its way";
  if (state === "expired") {
    const failure = obstacleInForce(desired, observed, now) ?? observed.facts.failures.issue;
    return failure?.message ?? "it could not be renewed in time";
  }
  return next.because;
}

function failingText(failure: Failure | null): string | undefined {
  return failure === null ? undefined : (FAILING[failure.code] ?? failure.message);
}

const FAILING: Readonly<Record<string, string>> = {
  ISSUER_UNREACHABLE: "the CA cannot be reached",
  ISSUER_BUSY: "the CA asked to be left alone for a while",
  ISSUER_REJECTED: "the CA refused the request",
  CREDENTIAL_MISSING: "there is no credential to ask the CA with",
  CHAIN_UNUSABLE: "the CA's answer is not what was asked for",
  CLOCK_SUSPECT: "the clock of this host or of the CA is wrong",
  RELOAD_FAILED: "a service could not take the new files",
};

function proofText({ services }: Desired, { facts, generation, apply }: Observed): string {
  if (services.length === 0) return "its files are as the spec says";
  const texts = services.map((service, index) => {
    const proof = facts.proofs[index];
    if (proof?.fingerprint != null) return `${calledOf(service)} serves this certificate at ${proof.address}`;
    if (service.passive) return "nothing has to be reloaded, and there is no probe to look with";
    const at = apply.services[index]?.reloaded?.at;
    const when = at === undefined ? "" : ` at ${formatInstant(at)}`;
    return `${calledOf(service)} took generation ${generation?.number}${when}; there is no probe to look with`;
  });
  return [...new Set(texts)].join("; ");
}

// -------------------------------------------------------------------------------------------------------- the details

function nextOf(next: Plan, { desired, observed }: Managed, now: Instant): CertificateStatus["next"] {
  if (next.kind !== "wait") return { action: next.kind, at: formatInstant(now), because: next.because };
  if (next.next === null) return null;
  const { action, at } = next.next;
  const isObstructed = obstacleInForce(desired, observed, now) !== null;
  const hasFailed = !isObstructed && observed.facts.failures[action === "adopt" ? "issue" : action] !== null;
  const routine = next.because === AHEAD ? "its place in the renewal window comes up" : next.because;
  return { action, at: formatInstant(at), because: hasFailed ? "trying again after a failure" : routine };
}

function serviceStatus(service: Service, index: number, observed: Observed): CertificateStatus["services"][number] {
  const proof = observed.facts.proofs[index];
  const isProven = observed.generation !== null && isProof(proof, observed.generation);
  const probe = observed.apply.services[index]?.probe ?? service.probe ?? null;
  return {
    type: service.type,
    state: isProven ? "proven" : "unproven",
    at: proof == null ? null : formatInstant(proof.at),
    address: probe === null ? (proof?.address ?? null) : placesText(probe),
    fingerprint: proof?.fingerprint ?? null,
  };
}

function failureStatus({ desired, observed, broken }: Managed, now: Instant): StatusFailure | null {
  const { facts, apply, generation } = observed;
  if (broken !== null) return streakStatus(broken, null);
  // Whatever failed before: nothing is tried while it is there.
  const obstacle = obstacleInForce(desired, observed, now);
  if (obstacle !== null) {
    const since = Math.min(observed.obstacleSince ?? now, now);
    return plainStatus(obstacle, since, Math.max(now, observed.nextLook));
  }
  const fought = apply.outputs.find((output) => isFought(output, facts, now));
  if (fought !== undefined) {
    const lastRepair = facts.repairs.findLast(({ path }) => path === fought.path)?.at ?? now;
    return plainStatus(fightOver(fought.path), Math.min(lastRepair, now), endOfFight(fought.path, facts, now));
  }
  const { issue, apply: deploy, prove } = facts.failures;
  if (issue !== null) {
    return streakStatus(issue, Math.max(issue.tryAt, endOfStorm(desired, generation, facts, now) ?? 0));
  }
  if (deploy !== null) return streakStatus(deploy, deploy.tryAt);
  return prove === null ? null : streakStatus(prove, prove.tryAt);
}

function streakStatus(streak: Streak, retryAt: Instant | null): StatusFailure {
  return {
    code: streak.code,
    message: streak.message,
    hint: streak.hint,
    since: formatInstant(streak.since),
    attempts: streak.attempts,
    retry_at: retryAt === null ? null : formatInstant(retryAt),
  };
}

/** What is looked at again by itself, and not tried. */
function plainStatus({ code, message, hint }: Failure, since: Instant, retryAt: Instant | undefined): StatusFailure {
  const retry = retryAt === undefined ? null : formatInstant(retryAt);
  return { code, message, hint, since: formatInstant(since), attempts: 1, retry_at: retry };
}

function stepsOf(next: Plan, desired: Desired, observed: Observed): readonly string[] {
  if (next.kind === "wait") return [];
  const probes = desired.services.flatMap((service, index) => {
    const probe = observed.apply.services[index]?.probe ?? service.probe;
    return probe === null || probe === undefined
      ? []
      : placesOf(probe).map((place) => `probe ${addressText(place.address)}`);
  });
  if (next.kind === "prove") return probes;
  const wrong = observed.apply.outputs.filter(({ state }) => next.kind === "issue" || state !== "current");
  // What is taken over stays as it is where it is what the spec says, to the byte.
  const mayStay = (state: OutputState): boolean => next.kind === "adopt" && state !== "missing";
  const writes = wrong.map(({ path, state }) => `write ${path}${mayStay(state) ? " where it differs" : ""}`);
  // Where no file changes, who took them and serves them is not told of them again.
  const isAtRest = (index: number): boolean =>
    next.kind === "apply" &&
    writes.length === 0 &&
    !next.again.includes(index) &&
    hasTaken(observed.apply.services[index], observed.generation?.number);
  const commands = desired.services.flatMap((service, index) => (isAtRest(index) ? [] : service.steps));
  // They are for a change of files alone.
  const condition = wrong.every(({ state }) => mayStay(state)) ? " where a file differs" : "";
  const hook = (which: "before" | "after"): readonly string[] => {
    const argv = desired.hooks[which];
    if (argv === null || writes.length === 0) return [];
    return [`run the ${which} hook${condition}: ${argv.map(shellWord).join(" ")}`];
  };
  const rest = [...new Set([...hook("before"), ...writes, ...commands, ...hook("after"), ...probes])];
  if (next.kind === "adopt") return ["take over the pair at the outputs", ...rest];
  if (next.kind === "apply") return rest;
  const { issuer } = desired.request;
  const renewal = next.by === "minting" ? [] : [`renew at issuer ${next.base?.request.issuer}`];
  const minting = next.by.endsWith("minting") ? [`ask issuer ${issuer} for a certificate`] : [];
  return [...renewal, ...minting, ...rest];
}

/** The streak that a broken spec stands for. */
export function brokenSpec(message: string, hint: string | null, since: Instant): Streak {
  return { code: "SPEC_INVALID", message, hint, retryAt: null, since, at: since, attempts: 1, tryAt: since };
}
