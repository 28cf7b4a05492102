import { AgentError, asAgentError } from "../base/errors.ts";
import { shortened } from "../base/printable.ts";
import { formatInstant, type Milliseconds, pause, systemClock } from "../base/time.ts";
import { addressText } from "../core/address.ts";
import type { KeyKind, Probe, ProbeTarget, ProveOptions, Sighting } from "../core/ports.ts";
import type { Certificate } from "../x509/certificate.ts";

/**
 * For a moment after a reload old and new workers answer by turns (measured: up to 150 ms), so one look proves nothing.
 */
const CONSECUTIVE = 3;
/** Where one of two workers keeps the old leaf for good, three in a row come soon all the same. */
const CONSECUTIVE_IN_DOUBT = 20;
const FIRST_WAIT: Milliseconds = 50;
const LONGEST_WAIT: Milliseconds = 1000;

/** Names and serial numbers have tens of kilobytes where a server wants that; what is said of it is kept, and shown. */
const LONGEST_FACT = 128;

/** Looks with `probe` until the leaf of this fingerprint is served on several fresh connections in a row. */
export async function proveBy(
  probe: Probe,
  target: ProbeTarget,
  fingerprint: string,
  { timeout, inDoubt = false, key }: ProveOptions,
  signal: AbortSignal,
): Promise<Sighting> {
  const end = systemClock.monotonic() + timeout;
  let wait = FIRST_WAIT;
  let enough = inDoubt ? CONSECUTIVE_IN_DOUBT : CONSECUTIVE;
  let wasServed = false;
  for (let inRow = 0; ; ) {
    const sighting = await look(probe, target, { fingerprint, kind: kindOf(key) }, signal);
    if (!sighting.served && sighting.other !== undefined && inRow > 0) enough = CONSECUTIVE_IN_DOUBT;
    inRow = sighting.served ? inRow + 1 : 0;
    wasServed ||= sighting.served;
    if (inRow >= enough) return sighting;
    // A row that has begun is finished: it is short, and better than "not proven" of what was just seen.
    if (!sighting.served && (systemClock.monotonic() + wait > end || signal.aborted)) {
      return wasServed && sighting.other !== undefined ? byTurns(sighting) : sighting;
    }
    await pause(sighting.served ? FIRST_WAIT : wait, signal);
    wait = sighting.served ? FIRST_WAIT : Math.min(wait * 1.5, LONGEST_WAIT);
  }
}

/** Not one that keeps its old pair: there a reload helps nobody. */
const BY_TURNS =
  "the right one is served there by turns with it: does an old process run beside the new one (after an upgrade of nginx, the master in nginx.pid.oldbin)?";

function byTurns(sighting: Extract<Sighting, { served: false }>): Sighting {
  const { code, message } = sighting.failure;
  return { ...sighting, failure: new AgentError(code, message, { hint: BY_TURNS }) };
}

interface Wanted {
  readonly fingerprint: string;
  readonly kind: KeyKind | undefined;
}

async function look(probe: Probe, target: ProbeTarget, wanted: Wanted, signal: AbortSignal): Promise<Sighting> {
  try {
    const leaf = await probe(target, signal);
    if (leaf.fingerprint === wanted.fingerprint || (await isBesides(leaf, probe, target, wanted, signal))) {
      return { served: true };
    }
    return { served: false, failure: otherLeaf(target, leaf), other: leaf };
  } catch (error) {
    return { served: false, failure: asAgentError(error), other: undefined };
  }
}

/** Whether the leaf is served to clients that take its kind of key alone, besides the one that others are shown. */
async function isBesides(
  shown: Certificate,
  probe: Probe,
  target: ProbeTarget,
  { fingerprint, kind }: Wanted,
  signal: AbortSignal,
): Promise<boolean> {
  if (kind === undefined || kind === kindOf(shown.key)) return false;
  const leaf = await probe({ ...target, keyKind: kind }, signal).catch(() => undefined); // it has none of that kind
  return leaf?.fingerprint === fingerprint;
}

function kindOf(key: string | undefined): KeyKind | undefined {
  return (["rsa", "ec", "ed25519"] as const).find((kind) => key?.split("-")[0] === kind);
}

function otherLeaf({ address, serverName }: ProbeTarget, leaf: Certificate): AgentError {
  const who = [leaf.subject, leaf.names[0]?.value, leaf.subjectName].find((name) => name !== undefined && name !== "");
  const [name, serial] = [who ?? "", leaf.serial].map((text) => shortened(text, LONGEST_FACT));
  const asked = serverName === null ? "" : ` for ${serverName}`;
  return new AgentError(
    "SERVICE_STALE",
    `Cannot see the certificate at ${addressText(address)}: another one is served there${asked}: "${name}", ` +
      `serial ${serial}, until ${formatInstant(leaf.notAfter)}`,
  );
}
