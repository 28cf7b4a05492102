/** What one managed certificate does in a run: it observes, plans, takes one step, and asks again. */
import { asAgentError } from "../base/errors.ts";
import { type Instant, LONGEST_SLEEP, pause } from "../base/time.ts";
import { type Step, withDeployed, withoutDelay, withoutFailure } from "../core/facts.ts";
import { isInPlace, type Plan, plan, stepsOver } from "../core/plan.ts";
import { followAnchors } from "./follow-anchors.ts";
import { fail, type Memory, observedOf, save, viewOf, wasEdited } from "./memory.ts";
import { observe } from "./observe.ts";
import { adopt, renewOrMint } from "./obtain.ts";
import { deploy, prove } from "./steps.ts";
import { tellWait } from "./tell-wait.ts";

/** More turns than any certificate needs to come to rest: adopt, issue, apply, prove, and each once more. */
const TURNS = 8;

/** Observes, plans and acts until the plan is to wait; answers until when. Never rejects. */
export async function comeToRest(memory: Memory, signal: AbortSignal): Promise<Instant | undefined> {
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
        isIssued = await followAnchors(memory);
        if (isIssued) continue;
        // An edit may have taken an output out, which another spec may deploy from now on.
        if (isInPlace(observedOf(memory))) memory.facts = withDeployed(memory.facts, memory.desired);
        tellWait(memory, viewOf(memory), next);
        await save(memory); // what is over must not be told of by whoever reads from disk, nor be gone on with
        await tidy(memory);
        return next.until;
      }
      const before = memory.newest;
      const hadItsTurn = await act(memory, next, signal);
      // Who may take long to show its leaf is looked at for as long as that takes.
      if (next.kind === "prove" && memory.lookedFor !== null) turn = 0;
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
export function forgetWhatIsOver(memory: Memory): void {
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
  const { world, name, generations, newest, apply, tidiedFor, facts } = memory;
  if (newest === null || apply.deployed !== newest.number || tidiedFor === newest.number) return;
  memory.tidiedFor = newest.number;
  await generations.prune([newest.number, facts.refused ?? 0]).catch((error: unknown) => {
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
