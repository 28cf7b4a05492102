/** The steps that a plan can ask for. Each throws what went wrong; who called it keeps the streak. */
import { dirname } from "node:path";
import { errorOf, failureOf } from "../base/errors.ts";
import { shellWord } from "../base/shell-word.ts";
import { type Milliseconds, SECOND, withDeadline } from "../base/time.ts";
import { type Proof, withDeployed, withIssuances, withoutDelay, withoutFailure, withRepairs } from "../core/facts.ts";
import { chainToAdopt } from "../core/fit.ts";
import { endOfStorm, isByHand } from "../core/issuing.ts";
import type { ObservedGeneration } from "../core/observed.ts";
import type { Plan } from "../core/plan.ts";
import type { Generation, Issuer, Service } from "../core/ports.ts";
import { hasTaken, isProof, windowOpensAt } from "../core/service-needs.ts";
import { earliestExpiry } from "../x509/chain.ts";
import { type IssueOrder, issue } from "./issue.ts";
import { logDeployed, logIssued, logSetback, logUnproven, logVerdict } from "./journal.ts";
import { fail, type Memory, save, wasEdited } from "./memory.ts";
import { observedGeneration } from "./observed-generation.ts";
import { proveService, type Verdict } from "./prove.ts";

/** Takes over the pair at the outputs, where it fits. */
export async function adopt(memory: Memory, signal: AbortSignal): Promise<void> {
  const { world, name, desired, edits, generations, newest } = memory;
  // Before: the root side has no network, and finds here what a pinned fingerprint stands for.
  const roots = await world.issuer(desired.request.issuer).roots(signal);
  const found = await world.applier.adopt(name, signal);
  if (wasEdited(memory, edits)) return;
  if (found === undefined) {
    memory.adoptionRefused = true;
    return;
  }
  const { request } = desired;
  const now = world.clock.now();
  const chain = chainToAdopt({ request, ...found, roots, now });
  if ("fact" in chain) {
    // It fits the spec as the root side reads it, and its roots.
    memory.adoptionRefused = true;
    world.log.warning("what stands at the outputs does not fit", { certificate: name, reason: chain.fact });
    return;
  }
  if (newest !== null && earliestExpiry(chain) <= newest.chainNotAfter) {
    memory.adoptionRefused = true;
    world.log.info("the pair at the outputs does not outlive the newest generation", { certificate: name });
    return;
  }
  const draft = { request, key: found.key, chain, roots, issuedAt: now, via: "adopted" };
  const { number } = await generations.stage(draft, memory.apply.deployed);
  memory.adoptionRefused = false;
  memory.facts = withoutFailure(memory.facts, "issue");
  world.log.info("adopted", { certificate: name, generation: number, serial: chain[0].serial });
}

/** Has the certificate renewed or a new one issued. */
export async function renewOrMint(
  memory: Memory,
  { renewal, because, asBefore }: Plan & { kind: "issue" },
  signal: AbortSignal,
): Promise<void> {
  const { world, desired, generations, newest, wish } = memory;
  const { clock } = world;
  signal.throwIfAborted(); // it may have waited for its turn meanwhile
  const byHand = isByHand(wish);
  if (wish !== null) memory.wish = { ...wish, attempted: true };
  const issuer = world.issuer(desired.request.issuer);
  memory.issuing = true;
  try {
    await save(memory); // what failed before counts even if this process does not live to hear the CA
    const current = newest === null ? undefined : await generations.read(newest.number);
    const asking = { issuer, current, because, byHand, signal };
    if (asBefore === true && (await renewAsBefore(memory, asking))) return;
    await ask(memory, { desired, renewal }, asking);
    // It waits for nothing any more: said before the issuer is told how many do.
    memory.facts = withoutFailure(memory.facts, "issue");
    // Who asks for a renewal may have mended what a deployment failed of, and waits for this one.
    if (wish !== null) memory.facts = withoutDelay(memory.facts, "apply", clock.now());
    memory.joinable = wish !== null;
    memory.wish = null;
  } finally {
    memory.issuing = false;
    // What stands at the outputs by the time that another one is asked for may be another pair.
    memory.adoptionRefused = false;
    // Who waits is asked of every spec.
    if (issuer.holdsSecret() && !world.isAwaited(desired.request.issuer)) issuer.noneWaits();
  }
}

interface Asking {
  readonly issuer: Issuer;
  readonly current: Generation | undefined;
  readonly because: string;
  readonly byHand: boolean;
  readonly signal: AbortSignal;
}

