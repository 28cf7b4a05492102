import type { Adopted } from "../core/applier.ts";
import { chainToAdopt } from "../core/fit.ts";
import type { Desired } from "../core/ports.ts";
import { certificatesIn, pairIn } from "./files/pair.ts";
import { lookAt, outputPlaces } from "./files/target.ts";
import type { Host } from "./host.ts";
import type { ApplyRecord } from "./record.ts";

/**
 * The pair that stands at a spec's outputs, in order, where it fits the spec by names, dates and chain. `fetched`: the
 * roots that the agent has, of which a pinned fingerprint picks its own.
 */
export async function adoptPair(
  host: Host,
  desired: Desired,
  record: ApplyRecord,
  fetched: readonly Uint8Array[],
): Promise<Adopted | undefined> {
  const files: Uint8Array[] = [];
  for (const place of outputPlaces(host, desired, record)) {
    const found = await lookAt(host, place, await host.accessOf(place.output));
    if (found.kind === "file") files.push(found.bytes);
  }
  const pair = pairIn(files);
  if (pair === undefined) return undefined;
  const roots = await host.anchorsOf(desired.request.issuer, [...files, ...fetched].flatMap(certificatesIn));
  const chain = chainToAdopt({ request: desired.request, ...pair, roots, now: host.system.clock.now() });
  const { name: certificate } = desired;
  if ("fact" in chain) {
    host.log.info("the pair at the outputs does not fit the spec", { certificate, because: chain.fact });
    return undefined;
  }
  host.log.info("handed over the pair at the outputs", { certificate, fingerprint: chain[0].fingerprint });
  return { key: pair.key, chain };
}
