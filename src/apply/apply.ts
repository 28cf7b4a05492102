import { AgentError, asAgentError, type Failure, failureOf } from "../base/errors.ts";
import type { ApplyReport } from "../core/applier.ts";
import type { Generation, Service } from "../core/ports.ts";
import { accept, readAccepted } from "./accept.ts";
import { changeOutputs, recordOutputs } from "./change-outputs.ts";
import { removeSets } from "./files/deploy-link.ts";
import { isTrue, type Target, targetsOf } from "./files/target.ts";
import { type Previous, previousFromStore, previousOf } from "./previous.ts";
import { type Applying, keep, type Progress } from "./progress.ts";
import type { ApplyRecord } from "./record.ts";
import { rollBack } from "./roll-back.ts";
import { type Before, fallenOf, lookBefore, type ServiceTask } from "./services/actions.ts";
import { runHook } from "./services/hooks.ts";
import { settleServices } from "./services/settle.ts";

/**
 * Makes outputs and services true for the newest generation: deploy, preflight, reload, and back where that broke
 * something. What fails is in the report. Rejects only where `signal` aborts, never between two renames of a set.
 */
export async function applyNewest(applying: Applying): Promise<ApplyReport> {
  const record = await applying.records.read(applying.desired.name);
  const progress: Progress = { record, files: "unchanged", services: [], actions: [], repaired: [] };
  let failure: Failure | null;
  try {
    failure = await applySteps(applying, progress);
    await settleDown(applying, progress, failure);
  } catch (error) {
    applying.signal.throwIfAborted();
    const thrown = asAgentError(error);
    if (progress.files === "unchanged" && thrown.code === "DEPLOY_FAILED") progress.files = "failed";
    failure = failureOf(thrown);
    applying.host.log.debug("apply failed", { certificate: applying.desired.name, stack: String(thrown.stack) });
  }
  await tellStreak(applying, progress, failure);
  const { files, services, actions, repaired } = progress;
  return { deployed: progress.record.deployed, files, services, failure, actions, repaired };
}

/** Answers why the newest generation could not stand, or could not be taken; null where it could. */
async function applySteps(applying: Applying, progress: Progress): Promise<Failure | null> {
  const { host, generations, desired, again, signal } = applying;
  const generation = await accept(host, desired, progress.record, await newestGeneration(applying), generations);
  let targets = await targetsOf(host, desired, generation, progress.record);
  const did = (action: string): void => void progress.actions.push(action);
  const task: ServiceTask = { host, desired, generation, again, did, signal };

  let before: ReadonlyMap<Service, Before> = new Map();
  let previous: Previous | undefined;
  if (targets.every(isTrue)) {
    // A pair that was adopted as it stands is not what breaks a service.
    if (progress.record.deployed === null) before = await lookBefore(task, true);
    await recordOutputs(applying, progress, generation, targets);
    // Only where a process ended before its services were seen to take the files.
    const earlier = await readAccepted(generations, progress.record, progress.record.before);
    if (earlier !== undefined) previous = previousFromStore(targets, earlier);
  } else {
    const fallen = await fallenOf(task, progress.record);
    if (fallen !== null) {
      await repairDeployed(applying, progress);
      return fallen;
    }
    targets = await runBefore(applying, progress, generation, targets);
    previous = await previousInForce(applying, progress.record, generation, targets);
    before = await lookBefore(task, previous !== undefined);
    await changeOutputs(applying, progress, generation, targets, previous);
  }

  const settled = await settleServices(task, before, progress.record);
  progress.services = settled.reports;
  const { culprit, services } = settled;
  const isTaken = culprit === null && haveTaken(applying, progress, services);
  await keep(applying, progress, { services, ...(isTaken && { before: null }) });
  if (culprit === null || previous === undefined) return culprit;
  return await rollBack(applying, progress, previous, settled);
}

/** What was deployed last stays in place, and is put right where somebody has spoilt it. */
async function repairDeployed(applying: Applying, progress: Progress): Promise<void> {
  const { host, desired } = applying;
  const { record } = progress;
  const deployed = await readAccepted(applying.generations, record, record.deployed);
  if (deployed === undefined) return;
  const targets = await targetsOf(host, desired, deployed, record);
  if (targets.every(isTrue)) return;
  await changeOutputs(applying, progress, deployed, await runBefore(applying, progress, deployed, targets), undefined);
}

