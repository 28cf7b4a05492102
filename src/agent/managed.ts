import { asAgentError } from "../base/errors.ts";
import { type Instant, LONGEST_SLEEP, type Milliseconds, pause, SECOND } from "../base/time.ts";
import {
  type Facts,
  factsOfSpec,
  NO_FACTS,
  type Step,
  type Streak,
  withDeployed,
  withoutDelay,
  withoutFailure,
} from "../core/facts.ts";
import { reasonToIssue } from "../core/issuing.ts";
import { isInPlace, type Plan, plan, stepsOver } from "../core/plan.ts";
import type { Desired } from "../core/ports.ts";
import { isProof } from "../core/service-needs.ts";
import { isUnseen, type Managed } from "../core/status.ts";
import { fail, type Memory, observe, observedOf, recall, save, textOf, wasEdited } from "./memory.ts";
import { adopt, deploy, prove, renewOrMint } from "./steps.ts";
import { tellWait } from "./tell-wait.ts";
import type { World } from "./world.ts";

/** One spec together with what exists of it on this host: observes, plans, takes one step, and asks again. */
export interface ManagedCertificate {
  readonly name: string;
  /** Takes another version of the spec; `broken` tells why the newest text is not in force. */
  update(desired: Desired, broken: Streak | null): void;
  /** The spec is in force no more: what is under way is finished, and nothing is begun until it is updated. */
  retire(): void;
  /** Asks for a renewal now. One that is asked for already is joined. */
  renew(): void;
  /** Whether a renewal that was asked for waits for its first try, or is under way until it is deployed and looked at. */
  isRenewing(): boolean;
  /** Something outside changed that may have mended what failed: forgets all back-off. */
  forgive(): void;
  /** Every step may be tried now, whatever failed before; what has failed is not forgotten. */
  hurry(): void;
  /** What a service refused is tried again now. */
  retry(): void;
  /** The spec was not there and is now: forgets back-off and repairs, and looks afresh. Its files may have gone with it. */
  startOver(): void;
  /** Observes only, whatever was believed. Rejects where `signal` aborts, not for what is wrong with this one certificate. */
  look(signal: AbortSignal): Promise<void>;
  /** Observes, plans and acts until there is nothing to do now. Never rejects. */
  work(signal: AbortSignal): Promise<void>;
  /** Resolves once it was looked at for the first time, or that takes longer than people should wait. */
  seen(): Promise<void>;
  /** What status is told from. */
  view(): Managed;
  /** When to work again at the latest. */
  dueAt(): Instant;
  /** The newest instant that is on record: a clock older than that is suspect. */
  newestRecord(): Instant;
  /** Whether it wants something of this issuer, which a secret may be needed for. */
  isWaitingFor(issuer: string): boolean;
  /** The paths that it has deployed. */
  deployedPaths(): readonly string[];
  /** When it was last begun to deploy it; 0 where it was not yet. */
  triedAt(): Instant;
  /** When it has last written files; 0 where it has not yet. */
  wroteAt(): Instant;
}

/** More turns than any certificate needs to come to rest: adopt, issue, apply, prove, and each once more. */
const TURNS = 8;

/** How long a status waits for the first look at a certificate: a root side that is started takes seconds on a busy host. */
const FIRST_LOOK: Milliseconds = 10 * SECOND;

