import { isDeepStrictEqual } from "node:util";
import { asAgentError, failureOf } from "../base/errors.ts";
import { type Instant, LONGEST_SLEEP } from "../base/time.ts";
import type { ApplyFacts } from "../core/applier.ts";
import { type Facts, factsAt, factsOfSpec, type Step, type Streak, withFailure } from "../core/facts.ts";
import { endOfStorm, lifetimeInForce } from "../core/issuing.ts";
import { type Observed, type ObservedGeneration, validityOf, type Wish } from "../core/observed.ts";
import type { Desired } from "../core/ports.ts";
import { retryAt } from "../core/retry.ts";
import { LONGEST_BLINDNESS } from "../core/service-needs.ts";
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
  /** The generation for which older ones were removed last; null where that was not yet. */
  tidiedFor: number | null;
  /** Whether an issuance is under way. */
  issuing: boolean;
  /** Whether services were told of new files since they were last looked at. */
  justReloaded: boolean;
  /** Whether something happened outside that the last look cannot know of. */
  lookAfresh: boolean;
  // What was observed last.
  apply: ApplyFacts;
  newest: ObservedGeneration | null;
  deployed: ObservedGeneration | null;
  servedUntil: Instant | null;
  /** When the obstacle at the outputs was first seen. */
  obstacleSince: Instant | null;
  /** When the outputs are looked at again at the earliest. */
  nextLook: Instant;
}

/** What is remembered of a spec, its facts read from the state folder where they were not read before. */
export async function recall(world: World, desired: Desired, broken: Streak | null, known?: Facts): Promise<Memory> {
  const { name } = desired;
  const generations = openGenerations(world.layout.agent.generations(name));
  const facts = factsOfSpec(known ?? (await readFacts(world.layout.agent.facts(name))), desired.digest);
  return {
    world,
    name,
    generations,
    cache: generationCache(generations),
    desired,
    broken,
    facts,
    saved: facts,
    unsaved: null,
    wish: null,
    joinable: false,
    adoptionRefused: false,
    waitsFor: null,
    tidiedFor: null,
    issuing: false,
    justReloaded: false,
    lookAfresh: false,
    apply: unobserved(desired),
    newest: null,
    deployed: null,
    servedUntil: null,
    obstacleSince: null,
    nextLook: 0,
  };
}

/** Looks at the state folder, the outputs and the services. */
export async function observe(memory: Memory, signal: AbortSignal): Promise<void> {
  const { world, cache } = memory;
  memory.facts = factsAt(memory.facts, world.clock.now());
  memory.newest = await cache.newest();
  const before = memory.apply.obstacle;
  memory.apply = (await look(memory, signal)) ?? memory.apply;
  memory.nextLook = world.applier.believedUntil?.(memory.name) ?? world.clock.now() + LONGEST_SLEEP;
  const { obstacle } = memory.apply;
  if (obstacle === null) memory.obstacleSince = null;
  else if (obstacle.message !== before?.message) memory.obstacleSince = world.clock.now();
  memory.deployed = memory.apply.deployed === null ? null : await cache.read(memory.apply.deployed);
  const served = memory.facts.proofs.find(
    (proof) => proof?.proven === true && proof.generation !== memory.newest?.number,
  );
  const old = served?.generation == null ? null : await cache.read(served.generation);
  memory.servedUntil = old === null ? null : old.chainNotAfter;
}

async function look(memory: Memory, signal: AbortSignal): Promise<ApplyFacts | undefined> {
  const { world, name, desired, newest, lookAfresh: afresh } = memory;
  memory.lookAfresh = false;
  try {
    const asked = { name, digest: desired.digest, generation: newest?.number ?? null, afresh };
    return (await world.applier.observe([asked], signal)).get(name);
  } catch (error) {
    memory.lookAfresh ||= afresh;
    throw error;
  }
}

/** What is told of a spec before the first look at it. */
function unobserved({ outputs, services }: Desired): ApplyFacts {
  return {
    deployed: null,
    outputs: outputs.map(({ path, format }) => ({ path, format: format.name, state: "missing", because: null })),
    services: services.map(({ type, probe }) => ({ type, liveness: "unknown", probe: probe ?? null, reloaded: null })),
    adoptable: false,
    obstacle: null,
  };
}

/** What `plan` is asked with. */
export function observedOf(memory: Memory): Observed {
  const { apply, facts, wish, servedUntil, obstacleSince, nextLook, adoptionRefused, newest, world } = memory;
  return {
    generation: newest,
    apply,
    facts,
    wish,
    servedUntil,
    clockSuspectFor: world.clockSuspectFor(),
    obstacleSince,
    nextLook,
    adoptionRefused,
    credentialChanged: false,
  };
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

/** Adds to a step's streak, and tells the journal what failed and when it is tried again. */
export function fail(memory: Memory, step: Step, thrown: unknown): void {
  const { world, name, desired, newest, cache } = memory;
  const error = asAgentError(thrown);
  const now = world.clock.now();
  if (step !== "prove") cache.forget();
  // The leaf's own: an intermediate that ends is a deadline, and makes nobody hurry for ever after it.
  const lifetime = lifetimeInForce(desired, newest);
  const remaining = newest === null ? lifetime : validityOf(newest).notAfter - now;
  const limit = error.code === "SERVICE_DOWN" ? now + LONGEST_BLINDNESS : Number.POSITIVE_INFINITY;
  memory.facts = withFailure(memory.facts, step, failureOf(error), now, (attempt) =>
    Math.min(limit, retryAt(now, { attempt, lifetime, remaining, seed: `${name} ${step}` }, error.retryAt ?? null)),
  );
  const streak = memory.facts.failures[step];
  const held = step === "issue" ? (endOfStorm(desired, newest, memory.facts, now) ?? 0) : 0;
  logFailure(world.log, name, step, error, streak && { ...streak, tryAt: Math.max(streak.tryAt, held) });
}
