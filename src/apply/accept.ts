/**
 * What the root side takes over from the agent's folder. Who wrote there may have been taken over: a generation counts
 * for what it shows, by the root side's own spec and the root that its own configuration pins, never for what it says
 * of itself.
 */
import { createHash, createPublicKey, sign, verify } from "node:crypto";
import { AgentError } from "../base/errors.ts";
import { begunBy, chainToAdopt, requestOf } from "../core/fit.ts";
import type { Desired, Generation } from "../core/ports.ts";
import type { StagedGenerations } from "../store/staged.ts";
import type { Certificate } from "../x509/certificate.ts";
import type { Host } from "./host.ts";
import type { ApplyRecord } from "./record.ts";

/** The pinned anchors of an issuer; of `candidates`, whoever brought them, those that are pinned by their hash. */
export type AnchorsOf = (issuer: string, candidates: readonly Certificate[]) => Promise<readonly Certificate[]>;

/**
 * A generation as it may be deployed: its chain in order and nothing beside it, the pinned anchors in place of those
 * that it brings. It fits the spec, or renews what stands at the outputs although the spec asks for something else by now,
 * and chains to a pinned root now, or within the minutes that this host's clock may be behind. Or it is the very one that
 * stands at the outputs, which may be mended whatever the spec, the configuration and the date say by now. Throws
 * `CHAIN_UNUSABLE` or `KEY_UNUSABLE`.
 */
export async function accept(
  host: Pick<Host, "system" | "anchorsOf">,
  desired: Desired,
  record: ApplyRecord,
  generation: Generation,
  generations: Pick<StagedGenerations, "read">,
): Promise<Generation> {
  if (generation.number === record.deployed && wasAccepted(record, generation)) return generation;
  const accepted = await fitting(host, desired, record, generation).catch(async (error: unknown) => {
    const renewal = await renewalOf(host, desired, record, generation, generations);
    if (renewal === undefined) throw error;
    return renewal;
  });
  if (!signsFor(generation))
    throw new AgentError("KEY_UNUSABLE", `${refusalOf(desired, generation)}: its key cannot sign`);
  return accepted;
}

function refusalOf({ name }: Desired, { number }: Generation): string {
  return `Cannot deploy generation ${number} of "${name}"`;
}

/** A generation that is what the spec asks for, or the very one that stands at the outputs, as it may be deployed. */
async function fitting(
  { system, anchorsOf }: Pick<Host, "system" | "anchorsOf">,
  desired: Desired,
  record: ApplyRecord,
  generation: Generation,
): Promise<Generation> {
  const roots = await anchorsOf(desired.request.issuer, generation.roots);
  const pinned = { ...generation, roots };
  if (generation.number === record.deployed && wasAccepted(record, pinned)) return pinned;
  const now = begunBy(generation.chain, system.clock.now());
  const chain = chainToAdopt({ ...pinned, request: desired.request, now });
  if (!("fact" in chain)) return { ...pinned, chain };
  throw new AgentError("CHAIN_UNUSABLE", `${refusalOf(desired, generation)}: ${chain.fact}`, { hint: chain.hint });
}

/**
 * A generation that is what stands at the outputs, and lives longer, as it may be deployed; undefined where it is anything
 * else. An issuer that the spec names no more is believed where it is still configured and its root has signed what stands there.
 */
async function renewalOf(
  { system, anchorsOf }: Pick<Host, "system" | "anchorsOf">,
  desired: Desired,
  record: ApplyRecord,
  generation: Generation,
  generations: Pick<StagedGenerations, "read">,
): Promise<Generation | undefined> {
  const deployed = await readAccepted(generations, record, record.deployed);
  if (deployed === undefined) return undefined;
  const [old] = deployed.chain;
  const { issuer } = generation.request;
  const pinned = await anchorsOf(issuer, generation.roots).catch(() => []);
  const signedOld = (root: Certificate): boolean =>
    deployed.roots.some(({ fingerprint }) => fingerprint === root.fingerprint);
  const roots = issuer === desired.request.issuer ? pinned : pinned.filter(signedOld);
  const now = begunBy(generation.chain, system.clock.now());
  const chain = chainToAdopt({ ...generation, roots, request: requestOf(old), now });
  return "fact" in chain || chain[0].notAfter <= old.notAfter ? undefined : { ...generation, chain, roots: pinned };
}

/** Whether it is, to the byte, what was accepted under its number and not forgotten since. */
export function wasAccepted({ accepted }: ApplyRecord, generation: Generation): boolean {
  return accepted[generation.number] === digestOfGeneration(generation);
}

/** An earlier generation; undefined where it is none of ours, no longer there, or no longer what it was. */
export async function readAccepted(
  generations: Pick<StagedGenerations, "read">,
  record: ApplyRecord,
  number: number | null,
): Promise<Generation | undefined> {
  if (number === null) return undefined;
  const generation = await generations.read(number).catch(() => undefined);
  return generation !== undefined && wasAccepted(record, generation) ? generation : undefined;
}

/** What the record keeps of the generations that may be deployed again as they are: that in force and the one before. */
export function acceptedStill(
  { accepted }: ApplyRecord,
  { deployed, before }: Pick<ApplyRecord, "deployed" | "before">,
  generation?: Generation,
): ApplyRecord["accepted"] {
  const all =
    generation === undefined ? accepted : { ...accepted, [generation.number]: digestOfGeneration(generation) };
  const kept = new Set([deployed, before].map(String));
  return Object.fromEntries(Object.entries(all).filter(([number]) => kept.has(number)));
}

function digestOfGeneration({ key, chain, roots }: Pick<Generation, "key" | "chain" | "roots">): string {
  const hash = createHash("sha256").update(key.toPem());
  for (const certificate of [...chain, null, ...roots]) hash.update(certificate?.pem ?? "\n");
  return hash.digest("hex");
}

const PROBE = Buffer.from("certagent");

/** A key file may carry one key's public half and another's secret one: a service would take that, and serve nobody. */
function signsFor({ key, chain: [leaf] }: Pick<Generation, "key" | "chain">): boolean {
  const digest = key.keyObject.asymmetricKeyType?.startsWith("ed") ? null : "sha256";
  try {
    return verify(digest, PROBE, createPublicKey(leaf.pem), sign(digest, PROBE, key.keyObject));
  } catch {
    return false;
  }
}
