import { join } from "node:path";
import { type ApplierOptions, createApplier, type RecoveringApplier } from "../apply/applier.ts";
import { connect } from "../base/connect.ts";
import { AgentError } from "../base/errors.ts";
import { makeFolders } from "../base/folder.ts";
import { type Milliseconds, SECOND } from "../base/time.ts";
import type { System } from "../core/ports.ts";
import type { Reading, Specs } from "../spec/folder.ts";
import type { Layout } from "../store/layout.ts";
import { lock } from "../store/lock.ts";
import { newIssuer, openSpecs } from "./both-sides.ts";
import { makePlaces } from "./guard.ts";
import { askOutsideToo, steadyFacts } from "./host-facts.ts";
import type { OpenedApplier } from "./mode.ts";
import type { Places, Surroundings } from "./surroundings.ts";

/** Another process of the root side that is at work is waited for so long. */
const PATIENCE: Milliseconds = 5 * SECOND;

export interface RootSideOptions {
  /** Only looks, beside another process: changes nothing. */
  readonly readOnly?: boolean;
  /** How commands are run and services asked: by children and connections of this process unless told. */
  readonly openSystem?: () => Promise<System>;
}

export interface RootSide extends RecoveringApplier {
  /** What stands there: specs in force and broken ones, and what is wrong with the configuration. */
  read(): Promise<Specs>;
  /** Absolute paths of the files that the configuration may have it write or remove. */
  files(): Promise<readonly string[]>;
}

/** The root side in this process. It reads configuration and specs by itself. */
export async function openRootSide(
  places: Places,
  surroundings: Surroundings,
  layout: Layout,
  { readOnly = false, openSystem }: RootSideOptions = {},
): Promise<RootSide> {
  const { clock, run, log } = surroundings;
  // Services go through it, to what the links of `layout: link` lead to.
  if (!readOnly) await makeFolders(places.state, { mode: 0o755 });
  const system = (await openSystem?.()) ?? { clock, run, ask: run, connect };
  const ask = askOutsideToo(system);
  const facts = await steadyFacts(join(layout.apply.folder, "host-facts.json"), { readOnly, ask });
  const folder = await openSpecs(places, surroundings, { lastGoodFolder: layout.apply.specs, facts, readOnly });
  let reading: Reading | undefined;
  const issuerOf = (name: string) => {
    const config = reading?.host?.issuers.get(name);
    if (config !== undefined) return newIssuer(surroundings)(name, config);
    throw new AgentError("SPEC_INVALID", `Cannot use issuer "${name}": the host configuration does not have it`);
  };
  const options: ApplierOptions = {
    layout,
    system,
    log,
    readOnly,
    specs: async (owners) => {
      reading = await folder.read({ owners: async () => owners });
      return new Map([...reading.specs].flatMap(([name, { desired }]) => (desired ? [[name, desired] as const] : [])));
    },
    specIsCurrent: async (name) => (await reading?.isCurrent(name)) === true,
    anchors: async (issuer, candidates) => await issuerOf(issuer).anchors(candidates),
    removeUsed: async (name, used) => await issuerOf(name).removeUsed(used),
  };
  const applier = await createApplier(options);
  const read = async (): Promise<Specs> => {
    await applier.specs(); // reads them
    if (reading === undefined) throw new TypeError("specs were not read");
    return reading;
  };
  const files = async (): Promise<readonly string[]> => {
    const { specs, host } = await read();
    const outputs = [...specs.values()].flatMap(({ desired }) => desired?.outputs ?? []);
    const secrets = [...(host?.issuers.keys() ?? [])].map((name) => issuerOf(name).removable);
    return [...outputs.map(({ path }) => path), ...secrets.filter((path) => path !== undefined)];
  };
  return { ...applier, read, files };
}

/**
 * The same for this process alone, until it is disposed of. Another one that is at work is waited for, `patience` at most
 * and until `signal` aborts. Throws `LOCKED` where that one goes on working.
 */
export async function holdRootSide(
  places: Places,
  surroundings: Surroundings,
  layout: Layout,
  options: RootSideOptions & { readonly patience?: Milliseconds; readonly signal?: AbortSignal } = {},
): Promise<OpenedApplier & { readonly applier: RootSide }> {
  await makePlaces(places, [layout.apply.folder, layout.live, layout.reports]);
  const held = await lock(layout.apply.lock, options.patience ?? PATIENCE, options.signal);
  try {
    const applier = await openRootSide(places, surroundings, layout, options);
    return { applier, recover: () => applier.finish(), [Symbol.asyncDispose]: () => held[Symbol.asyncDispose]() };
  } catch (error) {
    await held[Symbol.asyncDispose]();
    throw error;
  }
}