/** Runs the `before` hook, where there is one, and looks again then: meanwhile anybody may have changed what stands there. */
async function runBefore(
  { host, desired, signal }: Applying,
  { record, actions }: Progress,
  generation: Generation,
  targets: readonly Target[],
): Promise<readonly Target[]> {
  if (!(await runHook(host, desired, "before", signal))) return targets;
  actions.push("ran the before hook");
  return await targetsOf(host, desired, generation, record);
}

/** What is gone back to where services refuse what is about to be deployed; undefined where nothing can be, or nobody is told. */
async function previousInForce(
  { generations, desired }: Applying,
  record: ApplyRecord,
  generation: Generation,
  targets: readonly Target[],
): Promise<Previous | undefined> {
  if (desired.services.length === 0) return undefined;
  const deployed = await readAccepted(generations, record, record.deployed);
  // Deployed already, and cut off before its services had taken it or it was gone back from.
  const isCutOff = deployed?.number === generation.number;
  const earlier = isCutOff ? await readAccepted(generations, record, record.before) : undefined;
  return earlier === undefined
    ? previousOf(targets, record, deployed, generation)
    : previousFromStore(targets, earlier);
}

/** Once all services have taken the files, nothing is left to go back to. */
function haveTaken({ desired }: Applying, progress: Progress, services: ApplyRecord["services"]): boolean {
  return desired.services.every(({ passive, key }, index) => {
    const outcome = progress.services[index]?.outcome;
    return (
      passive ||
      outcome === "down" ||
      outcome === "absent" ||
      services[key]?.reloaded?.generation === progress.record.deployed
    );
  });
}

async function newestGeneration({ generations, desired }: Applying): Promise<Generation> {
  const number = await generations.newest();
  if (number !== undefined) return await generations.read(number);
  await generations.requireNone();
  throw new AgentError("DEPLOY_FAILED", `Cannot apply "${desired.name}": no certificate was issued for it yet`);
}

/** A change of files is told of once, when no service has refused it. */
async function settleDown(applying: Applying, progress: Progress, failure: Failure | null): Promise<void> {
  if (failure !== null) return;
  const { host, desired, signal } = applying;
  const { record } = progress;
  if (desired.layout === "files") await removeSets(host, desired.name);
  if (!record.owesAfter) return;
  try {
    if (await runHook(host, desired, "after", signal)) progress.actions.push("ran the after hook");
  } catch (error) {
    signal.throwIfAborted();
    host.log.warning("the after hook failed", { certificate: desired.name, reason: failureOf(error).message });
  }
  await keep(applying, progress, { owesAfter: false });
}

/** `hooks.failed` is run once for a streak of failures. */
async function tellStreak(applying: Applying, progress: Progress, failure: Failure | null): Promise<void> {
  const isFailing = failure !== null;
  if (progress.record.failing === isFailing) return;
  const { host, desired, signal } = applying;
  try {
    await keep(applying, progress, { failing: isFailing });
  } catch (error) {
    signal.throwIfAborted();
    // The hook hears of a streak once: without the record it would hear of each try.
    const { message, hint } = asAgentError(error);
    host.log.warning("cannot keep state", { certificate: desired.name, reason: message, hint });
    return;
  }
  try {
    if (isFailing && (await runHook(host, desired, "failed", signal))) progress.actions.push("ran the failed hook");
  } catch (error) {
    signal.throwIfAborted();
    host.log.warning("the failed hook failed", { certificate: desired.name, reason: failureOf(error).message });
  }
}

/**
 * A streak of failures began before there was anything to apply. Ends, as every streak, with an apply that went well, or
 * by itself: `isAtRest` says that nothing is left of the one before.
 */
export async function streakOfIssuing(
  applying: Omit<Applying, "generations" | "again">,
  isAtRest: boolean,
): Promise<void> {
  const { host, records, desired, signal } = applying;
  const record = await records.read(desired.name);
  if (record.failing && !isAtRest) return;
  await records.change(desired.name, { failing: true });
  if (await runHook(host, desired, "failed", signal))
    host.log.info("ran the failed hook", { certificate: desired.name });
}