/** What the CA gives is the newest generation when this resolves. */
async function ask(
  memory: Memory,
  order: Pick<IssueOrder, "desired" | "renewal">,
  { issuer, current, because, byHand, signal }: Asking,
): Promise<void> {
  const { world, name, generations } = memory;
  const { clock, log } = world;
  const generation = await issue(
    { ...order, current, after: memory.apply.deployed },
    { issuer, generations, now: clock.now },
    async (issuances, failedRungs) => {
      if (!byHand) memory.facts = withIssuances(memory.facts, issuances, clock.now());
      for (const rung of failedRungs) logSetback(log, name, rung);
      await save(memory);
    },
    signal,
  );
  memory.cache.keep(generation);
  logIssued(log, name, generation, because);
  memory.newest = observedGeneration(generation);
}

/**
 * Renews what is there, whatever the spec asks for by now: that is planned anew afterwards, and nothing of it is over.
 * Answers false where it could not be renewed, and the change is to be asked for all the same.
 */
async function renewAsBefore(memory: Memory, asking: Asking): Promise<boolean> {
  const { world, name, desired, newest } = memory;
  if (asking.current === undefined) return false;
  const { request } = asking.current;
  try {
    const issuer = world.issuer(request.issuer);
    await ask(memory, { desired: { ...desired, request }, renewal: true }, { ...asking, issuer });
    return true;
  } catch (error) {
    const now = world.clock.now();
    // An answer of no use counts, too.
    if (asking.signal.aborted || (endOfStorm(desired, newest, memory.facts, now) ?? 0) > now) throw error;
    logSetback(world.log, name, failureOf(error));
    return false;
  }
}

/** Makes outputs and services true for the newest generation; `again`: services that took it and do not serve it. */
export async function deploy(memory: Memory, again: readonly number[], signal: AbortSignal): Promise<void> {
  const { world, name, edits, newest } = memory;
  memory.triedAt = world.clock.now();
  const report = await toldIfSlow(memory, () => world.applier.apply(name, signal, again));
  logDeployed(world.log, name, report);
  memory.justReloaded = true;
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

/** Looks which leaf the services serve. */
export async function prove(memory: Memory, indices: readonly number[], signal: AbortSignal): Promise<void> {
  const { desired, edits, newest, justReloaded } = memory;
  if (newest === null) return;
  const looks = indices.map((index) => verdictOf(memory, index, newest, { fresh: justReloaded, signal }));
  const found = (await Promise.all(looks)).filter((each) => each !== undefined);
  if (signal.aborted || wasEdited(memory, edits)) return;
  memory.justReloaded = false;
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
  const failures = found.flatMap(({ verdict }) => verdict.failure ?? []);
  const failure = failures.find(({ code }) => code !== "SERVICE_DOWN") ?? failures[0];
  const streak = memory.facts.failures.prove;
  const others = desired.services.filter(
    (service, index) =>
      !indices.includes(index) && !isProof(proofs[index], newest) && !waitsForWindow(memory, service, index),
  );
  // That one service is still down, or that it serves, ends or hurries no streak of the others.
  const isOfOthers = streak !== null && streak.code !== "SERVICE_DOWN" && others.length > 0;
  if (failure !== undefined && !(isOfOthers && failure.code === "SERVICE_DOWN")) throw failure;
  for (const { index, verdict } of found) {
    const isNews = before[index]?.code !== verdict.proof.code;
    if (verdict.failure !== undefined && isNews) logUnproven(memory.world.log, memory.name, verdict.failure);
  }
  if (failure !== undefined || others.length > 0) return;
  memory.facts = withoutFailure(memory.facts, "prove");
  memory.joinable = false; // its status says so from now on: who asks again wants another one
}

/** Whether a service was not told of the newest generation yet, and is not to be now. Nothing has failed there. */
function waitsForWindow({ apply, newest, servedUntil, world }: Memory, service: Service, index: number): boolean {
  const now = world.clock.now();
  return !hasTaken(apply.services[index], newest) && windowOpensAt(service, servedUntil, now) > now;
}

/** Undefined where the spec changed meanwhile and has no such service. */
async function verdictOf(
  { desired, apply, facts, world }: Memory,
  index: number,
  generation: ObservedGeneration,
  { fresh, signal }: { fresh: boolean; signal: AbortSignal },
): Promise<{ index: number; verdict: Verdict } | undefined> {
  const [service, seen] = [desired.services[index], apply.services[index]];
  if (service === undefined || seen === undefined) return undefined;
  const looking = { prove: world.prove, now: world.clock.now, fresh, before: facts.proofs[index] ?? null };
  return { index, verdict: await proveService(service, seen, generation, looking, signal) };
}
