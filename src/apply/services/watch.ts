import { listening } from "../../base/connect.ts";
import { AgentError, failureOf } from "../../base/errors.ts";
import { MINUTE, type Milliseconds, SECOND } from "../../base/time.ts";
import { addressText, isAddress, placesOf } from "../../core/address.ts";
import type { ServiceFacts } from "../../core/applier.ts";
import type { Desired, Liveness, ProbeTarget, Service, System } from "../../core/ports.ts";
import { labelled } from "../host.ts";

/** Whether services run and where to look at them, asked no more often than needed: each question may start a process. */
export interface ServiceWatch {
  /** By its unit, and where no unit tells, by a connection to its probe's address. */
  liveness(desired: Desired, service: Service, signal: AbortSignal): Promise<Liveness>;
  /** The same, asked now. */
  livenessNow(desired: Desired, service: Service, signal: AbortSignal): Promise<Liveness>;
  /** The spec's probe, else what the service's own configuration tells. */
  probe(desired: Desired, service: Service, signal: AbortSignal): Promise<Found>;
}

type Found = Pick<ServiceFacts, "probe" | "unseen">;

interface FoundProbe {
  /** Of the spec whose outputs it was found for. */
  readonly digest: string;
  readonly found: Found;
  readonly until: Milliseconds;
}

/** A service that runs is asked again after this; one that does not, at every look. */
const UP_BELIEVED: Milliseconds = 45 * SECOND;
const PROBE_BELIEVED: Milliseconds = 10 * MINUTE;
const NO_PROBE_BELIEVED: Milliseconds = MINUTE;

export function openServiceWatch(system: System): ServiceWatch {
  const alive = new Map<string, Milliseconds>();
  const probes = new Map<string, FoundProbe>();

  const probe: ServiceWatch["probe"] = async (desired, service, signal) => {
    if (service.probe !== undefined) return { probe: service.probe };
    const { name, digest } = desired;
    const key = `${name} ${service.key}`;
    const last = probes.get(key);
    const known = last?.digest === digest ? last : undefined;
    if (known !== undefined && known.until > system.clock.monotonic()) return known.found;
    try {
      const found = foundOf(await service.defaultProbe(labelled(system, name), desired.outputs, signal));
      const believed = found.probe === null ? NO_PROBE_BELIEVED : PROBE_BELIEVED;
      probes.set(key, { digest, found, until: system.clock.monotonic() + believed });
      return found;
    } catch {
      // Asked again at the next look: `nginx -T` fails for as long as the first certificate is not there.
      return known?.found ?? { probe: null };
    }
  };

  const livenessNow: ServiceWatch["livenessNow"] = async (desired, service, signal) => {
    const byUnit = await service.liveness(labelled(system, desired.name), signal);
    const target = byUnit === "unknown" ? (await probe(desired, service, signal)).probe : null;
    if (target === null) return remember(service.key, byUnit);
    return remember(placeOf(desired, service), await answers(system, target, signal));
  };

  /** Two specs may run one command and look at two addresses, and so may one. */
  const placeOf = ({ name }: Desired, { key, probe }: Service): string =>
    `${name} ${key} ${probe === undefined ? "" : addressText(probe.address)}`;
  const believedUntil = (desired: Desired, service: Service): Milliseconds =>
    Math.max(alive.get(service.key) ?? 0, alive.get(placeOf(desired, service)) ?? 0);

  const remember = (key: string, liveness: Liveness): Liveness => {
    if (liveness === "up") alive.set(key, system.clock.monotonic() + UP_BELIEVED);
    else alive.delete(key);
    return liveness;
  };

  return {
    probe,
    livenessNow,
    liveness: async (desired, service, signal) =>
      believedUntil(desired, service) > system.clock.monotonic() ? "up" : await livenessNow(desired, service, signal),
  };
}

function foundOf(told: ProbeTarget | AgentError | undefined): Found {
  if (told instanceof AgentError) return { probe: null, unseen: failureOf(told) };
  const isOne = told !== undefined && placesOf(told).every(({ address }) => isAddress(address));
  return { probe: isOne ? told : null };
}

/** Whether anything takes connections there: what tells up from down where no unit does. */
async function answers({ connect }: System, target: ProbeTarget, signal: AbortSignal): Promise<Liveness> {
  const asked = placesOf(target).map(({ address: to, timeout }) =>
    listening(connect, { to, name: addressText(to), timeout }, signal),
  );
  const found = await Promise.all(asked);
  return (["up", "unknown"] as const).find((one) => found.includes(one)) ?? "down";
}
