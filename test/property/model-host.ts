import { AgentError, type Failure, failureOf } from "../../src/base/errors.ts";
import type { Instant } from "../../src/base/time.ts";
import type { Applier, ApplyFacts, ApplyReport, ServiceFacts } from "../../src/core/applier.ts";
import type { ProbeTarget, Prove, Sighting } from "../../src/core/ports.ts";
import { openGenerations } from "../../src/store/generations.ts";
import type { Layout } from "../../src/store/layout.ts";
import type { Certificate } from "../../src/x509/certificate.ts";
import { type HostFault, hostFaultsAt, type Scenario } from "./scenario.ts";
import { type SimulatedTime, turn } from "./simulated-time.ts";

/** What stands on the host for one spec; it outlives the agent. */
export interface ModelSite {
  deployed: number | null;
  /** The leaf in the files. */
  onDisk: Certificate | undefined;
  /** The leaf that the service serves. */
  served: Certificate | undefined;
  drifted: boolean;
  reloaded: ServiceFacts["reloaded"];
  readonly applies: { readonly at: Instant; readonly failed: boolean }[];
  readonly proves: Instant[];
  readonly observes: Instant[];
}

export interface ModelHost {
  site(name: string): ModelSite;
  /** The root side over the state folder that is in force. */
  applier(layout: Layout): Applier;
  readonly prove: Prove;
}

/** A host with one file and one service a spec, with the host faults of a scenario. */
export function modelHost(scenario: Scenario, time: SimulatedTime): ModelHost {
  const sites = new Map<string, ModelSite>();
  const site = (name: string): ModelSite => {
    const known = sites.get(name) ?? emptySite();
    sites.set(name, known);
    return known;
  };
  const has = (fault: HostFault): boolean => hostFaultsAt(scenario, time.truth()).includes(fault);

  /** A service that was down reads the files when it starts. */
  const start = (one: ModelSite): void => {
    if (!has("service-down") && one.served === undefined) one.served = one.onDisk;
    if (has("service-down")) one.served = undefined;
  };

  const observe = async (name: string, layout: Layout): Promise<ApplyFacts> => {
    const one = site(name);
    one.observes.push(time.truth());
    start(one);
    const newest = (await openGenerations(layout.agent.generations(name)).list()).at(-1);
    const state =
      one.deployed === null ? "missing" : one.drifted ? "drifted" : one.deployed === newest ? "current" : "stale";
    return {
      deployed: one.deployed,
      outputs: [
        { path: pathOf(name), format: "fullchain", state, because: state === "current" ? null : `is ${state}` },
      ],
      services: [
        {
          type: "nginx",
          liveness: has("service-down") ? "down" : "up",
          probe: probeOf(name),
          reloaded: one.reloaded,
          servedUntil: null,
        },
      ],
      adoptable: false,
      obstacle: null,
    };
  };

  const apply = async (name: string, layout: Layout): Promise<ApplyReport> => {
    const one = site(name);
    start(one);
    const generations = openGenerations(layout.agent.generations(name));
    const number = (await generations.list()).at(-1);
    if (number === undefined) throw new AgentError("BUG", "apply() was called without a generation");
    const { chain } = await generations.read(number);
    await turn();
    if (has("apply-fails")) {
      one.applies.push({ at: time.truth(), failed: true });
      return report(one, {
        files: "failed",
        failure: failureOf(new AgentError("DEPLOY_FAILED", "Cannot write: disk full")),
      });
    }
    const before = { deployed: one.deployed, onDisk: one.onDisk };
    const isWritten = one.deployed !== number;
    const repaired = one.drifted && !isWritten ? [pathOf(name)] : [];
    Object.assign(one, { deployed: number, onDisk: chain[0], drifted: false });
    await turn();
    if (has("service-down")) {
      one.applies.push({ at: time.truth(), failed: false });
      return report(one, { files: "written", repaired }, "down");
    }
    if (has("reload-fails")) return reloadFails(one, before, isWritten, number);
    one.reloaded = { generation: number, at: time.wall(), failure: null };
    if (!has("keeps-old") || one.served === undefined) one.served = one.onDisk;
    one.applies.push({ at: time.truth(), failed: false });
    return report(one, { files: isWritten ? "written" : "unchanged", repaired }, "reloaded");
  };

  const reloadFails = (
    one: ModelSite,
    before: Pick<ModelSite, "deployed" | "onDisk">,
    isWritten: boolean,
    generation: number,
  ): ApplyReport => {
    const failure = failureOf(new AgentError("RELOAD_FAILED", "Cannot reload nginx: exit status 1"));
    one.reloaded = { generation, at: time.wall(), failure };
    one.applies.push({ at: time.truth(), failed: true });
    if (before.deployed === null || !isWritten) return report(one, { files: "unchanged", failure }, "failed");
    Object.assign(one, before);
    return report(one, { files: "rolled-back", failure }, "failed");
  };

  return {
    site,
    applier: (layout) => ({
      observe: async (asked) => {
        await turn();
        return new Map(await Promise.all(asked.map(async ({ name }) => [name, await observe(name, layout)] as const)));
      },
      adopt: () => Promise.resolve(undefined),
      failed: () => Promise.resolve(),
      forget: () => Promise.resolve(),
      apply: (name) => apply(name, layout),
    }),
    prove: async (target, fingerprint): Promise<Sighting> => {
      await turn();
      const one = site(nameOf(target));
      one.proves.push(time.truth());
      start(one);
      if (one.served?.fingerprint === fingerprint) return { served: true };
      const failure =
        one.served === undefined
          ? new AgentError("SERVICE_DOWN", "Cannot connect: refused")
          : new AgentError("SERVICE_STALE", "Cannot see the certificate: another one is served");
      return { served: false, failure, other: one.served };
    },
  };
}

function emptySite(): ModelSite {
  return {
    deployed: null,
    onDisk: undefined,
    served: undefined,
    drifted: false,
    reloaded: null,
    applies: [],
    proves: [],
    observes: [],
  };
}

function report(
  { deployed }: ModelSite,
  changes: Pick<ApplyReport, "files"> & Partial<ApplyReport>,
  outcome?: "reloaded" | "down" | "failed",
): ApplyReport {
  const failure: Failure | null = changes.failure ?? null;
  const services = outcome === undefined ? [] : [{ type: "nginx", outcome, failure: null, note: null }];
  return { deployed, services, failure, actions: [], repaired: [], ...changes };
}

export function pathOf(name: string): string {
  return `/etc/${name}.crt`;
}

/** Each spec's service is at a host of the spec's name, which is how the model knows who is asked for. */
export function probeOf(name: string): ProbeTarget {
  return { address: { host: name, port: 443 }, starttls: "tls", serverName: null, timeout: 1000 };
}

function nameOf({ address }: ProbeTarget): string {
  return "host" in address ? address.host : "";
}
