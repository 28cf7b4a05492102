/** The steps that a certificate is had by. Each throws what went wrong; who called it keeps the streak. */
import { AgentError, asAgentError, failureOf } from "../base/errors.ts";
import { changeOfRequest } from "../core/change.ts";
import { withIssuances, withoutDelay, withoutFailure } from "../core/facts.ts";
import { chainToAdopt } from "../core/fit.ts";
import { endOfStorm, isByHand } from "../core/issuing.ts";
import type { Plan } from "../core/plan.ts";
import type { CertificateRequest, Generation, Issuer } from "../core/ports.ts";
import { earliestExpiry } from "../x509/chain.ts";
import { type IssueOrder, issue } from "./issue.ts";
import { logIssued, logSetback } from "./journal.ts";
import { type Memory, save, wasEdited } from "./memory.ts";
import { observedGeneration } from "./observed-generation.ts";

/** Takes over the pair at the outputs, where it fits. Of a wish that is one try, and it is still to be done afterwards. */
export async function adopt(memory: Memory, signal: AbortSignal): Promise<void> {
  const { wish } = memory;
  if (wish !== null) memory.wish = { ...wish, attempted: true };
  await takeOver(memory, signal);
  if (wish?.attempted === false) memory.wish = wish;
}

async function takeOver(memory: Memory, signal: AbortSignal): Promise<void> {
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
  const isForThis = newest !== null && changeOfRequest(newest, request) === undefined;
  if (isForThis && earliestExpiry(chain) <= newest.chainNotAfter) {
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
  { by, base, because }: Plan & { kind: "issue" },
  signal: AbortSignal,
): Promise<void> {
  const { world, desired, edits, generations, wish } = memory;
  const { clock } = world;
  signal.throwIfAborted(); // it may have waited for its turn meanwhile
  const byHand = isByHand(wish);
  if (wish !== null) memory.wish = { ...wish, attempted: true };
  const issuer = world.issuer(desired.request.issuer);
  memory.issuing = true;
  try {
    await save(memory); // what failed before counts even if this process does not live to hear the CA
    const current = base === null ? undefined : await generations.read(base.number);
    const asking = { issuer, current, because, byHand, signal };
    if (by === "renewal as before" && current !== undefined) {
      await renewWhatIsInForce(memory, current, asking);
      return;
    }
    const isElse = by === "renewal as before, else minting" && current !== undefined;
    const setback = isElse ? await renewAsBefore(memory, current, asking) : undefined;
    // Who asks for it wants the change, which is tried as well, at once and once.
    const isEnough = !byHand || wasEdited(memory, edits) || memory.isRetired;
    if (setback === "renewed" && isEnough) return;
    await ask(memory, { desired, renewal: by === "renewal" }, asking).catch((error: unknown) => {
      throw setback instanceof AgentError && !signal.aborted ? alsoTelling(setback, error) : error;
    });
    if (setback instanceof AgentError) logSetback(world.log, memory.name, failureOf(setback));
    // It waits for nothing any more: said before the issuer is told how many do.
    memory.facts = { ...withoutFailure(memory.facts, "issue"), refused: null };
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

const SILENT: ReadonlySet<string> = new Set(["ISSUER_UNREACHABLE", "ISSUER_BUSY"]);

/** Renews what is there, whatever the spec asks for by now. */
async function askAsBefore(memory: Memory, current: Generation, asking: Asking): Promise<void> {
  const request = requestAsBefore(memory, current);
  const issuer = memory.world.issuer(request.issuer);
  await ask(memory, { desired: { ...memory.desired, request }, renewal: true }, { ...asking, issuer });
}

/** An issuer that is configured no more may have been given another name: the spec's is asked, which then knows the leaf. */
function requestAsBefore({ world, desired }: Memory, { request }: Generation): CertificateRequest {
  try {
    world.issuer(request.issuer);
    return request;
  } catch {
    return { ...request, issuer: desired.request.issuer };
  }
}

/** Renews what is in force while a service refuses the newest, which is gone on with once that is deployed. */
async function renewWhatIsInForce(memory: Memory, current: Generation, asking: Asking): Promise<void> {
  const { newest: refused } = memory;
  // On disk before there is a newer one: this process may not live to write it after that.
  memory.facts = { ...memory.facts, refused: refused?.number ?? null };
  await askAsBefore(memory, current, asking);
  memory.refused = refused;
  // What was refused is another pair.
  memory.facts = withoutDelay(withoutFailure(memory.facts, "issue"), "apply", memory.world.clock.now());
}

/**
 * Renews what is there, for as long as a change cannot be had: that is planned anew afterwards, and nothing of it is over.
 * Answers why it could not be renewed where the change is to be asked for all the same.
 */
async function renewAsBefore(memory: Memory, current: Generation, asking: Asking): Promise<AgentError | "renewed"> {
  const { world, desired, edits, newest } = memory;
  try {
    await askAsBefore(memory, current, asking);
    return "renewed";
  } catch (thrown) {
    const error = asAgentError(thrown);
    const now = world.clock.now();
    // A CA that is away or busy is not asked for more; and an answer of no use counts, too.
    const isSilent = SILENT.has(error.code) && requestAsBefore(memory, current).issuer === desired.request.issuer;
    const isHeld = isSilent || (endOfStorm(desired, newest, memory.facts, now) ?? 0) > now;
    if (asking.signal.aborted || isHeld || wasEdited(memory, edits) || memory.isRetired) throw thrown;
    return error;
  }
}

/** A change that cannot be had: what it stands for is also in danger. */
function alsoTelling(setback: AgentError, thrown: unknown): AgentError {
  const { code, message, hint, retryAt } = asAgentError(thrown);
  const [same, other] = [message, setback.message].map((text) => text.replace(/^C/, "c"));
  // Both may end with the same: a new certificate is the last resort of a renewal, too.
  const also = other === same ? "" : `; nor renew what is in force: ${other?.replace(`; ${same}`, "")}`;
  const hints = new Set([hint, setback.hint].filter((text) => text !== undefined));
  return new AgentError(code, `${message}${also}`, {
    hint: hints.size === 0 ? undefined : [...hints].join("; "),
    retryAt,
    cause: thrown,
  });
}
