import { AgentError } from "../base/errors.ts";
import { formatInstant, type Instant, type Milliseconds, SECOND } from "../base/time.ts";
import { addressText } from "../core/address.ts";
import type { Proof } from "../core/facts.ts";
import type { ObservedGeneration } from "../core/plan.ts";
import type { ProbeTarget, Service, ServiceFacts } from "../core/ports.ts";
import type { Certificate } from "../x509/certificate.ts";
import type { Prove } from "./world.ts";

/** How one service was found, and why it is not proven where it is not. */
export interface Verdict {
  readonly proof: Proof;
  readonly failure: AgentError | undefined;
}

/** How long a service is looked at that has not just been reloaded. */
const SHORT_LOOK: Milliseconds = 5 * SECOND;

/**
 * Looks whether a service serves a generation. Where there is no probe, a reload that ended well and a unit that is
 * still active are the proof. `fresh`: it was reloaded a moment ago and may take its time.
 */
export async function proveService(
  service: Service,
  facts: ServiceFacts,
  generation: ObservedGeneration,
  { prove, now, fresh }: { prove: Prove; now: () => Instant; fresh: boolean },
  signal: AbortSignal,
): Promise<Verdict> {
  const proofOf = (proven: boolean, fingerprint: string | null, address: string | null): Proof => ({
    type: service.type,
    fingerprint,
    generation: generation.number,
    at: now(),
    address,
    proven,
  });
  if (facts.probe === null) {
    const failure = unprobed(service, facts, generation);
    return { proof: proofOf(failure === undefined, null, null), failure };
  }

  const address = addressText(facts.probe.address);
  const isGone = facts.liveness === "down" || facts.liveness === "absent";
  const within = fresh && !isGone ? service.timeout : SHORT_LOOK;
  const { proven, seen, error } = await prove(facts.probe, generation.fingerprint, within, signal);
  const proof = proofOf(proven, seen?.fingerprint ?? null, address);
  if (proven) return { proof, failure: undefined };
  return { proof, failure: seen === undefined ? unseen(service, facts, error) : stale(service, facts.probe, seen) };
}

/** Without a probe: undefined where the reload and the unit prove it. */
function unprobed(service: Service, facts: ServiceFacts, generation: ObservedGeneration): AgentError | undefined {
  if (service.passive) return undefined;
  if (facts.liveness === "down" || facts.liveness === "absent") return down(service, facts, undefined);
  const { reloaded } = facts;
  if (reloaded?.generation === generation.number && reloaded.failure === null) return undefined;
  return new AgentError("SERVICE_STALE", `Cannot prove ${service.type}: it has not taken the new files`);
}

function stale(service: Service, { address, serverName }: ProbeTarget, seen: Certificate): AgentError {
  const who = seen.subject === "" ? "a certificate without a name" : `"${seen.subject}"`;
  const name = serverName === null ? "" : ` for ${serverName}`;
  return new AgentError(
    "SERVICE_STALE",
    `${service.type} at ${addressText(address)} still serves another certificate${name}: ${who}, serial ${seen.serial}, until ${formatInstant(seen.notAfter)}`,
    { hint: `does ${service.type} read the files that the spec names? Is the probe's address the right one?` },
  );
}

function unseen(service: Service, facts: ServiceFacts, error: unknown): AgentError {
  return error instanceof AgentError && error.code !== "SERVICE_DOWN" ? error : down(service, facts, error);
}

function down(service: Service, { liveness }: ServiceFacts, error: unknown): AgentError {
  const what = liveness === "absent" ? "it is not installed" : "it is not running";
  const message = error instanceof AgentError ? error.message : `Cannot look at ${service.type}: ${what}`;
  return new AgentError("SERVICE_DOWN", message, {
    hint: "its files are in place; it is looked at again by itself",
    cause: error,
  });
}
