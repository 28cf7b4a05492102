/** The steps that put a certificate into force. Each throws what went wrong; who called it keeps the streak. */
import { dirname } from "node:path";
import { errorOf } from "../base/errors.ts";
import { shellWord } from "../base/shell-word.ts";
import { type Milliseconds, SECOND, withDeadline } from "../base/time.ts";
import { type Proof, withDeployed, withoutFailure, withRepairs } from "../core/facts.ts";
import type { ObservedGeneration } from "../core/observed.ts";
import type { Service } from "../core/ports.ts";
import { hasTaken, isProof, isUntold, windowOpensAt } from "../core/service-needs.ts";
import { logDeployed, logUnproven, logVerdict } from "./journal.ts";
import { fail, type Memory, wasEdited } from "./memory.ts";
import { proveService, type Verdict } from "./prove.ts";

/** Makes outputs and services true for the newest generation; `again`: services that took it and do not serve it. */
export async function deploy(memory: Memory, again: readonly number[], signal: AbortSignal): Promise<void> {
  const { world, name, edits, newest } = memory;
  memory.triedAt = world.clock.now();
  const report = await toldIfSlow(memory, () => world.applier.apply(name, signal, again));
  logDeployed(world.log, name, report);
  memory.lookedFor = 0;
  if (report.files === "written") memory.wroteAt = world.clock.now();
  memory.facts = withRepairs(memory.facts, report.repaired, world.clock.now());
  if (report.deployed === newest?.number && report.files !== "rolled-back") {
    memory.facts = withDeployed(memory.facts, memory.desired);
  }
  if (report.failure !== null) throw errorOf(report.failure);
  memory.facts = withoutFailure(memory.facts, "apply");
  // What was seen before a service took new files says nothing about it now: it is looked at at once.
  const wereTold = report.files === "written" && report.services.some(({ outcome }) => outcome === "reloaded");
  if (wereTold) memory.facts = withoutFailure(memory.facts, "prove");
  const unable = report.services.find((service) => service.failure !== null);
  if (unable?.failure != null && !wasEdited(memory, edits)) fail(memory, "prove", errorOf(unable.failure));
}

/** Longer than files and most commands take: what hangs tells nobody of itself. */
const SLOW: Milliseconds = 30 * SECOND;

async function toldIfSlow<Result>({ world, name, desired }: Memory, deploying: () => Promise<Result>): Promise<Result> {
  const tell = (): void => {
    const folders = new Set(desired.outputs.map(({ path }) => dirname(path)));
    const looks = [...folders].map((folder) => `findmnt -T ${shellWord(folder)}`);
    const hint = `a command or a file system may hang: ${['systemctl list-units "certagent-run-*"', ...looks].join("; ")}`;
    world.log.warning("the deployment takes long", { certificate: name, hint });
  };
  using late = withDeadline(SLOW);
  late.addEventListener("abort", tell, { once: true });
  return await deploying();
}

/** Looks which leaf the services serve. One that may take longer is to be looked at again: `lookedFor` says so. */
export async function prove(memory: Memory, indices: readonly number[], signal: AbortSignal): Promise<void> {
  const { desired, edits, newest, lookedFor, world } = memory;
  if (newest === null) return;
  const start = world.clock.monotonic();
  const looks = indices.map((index) => verdictOf(memory, index, newest, { lookedFor, signal }));
  const all = (await Promise.all(looks)).filter((each) => each !== undefined);
  if (signal.aborted || wasEdited(memory, edits)) return;
  const isPending = all.some(({ verdict }) => verdict.isPending);
  memory.lookedFor = isPending ? (lookedFor ?? 0) + world.clock.monotonic() - start : null;
  const found = all.filter(({ verdict }) => !verdict.isPending);
  const before = memory.facts.proofs;
  const proofs: (Proof | null)[] = desired.services.map((_, index) => before[index] ?? null);
  for (const { index, verdict } of found) {
    logVerdict(memory.world.log, memory.name, verdict, isProof(proofs[index], newest));
    proofs[index] = verdict.proof;
    // Whoever shows another leaf runs: it was started after the root side had looked, with the files of before.
    const wasDown = memory.apply.services[index]?.liveness === "down";
    memory.lookAfresh ||= wasDown && verdict.failure !== undefined && verdict.proof.fingerprint !== null;
  }
  memory.facts = { ...memory.facts, proofs };
  // What was not told of its files, and does not show them, is what it was.
  const isAsBefore = (index: number): boolean => {
    const [service, facts] = [desired.services[index], memory.apply.services[index]];
    if (service === undefined || facts === undefined || facts.probe === null) return false;
    return isUntold({ service, facts, generation: newest }) && !isProof(proofs[index], newest);
  };
  const failures = found.flatMap(({ index, verdict }) => (isAsBefore(index) ? [] : (verdict.failure ?? [])));
  const failure = failures.find(({ code }) => code !== "SERVICE_DOWN") ?? failures[0];
  const streak = memory.facts.failures.prove;
  const others = desired.services.filter(
    (service, index) =>
      (!indices.includes(index) || isAsBefore(index)) &&
      !isProof(proofs[index], newest) &&
      !waitsForWindow(memory, service, index),
  );
  // That one service is still down, or that it serves, ends or hurries no streak of the others.
  const isOfOthers = streak !== null && streak.code !== "SERVICE_DOWN" && others.length > 0;
  if (failure !== undefined && !(isOfOthers && failure.code === "SERVICE_DOWN")) throw failure;
  for (const { index, verdict } of found) {
    const isNews = before[index]?.code !== verdict.proof.code;
    if (verdict.failure !== undefined && isNews) logUnproven(memory.world.log, memory.name, verdict.failure);
  }
  if (failure !== undefined || others.length > 0 || isPending) return;
  memory.facts = withoutFailure(memory.facts, "prove");
  memory.joinable = false; // its status says so from now on: who asks again wants another one
}

/** Whether a service was not told of the newest generation yet, and is not to be now. Nothing has failed there. */
function waitsForWindow({ apply, newest, world }: Memory, service: Service, index: number): boolean {
  const [facts, now] = [apply.services[index], world.clock.now()];
  return !hasTaken(facts, newest?.number) && windowOpensAt(service, facts?.servedUntil ?? null, now) > now;
}

/** Undefined where the spec changed meanwhile and has no such service. */
async function verdictOf(
  { desired, apply, facts, world }: Memory,
  index: number,
  generation: ObservedGeneration,
  { lookedFor, signal }: { lookedFor: Milliseconds | null; signal: AbortSignal },
): Promise<{ index: number; verdict: Verdict } | undefined> {
  const [service, seen] = [desired.services[index], apply.services[index]];
  if (service === undefined || seen === undefined) return undefined;
  const looking = { prove: world.prove, now: world.clock.now, lookedFor, before: facts.proofs[index] ?? null };
  return { index, verdict: await proveService(service, seen, generation, looking, signal) };
}