/** Opens a managed certificate; its facts are read from the state folder where they were not read before. */
export async function manage(
  world: World,
  desired: Desired,
  broken: Streak | null,
  known?: Facts,
): Promise<ManagedCertificate> {
  const memory = await recall(world, desired, broken, known);
  const managedSince = world.clock.monotonic();
  let dueAt: Instant = 0;
  const forgive = (): void => {
    memory.facts = { ...memory.facts, failures: NO_FACTS.failures };
    memory.edits += 1;
    memory.lookAfresh = true;
    dueAt = 0;
  };

  return {
    name: desired.name,
    work: async (signal) => {
      dueAt = world.clock.now() + LONGEST_SLEEP;
      // An update or a wish that comes meanwhile sets it to now again.
      const until = await comeToRest(memory, signal);
      memory.joinable = false;
      dueAt = Math.min(dueAt, until ?? dueAt);
    },
    look: async (signal) => {
      memory.lookAfresh = true;
      try {
        await observe(memory, signal);
        forgetWhatIsOver(memory);
      } catch (error) {
        signal.throwIfAborted();
        if (memory.facts.failures.apply === null) fail(memory, "apply", error);
      }
    },
    retire: () => {
      memory.isRetired = true;
    },
    update: (version, why) => {
      memory.isRetired = false;
      memory.broken = why;
      memory.facts = factsOfSpec(memory.facts, textOf(version));
      if (version.digest !== memory.desired.digest) {
        memory.edits += 1;
        memory.adoptionRefused = false;
        dueAt = 0;
      }
      // The text may be the same, and the default issuer another one.
      if (version.request.issuer !== memory.desired.request.issuer) {
        memory.adoptionRefused = false;
        forgive();
      }
      memory.desired = version;
    },
    renew: () => {
      if (memory.joinable) return;
      memory.wish ??= { since: world.clock.now(), attempted: false };
      if (!memory.issuing) memory.wish = { ...memory.wish, attempted: false };
      // Who asks may just have cleared the way.
      memory.lookAfresh ||= memory.apply.obstacle !== null;
      dueAt = 0;
    },
    isRenewing: () => memory.joinable || (memory.wish !== null && (memory.issuing || !memory.wish.attempted)),
    forgive,
    hurry: () => {
      const now = world.clock.now();
      for (const step of ["issue", "apply", "prove"] as const) memory.facts = withoutDelay(memory.facts, step, now);
      memory.lookAfresh = true;
      dueAt = 0;
    },
    retry: () => {
      const now = world.clock.now();
      for (const step of ["apply", "prove"] as const) memory.facts = withoutDelay(memory.facts, step, now);
      dueAt = 0;
    },
    startOver: () => {
      memory.facts = { ...memory.facts, repairs: [] };
      forgive();
    },
    seen: async () => {
      const left = managedSince + FIRST_LOOK - world.clock.monotonic();
      if (left > 0) await Promise.race([memory.seen.promise, pause(left)]);
    },
    view: () => viewOf(memory),
    dueAt: () => dueAt,
    newestRecord: () => Math.max(memory.facts.writtenAt, memory.newest?.issuedAt ?? 0),
    isWaitingFor: (issuer) =>
      memory.desired.request.issuer === issuer &&
      reasonToIssue(memory.desired, observedOf(memory), world.clock.now()) !== undefined,
    deployedPaths: () => memory.facts.deployed,
    triedAt: () => memory.triedAt,
    wroteAt: () => memory.wroteAt,
  };
}

function viewOf(memory: Memory): Managed {
  const { desired, apply, newest, facts, deployed, issuing, broken } = memory;
  // Nobody could be asked since the start: what a service was last seen to serve is deployed.
  const isServed = isUnseen(apply) && newest !== null && facts.proofs.some((proof) => isProof(proof, newest));
  return { desired, observed: observedOf(memory), deployed: isServed ? newest : deployed, issuing, broken };
}

/** Observes, plans and acts until the plan is to wait; answers until when. Never rejects. */
async function comeToRest(memory: Memory, signal: AbortSignal): Promise<Instant | undefined> {
  const { world, name } = memory;
  try {
    let isIssued = false;
    let isIssuerBusy = false;
    for (let turn = 0; turn < TURNS && !signal.aborted; turn++) {
      // What was seen before an issuance still stands, and `apply` looks for itself.
      if (!isIssued) await observe(memory, signal);
      if (memory.isRetired) break;
      hurryIfSeenAgain(memory);
      forgetWhatIsOver(memory);
      const next = plan(memory.desired, { ...observedOf(memory), isIssuerBusy }, world.clock.now());
      world.log.debug("planned", { certificate: name, action: next.kind, because: next.because });
      if (next.kind === "wait" && isIssuerBusy) {
        // Nothing else is to be done: its turn is waited for again.
        [turn, isIssuerBusy] = [0, false];
        continue;
      }
      if (next.kind === "wait") {
        // An edit may have taken an output out, which another spec may deploy from now on.
        if (isInPlace(observedOf(memory))) memory.facts = withDeployed(memory.facts, memory.desired);
        tellWait(memory, viewOf(memory), next);
        await save(memory); // what is over must not be told of by whoever reads from disk, nor be gone on with
        await tidy(memory);
        return next.until;
      }
      const before = memory.newest;
      const hadItsTurn = await act(memory, next, signal);
      isIssuerBusy ||= !hadItsTurn;
      isIssued = next.kind === "issue" && memory.newest !== before;
    }
  } catch (error) {
    if (!signal.aborted) failToLook(memory, error);
    await save(memory);
  }
  return undefined;
}

