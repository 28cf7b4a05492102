import { AgentError, type ErrorCode, errorOf } from "../base/errors.ts";
import { type Instant, LONGEST_SLEEP, type Milliseconds, SECOND } from "../base/time.ts";
import { addressText, placesOf } from "../core/address.ts";
import type { ServiceFacts } from "../core/applier.ts";
import type { Proof } from "../core/facts.ts";
import type { ObservedGeneration } from "../core/observed.ts";
import type { Prove, Service } from "../core/ports.ts";
import { calledOf, hasTaken, isGone } from "../core/service-needs.ts";

/** How one service was found, and why it is not proven where it is not. */
export interface Verdict {
  readonly proof: Proof;
  readonly failure: AgentError | undefined;
  /** Not proven yet, and it has more time for that: nothing has failed. */
  readonly isPending: boolean;
}

/** How long a service is looked at that has not just been reloaded. */
const SHORT_LOOK: Milliseconds = 5 * SECOND;
/** Who may take longer is looked at again: files are put right meanwhile, and an edit or a wish is heard. */
const LONGEST_LOOK: Milliseconds = LONGEST_SLEEP;

interface Looking {
  readonly prove: Prove;
  readonly now: () => Instant;
  readonly lookedFor: Milliseconds | null;
  readonly before: Proof | null;
}

/**
 * Looks whether a service serves a generation. Where there is no probe, a reload that ended well and a unit that is
 * still active are the proof. `lookedFor`: it was told of new files and may take its time, of which so much is over; null
 * where it was not. `before`: how it was found last.
 */
export async function proveService(
  service: Service,
  facts: ServiceFacts,
  generation: ObservedGeneration,
  { prove, now, lookedFor, before }: Looking,
  signal: AbortSignal,
): Promise<Verdict> {
  const proofOf = (failure: AgentError | undefined, fingerprint: string | null, address: string | null): Proof => ({
    type: service.type,
    fingerprint,
    generation: generation.number,
    at: now(),
    address,
    proven: failure === undefined,
    code: failure?.code ?? null,
  });
  if (facts.probe === null) {
    const failure = unprobed(service, facts, generation);
    return { proof: proofOf(failure, null, null), failure, isPending: false };
  }

  const left = lookedFor === null || isGone(facts.liveness) ? 0 : service.timeout - lookedFor;
  const timeout = left > 0 ? Math.min(left, LONGEST_LOOK) : SHORT_LOOK;
  const { fingerprint, key } = generation;
  const options = { timeout, key, inDoubt: isStale(before, generation) };
  const looks = placesOf(facts.probe).map(async (place) => ({
    address: addressText(place.address),
    sighting: await prove(place, fingerprint, options, signal),
  }));
  const found = await Promise.all(looks);
  const serving = found.flatMap(({ address, sighting }) => (sighting.served ? [address] : []));
  const others = found.flatMap(({ address, sighting }) => (sighting.served ? [] : [{ address, ...sighting }]));
  // Of several servers who is down shows nobody an old leaf.
  const stale = others.find(({ failure }) => failure.code !== "SERVICE_DOWN");
  const unproven = stale ?? (serving.length > 0 ? undefined : others[0]);
  if (unproven === undefined) {
    return { proof: proofOf(undefined, fingerprint, serving.join(", ")), failure: undefined, isPending: false };
  }
  const { address, failure, other } = unproven;
  const proof = proofOf(failure, other?.fingerprint ?? null, address);
  return { proof, failure: withHint(failure, calledOf(service), facts), isPending: left > timeout };
}

/** Whether another leaf was seen where this generation was to be served. */
function isStale(proof: Proof | null, { number }: ObservedGeneration): boolean {
  return proof?.generation === number && proof.code === "SERVICE_STALE" && proof.fingerprint !== null;
}

/** Without a probe: undefined where the reload and the unit prove it. */
function unprobed(service: Service, facts: ServiceFacts, generation: ObservedGeneration): AgentError | undefined {
  if (service.passive) return undefined;
  const called = calledOf(service);
  if (isGone(facts.liveness)) {
    const what = facts.liveness === "absent" ? "it is not installed" : "it is not running";
    return withHint(new AgentError("SERVICE_DOWN", `Cannot prove ${called}: ${what}`), called, facts);
  }
  if (facts.unseen !== undefined) return errorOf(facts.unseen);
  if (hasTaken(facts, generation.number)) return undefined;
  return new AgentError("SERVICE_STALE", `Cannot prove ${called}: it has not taken the new files`);
}

/** Whatever runs may listen somewhere else. */
const DOUBT =
  ". If it runs, is the probe's address the right one, or will it listen there only once somebody reloads it?";

/** As `certagent.service` has it; a socket elsewhere is seen. */
const HIDES = /^\/(?:var\/)?(?:run|tmp|home|root)\//;
const HIDDEN =
  "if it is the right one: the agent of certagent.service sees no sockets in /run, /tmp or /home: write a TCP address as the probe's connect:, or bind the socket's folder by a drop-in with BindReadOnlyPaths=";

/** The probe tells what it saw; what to do about it depends on who was looked at. */
function withHint({ code, message, hint, cause }: AgentError, called: string, facts: ServiceFacts): AgentError {
  const address = facts.probe?.address;
  const mayBeHidden = address !== undefined && "path" in address && HIDES.test(address.path);
  const remedies: Partial<Record<ErrorCode, string>> = {
    SERVICE_DOWN:
      mayBeHidden && facts.liveness === "up"
        ? HIDDEN
        : `its files are in place; it is looked at again by itself${facts.probe === null ? "" : DOUBT}`,
    SERVICE_STALE: isGone(facts.liveness)
      ? `${called} does not run, and yet something answers there: what is it, and is unit: the right one?`
      : `does ${called} read the files that the spec names? Are connect: and server_name: of its probe the right ones?`,
  };
  return new AgentError(code, message, { hint: hint ?? remedies[code], cause });
}
