import { chainToAdopt } from "../core/fit.ts";
import { reasonToIssue } from "../core/issuing.ts";
import { isInPlace } from "../core/plan.ts";
import type { Certificate } from "../x509/certificate.ts";
import { type Memory, observedOf } from "./memory.ts";
import { observedGeneration } from "./observed-generation.ts";

/**
 * Where an output holds the issuer's trust anchors, and others are pinned by now than when the newest generation was made:
 * makes one of the same key and chain with those, which costs no issuance. Services would else hear of a CA's new root with
 * their next renewal alone, and refuse by then whoever was renewed before. Answers whether there is such a generation.
 */
export async function followAnchors(memory: Memory): Promise<boolean> {
  const { desired, newest } = memory;
  if (newest === null || newest.request.issuer !== desired.request.issuer || !holdAnchors(memory)) return false;
  if (!isAtRest(memory)) return false;
  // What cannot be read is told of by who needs it.
  const pinned = await anchorsOf(memory).catch(() => []);
  const seen = textOf(pinned);
  if (pinned.length === 0 || seen === memory.anchors) return false;
  const isMade = await remake(memory, newest.number, pinned);
  memory.anchors = seen;
  return isMade;
}

/** Answers false where it has them already, or does not chain to them: then it stays as it is until it is renewed. */
async function remake(memory: Memory, number: number, roots: readonly Certificate[]): Promise<boolean> {
  const { world, name, desired, generations } = memory;
  const current = await generations.read(number);
  const next = { ...current, roots };
  if (textOf(current.roots) === textOf(roots)) return false;
  if ("fact" in chainToAdopt({ ...next, request: desired.request, now: world.clock.now() })) return false;
  const generation = await generations.stage(next, memory.apply.deployed);
  memory.cache.keep(generation);
  memory.newest = observedGeneration(generation);
  world.log.info("the issuer has other trust anchors", { certificate: name, generation: generation.number });
  return true;
}

function holdAnchors({ desired }: Memory): boolean {
  return desired.outputs.some(({ format }) => format.holdsAnchors === true);
}

/** Without the network: what the configuration itself gives. */
async function anchorsOf({ world, desired }: Memory): Promise<readonly Certificate[]> {
  return await world.issuer(desired.request.issuer).anchors([]);
}

function textOf(certificates: readonly Certificate[]): string {
  return certificates.map(({ fingerprint }) => fingerprint).join();
}

/** The newest generation is in force, and nothing is asked for. */
function isAtRest(memory: Memory): boolean {
  const observed = observedOf(memory);
  return isInPlace(observed) && reasonToIssue(memory.desired, observed, memory.world.clock.now()) === undefined;
}