/**
 * What cannot even be looked at cannot be deployed. It is looked at again in a moment, whatever the back-off; for the same
 * reason that is no further attempt before its end.
 */
function failToLook(memory: Memory, error: unknown): void {
  const { message } = asAgentError(error);
  const streak = memory.facts.failures.apply;
  const isTold = memory.unseenFor === message && streak?.message === message && streak.tryAt > memory.world.clock.now();
  if (!isTold) fail(memory, "apply", error);
  memory.unseenFor = message;
}

/** What kept it from being looked at is over: what failed for that is tried at once. */
function hurryIfSeenAgain(memory: Memory): void {
  const { unseenFor, facts, world } = memory;
  memory.unseenFor = null;
  if (unseenFor === null || facts.failures.apply?.message !== unseenFor) return;
  memory.facts = withoutDelay(facts, "apply", world.clock.now());
}

/** A failure is told for as long as there is something to do again, no longer. */
function forgetWhatIsOver(memory: Memory): void {
  for (const step of stepsOver(memory.desired, observedOf(memory), memory.world.clock.now())) {
    memory.facts = withoutFailure(memory.facts, step);
  }
}

/** Takes one step. Answers false where the issuer is busy with others. */
async function act(memory: Memory, next: Exclude<Plan, { kind: "wait" }>, signal: AbortSignal): Promise<boolean> {
  const step: Step = next.kind === "adopt" ? "issue" : next.kind;
  const { edits, facts } = memory;
  const before = facts.failures[step];
  let hasFailed = false;
  try {
    if (next.kind === "adopt") await adopt(memory, signal);
    else if (next.kind === "issue") {
      if (!(await issuing(memory, next, signal))) return false;
    } else if (next.kind === "apply") await deploy(memory, next.again, signal);
    else await prove(memory, next.services, signal);
  } catch (error) {
    // An end that was asked for is no failure: the next start goes on from the facts.
    hasFailed = !signal.aborted && !wasEdited(memory, edits);
    if (hasFailed) fail(memory, step, error);
  }
  await save(memory);
  // That it was killed, of which nobody was told yet, may have begun the streak.
  const isFirst = before === null || before.code === "CUT_OFF";
  if (hasFailed && step === "issue" && isFirst) await tellStreak(memory, signal);
  return true;
}

/**
 * Issues in turn with the other specs of the issuer; what was edited or removed before its turn came is planned anew, if at
 * all. Answers false where its turn did not come for so long that files and services are to be looked at: many wait for a
 * CA that is silent.
 */
async function issuing(memory: Memory, next: Plan & { kind: "issue" }, signal: AbortSignal): Promise<boolean> {
  const { world, desired, edits } = memory;
  const patience = (over: AbortSignal): Promise<void> => pause(LONGEST_SLEEP, AbortSignal.any([over, signal]));
  const issue = async (): Promise<void> => {
    if (!wasEdited(memory, edits) && !memory.isRetired) await renewOrMint(memory, next, signal);
  };
  return await world.issuing(desired.request.issuer, issue, patience);
}

/** Removes generations that nothing needs any more, once the newest is in force. One that stays is tried again after the next. */
async function tidy(memory: Memory): Promise<void> {
  const { world, name, generations, newest, apply, tidiedFor } = memory;
  if (newest === null || apply.deployed !== newest.number || tidiedFor === newest.number) return;
  memory.tidiedFor = newest.number;
  await generations.prune([newest.number]).catch((error: unknown) => {
    const { message, hint } = asAgentError(error);
    world.log.warning("cannot remove an old generation", { certificate: name, reason: message, hint });
  });
}

/** The root side knows of what fails there; that no certificate can be had it has to be told, for `hooks.failed`. */
async function tellStreak({ world, name, desired }: Memory, signal: AbortSignal): Promise<void> {
  if (desired.hooks.failed === null) return;
  await world.applier.failed(name, signal).catch((error: unknown) => {
    const { message, hint } = asAgentError(error);
    world.log.warning("the failed hook failed", { certificate: name, reason: message, hint });
  });
}
