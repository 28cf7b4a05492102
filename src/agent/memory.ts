import { isDeepStrictEqual } from "node:util";
import { AgentError, asAgentError, failureOf } from "../base/errors.ts";
import type { Instant, Milliseconds } from "../base/time.ts";
import type { ApplyFacts } from "../core/applier.ts";
import { type Facts, factsOfSpec, type Step, type Streak, withFailure, withIssuances } from "../core/facts.ts";
import { baseOf, endOfStorm, lifetimeInForce, reasonToIssue } from "../core/issuing.ts";
import { type Observed, type ObservedGeneration, validityOf, type Wish } from "../core/observed.ts";
import type { Desired } from "../core/ports.ts";
import { LONGEST_DELAY, retryAt } from "../core/retry.ts";
import { isProof, LONGEST_BLINDNESS } from "../core/service-needs.ts";
import { isUnseen, type Managed } from "../core/status.ts";
import { readFacts, writeFacts } from "../store/facts.ts";
import { type Generations, openGenerations } from "../store/generations.ts";
import { logFailure } from "./journal.ts";
import { type GenerationCache, generationCache } from "./observed-generation.ts";
import type { World } from "./world.ts";

/** What is known of one managed certificate; only its own steps change it. */
export interface Memory {
  readonly world: World;
  readonly name: string;
  readonly generations: Generations;
  readonly cache: GenerationCache;
  desired: Desired;
  /** How often the spec was edited, or the configuration that it is asked for with. */
  edits: number;
  /** Whether the spec is in force no more. */
  isRetired: boolean;
  /** Why the spec's newest text is not in force. */
  broken: Streak | null;
  facts: Facts;
  /** What stands on disk of `facts`. */
  saved: Facts;
  /** Why they could not be written, when that was told last; null where they were. */
  unsaved: string | null;
  wish: Wish | null;
  /** A renewal that was asked for is done and still being deployed or proven: what asks again meanwhile joins it. */
  joinable: boolean;
  adoptionRefused: boolean;
  /** Why nothing was done when that was told last; null where it was not yet. */
  waitsFor: string | null;
  /** Why it could not be looked at the last time; null where it could. */
  unseenFor: string | null;
  /** When a secret that came after a refusal was tried at once, within the last hour. */
  noticed: readonly Instant[];
  /** The generation for which older ones were removed last; null where that was not yet. */
  tidiedFor: number | null;
  /** The trust anchors that the newest generation was last compared with, by their fingerprints; null where it was not yet. */
  anchors: string | null;
  /** Whether an issuance is under way. */
  issuing: boolean;
  /** How long services that were told of new files have been looked at since; null where none may take its time any more. */
  lookedFor: Milliseconds | null;
  /** When it was last begun to deploy it. */
  triedAt: Instant;
  /** When its files were written last. */
  wroteAt: Instant;
  /** Whether something happened outside that the last look cannot know of. */
  lookAfresh: boolean;
  /** Resolves once nobody looks at what follows; never rejects. */
  looking: Promise<void>;
  /** Resolved once all that follows was looked at, or could not be. */
  readonly seen: PromiseWithResolvers<void>;
  // What was observed last.
  apply: ApplyFacts;
  newest: ObservedGeneration | null;
  deployed: ObservedGeneration | null;
  refused: ObservedGeneration | null;
  /** When the obstacle at the outputs was first seen. */
  obstacleSince: Instant | null;
  /** When the outputs are looked at again at the earliest. */
  nextLook: Instant;
}

/** What is remembered of a spec, its facts read from the state folder where they were not read before. */
export async function recall(world: World, desired: Desired, broken: Streak | null, known?: Facts): Promise<Memory> {
  const { name } = desired;
  const generations = openGenerations(world.layout.agent.generations(name));
  const facts = factsOfSpec(known ?? (await readFacts(world.layout.agent.facts(name))), textOf(desired));
  const memory: Memory = {
    world,
    name,
    generations,
    cache: generationCache(generations),
    desired,
    edits: 0,
    isRetired: false,
    broken,
    facts,
    saved: facts,
    unsaved: null,
    wish: null,
    joinable: false,
    adoptionRefused: false,
    waitsFor: null,
    unseenFor: null,
    noticed: [],
    tidiedFor: null,
    anchors: null,
    issuing: false,
    lookedFor: null,
    triedAt: 0,
    wroteAt: 0,
    lookAfresh: false,
    looking: Promise.resolve(),
    seen: Promise.withResolvers(),
    apply: unobserved(desired),
    newest: null,
    deployed: null,
    refused: null,
    obstacleSince: null,
    nextLook: 0,
  };
  if (world.readOnly !== true) await countCutOff(memory);
  return memory;
}

/**
 * A process that was killed while it asked the CA may have had a certificate issued, and so may the next one that is: like
 * an answer that never came, it is a failure of then, once. Why it happened, and whether it will again, nobody knows.
 */
