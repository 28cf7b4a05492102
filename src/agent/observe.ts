/** What is looked at before each decision, and noted in the memory of its certificate. */
import type { Failure } from "../base/errors.ts";
import { LONGEST_SLEEP } from "../base/time.ts";
import type { ApplyFacts } from "../core/applier.ts";
import { factsAt } from "../core/facts.ts";
import { type Memory, wasEdited } from "./memory.ts";
import { noticeSecret } from "./notice-secret.ts";

/**
 * Looks at the state folder, the outputs and the services. Of a plan that is asked for and a run that begins meanwhile each
 * looks after the other: else the one that takes longer would tell how things stood before the run.
 */
export async function observe(memory: Memory, signal: AbortSignal): Promise<void> {
  const looking = memory.looking.then(() => observeAll(memory, signal)).finally(() => memory.seen.resolve());
  memory.looking = looking.catch(() => {});
  await looking;
}

async function observeAll(memory: Memory, signal: AbortSignal): Promise<void> {
  const { world, cache } = memory;
  memory.facts = factsAt(memory.facts, world.clock.now());
  memory.newest = await cache.newest();
  const before = memory.apply.obstacle;
  memory.apply = (await lookForNow(memory, signal)) ?? { ...memory.apply, obstacle: notInForce(memory.name) };
  memory.nextLook = world.applier.believedUntil?.(memory.name) ?? world.clock.now() + LONGEST_SLEEP;
  const { obstacle } = memory.apply;
  if (obstacle === null) memory.obstacleSince = null;
  else if (obstacle.message !== before?.message) memory.obstacleSince = world.clock.now();
  memory.deployed = memory.apply.deployed === null ? null : await cache.read(memory.apply.deployed);
  memory.refused = memory.facts.refused === null ? null : await cache.read(memory.facts.refused);
  await noticeSecret(memory);
}

/** The facts of the spec as it is now: those of an earlier text may be of other outputs and services. */
async function lookForNow(memory: Memory, signal: AbortSignal): Promise<ApplyFacts | undefined> {
  for (;;) {
    const { edits } = memory;
    const facts = await look(memory, signal);
    if (!wasEdited(memory, edits)) return facts;
  }
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

/** Each side reads the specs for itself: what the root side does not accept, nobody may spend an issuance on. */
function notInForce(name: string): Failure {
  return {
    code: "SPEC_INVALID",
    message: `Cannot apply "${name}": no such spec is in force for the root side`,
    hint: "certagent check, as root",
    retryAt: null,
  };
}