async function countCutOff(memory: Memory): Promise<void> {
  const { generations, cache, world, facts } = memory;
  const at = await generations.cutOffAt();
  const now = world.clock.now();
  const heardAt = Math.max(facts.failures.issue?.at ?? 0, facts.issuances.at(-1) ?? 0);
  if (at === null || at > now || now - at > LONGEST_DELAY || at <= heardAt) return;
  memory.newest = await cache.newest().catch(() => null);
  // A renewal that was asked for by hand is not tried again: its wish died, too.
  if (reasonToIssue(memory.desired, observedOf(memory), now) === undefined) return;
  const hint = "it is tried again; why it ended: journalctl -u certagent; journalctl -k";
  const message = "Cannot tell whether a certificate was issued: certagent was killed before the CA had answered";
  // With a certificate in force there is time for the storm breaker, too; a host without one must not wait for hours.
  if (memory.newest !== null && memory.newest.chainNotAfter > now) memory.facts = withIssuances(memory.facts, 1, at);
  fail(memory, "issue", new AgentError("CUT_OFF", message, { hint }), at);
}

/** What facts are of. */
export function textOf({ digest, request }: Desired): { digest: string; issuer: string } {
  return { digest, issuer: request.issuer };
}

/** Whether something was edited since a step began: what came of that says nothing about what is asked for now. */
export function wasEdited({ edits }: Memory, before: number): boolean {
  return edits !== before;
}

const NOT_SEEN = "was not looked at yet";

/** What is told of a spec before the first look at it. */
function unobserved({ outputs, services }: Desired): ApplyFacts {
  return {
    deployed: null,
    outputs: outputs.map(({ path, format }) => ({ path, format: format.name, state: "unknown", because: NOT_SEEN })),
    services: services.map(({ type, probe }) => {
      return { type, liveness: "unknown", probe: probe ?? null, reloaded: null, servedUntil: null };
    }),
    adoptable: false,
    obstacle: null,
  };
}

/** What `plan` is asked with. */
export function observedOf(memory: Memory): Observed {
  const { apply, facts, wish, obstacleSince, nextLook, adoptionRefused, world } = memory;
  return {
    generation: memory.newest,
    deployed: memory.deployed,
    refused: memory.refused,
    apply,
    facts,
    wish,
    clockSuspectFor: world.clockSuspectFor(),
    obstacleSince,
    nextLook,
    adoptionRefused,
    isIssuerBusy: false,
    credentialChanged: false,
  };
}

/** What status is told from. */
export function viewOf(memory: Memory): Managed {
  const { desired, apply, newest, facts, issuing, broken } = memory;
  // Nobody could be asked since the start: what a service was last seen to serve is deployed.
  const isServed = isUnseen(apply) && newest !== null && facts.proofs.some((proof) => isProof(proof, newest));
  const observed = observedOf(memory);
  return { desired, observed: isServed ? { ...observed, deployed: newest } : observed, issuing, broken };
}

/**
 * Writes the facts where they changed. In memory they are right either way, so a full disk is told of, once, and no more:
 * it is tried again whenever the certificate comes to rest.
 */
export async function save(memory: Memory): Promise<void> {
  const { world, name } = memory;
  if (isDeepStrictEqual(memory.facts, memory.saved)) return;
  memory.facts = { ...memory.facts, writtenAt: world.clock.now() };
  const written = memory.facts;
  try {
    await writeFacts(world.layout.agent.facts(name), written);
    memory.saved = written;
    memory.unsaved = null;
  } catch (error) {
    const { message, hint } = asAgentError(error);
    if (message !== memory.unsaved)
      world.log.warning("cannot keep state", { certificate: name, reason: message, hint });
    memory.unsaved = message;
  }
}

/** Adds to a step's streak, and tells the journal what failed and when it is tried again. `now`: when it failed. */
export function fail(memory: Memory, step: Step, thrown: unknown, now: Instant = memory.world.clock.now()): void {
  const { world, name, desired, newest, deployed, cache } = memory;
  const reason = reasonToIssue(desired, observedOf(memory), now);
  const base = reason?.base ?? baseOf(desired, { generation: newest, deployed });
  const error = asAgentError(thrown);
  if (step !== "prove") cache.forget();
  // The leaf's own: an intermediate that ends is a deadline, and makes nobody hurry for ever after it.
  const lifetime = lifetimeInForce(desired, base);
  const remaining = base === null ? lifetime : validityOf(base).notAfter - now;
  const isDown = error.code === "SERVICE_DOWN";
  const before = memory.facts.failures[step];
  // One end is no reason to wait, a second one is.
  const isFirstEnd = error.code === "CUT_OFF" && before === null;
  const limit = now + (isFirstEnd ? 0 : isDown ? LONGEST_BLINDNESS : Number.POSITIVE_INFINITY);
  memory.facts = withFailure(memory.facts, step, failureOf(error), now, (attempt) =>
    Math.min(limit, retryAt(now, { attempt, lifetime, remaining, seed: `${name} ${step}` }, error.retryAt ?? null)),
  );
  const streak = memory.facts.failures[step];
  // A service may be down for days, and is looked at each minute: that is told again when the looks have doubled.
  if (isDown && before?.message === error.message && !isPowerOfTwo(before.attempts + 1)) return;
  const held = step === "issue" ? (endOfStorm(desired, newest, memory.facts, now) ?? 0) : 0;
  logFailure(world.log, name, step, error, streak && { ...streak, tryAt: Math.max(streak.tryAt, held) });
}

function isPowerOfTwo(count: number): boolean {
  return Number.isInteger(Math.log2(count));
}
