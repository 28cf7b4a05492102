/** The root side behind the port `Applier`: the only way to outputs and services, whatever process it runs in. */

import { type Files, nodeFiles } from "../base/atomic-file.ts";
import { AgentError } from "../base/errors.ts";
import { createLocks } from "../base/locks.ts";
import type { Log } from "../base/log.ts";
import { oneForAll } from "../base/one-for-all.ts";
import type { Instant } from "../base/time.ts";
import type { Applier, ApplyFacts, Asked, ServiceFacts } from "../core/applier.ts";
import type { Desired, System } from "../core/ports.ts";
import { hasTaken } from "../core/service-needs.ts";
import type { Layout } from "../store/layout.ts";
import { fetchedRoots, openStaged, type SpecGenerations } from "../store/staged.ts";
import { type AnchorsOf, accept } from "./accept.ts";
import { adoptPair } from "./adopt.ts";
import { applyNewest, streakOfIssuing } from "./apply.ts";
import { createCoalesce } from "./coalesce.ts";
import { createAccessResolver } from "./files/access.ts";
import { makeOwnFolders } from "./files/folders.ts";
import { openRelabel } from "./files/relabel.ts";
import { createOutputsObserver } from "./observe.ts";
import { type ApplyRecord, NO_SERVICE_RECORD, openRecords } from "./record.ts";
import { finish, finishAll, sweepAll } from "./recover.ts";
import type { ServiceHost } from "./services/actions.ts";
import { openServiceWatch } from "./services/watch.ts";
import { openSpecsInForce, type SpecReading } from "./specs-in-force.ts";
import { createTurns } from "./turns.ts";

export interface ApplierOptions extends SpecReading {
  readonly layout: Layout;
  readonly system: System;
  readonly log: Log;
  /** The trust anchors that a pair must chain to, be it staged or found. Never asks the network. */
  readonly anchors: AnchorsOf;
  /** Removes an issuer's secret that is to be deleted after use, where it was there before `used`. */
  readonly removeUsed: (issuer: string, used: Instant) => Promise<void>;
  readonly files?: Files | undefined;
  /** Only observes: what a killed process left is not finished, which is the daemon's to do. */
  readonly readOnly?: boolean;
}

/** Facts, and of which text and generation they are. */
export interface Look extends Pick<Asked, "digest" | "generation"> {
  readonly facts: ApplyFacts;
}

/** The root side's port, what it does at start, and what it knows by itself. */
export interface RecoveringApplier extends Applier {
  /** The names of the specs in force. `asked`: where all of these were in force a moment ago, those of then will do. */
  specs(asked?: readonly string[]): Promise<readonly string[]>;
  /** The facts of one spec, and what they were judged against; undefined where it is not in force. */
  look(name: string, signal: AbortSignal): Promise<Look | undefined>;
  /** Finishes the changes that a killed process left open. Done once. */
  finish(): Promise<void>;
  /** The same, and removes its leftovers. Done once, before anything is looked at or changed, even where nobody asks. */
  recover(): Promise<void>;
}

export async function createApplier(options: ApplierOptions): Promise<RecoveringApplier> {
  const { layout, system, log } = options;
  const host: ServiceHost = {
    layout,
    system,
    log,
    files: options.files ?? nodeFiles,
    accessOf: createAccessResolver(system),
    anchorsOf: options.anchors,
    relabel: await openRelabel(system),
    turns: createTurns(),
    watch: openServiceWatch(system),
    // A preflight is cheap and the first word on a change: it waits for nobody.
    preflights: createCoalesce(system.clock, 0),
    reloads: createCoalesce(system.clock),
    revivals: new Set(),
  };
  const records = openRecords(host);
  const withLock = createLocks();
  const outputsObserver = createOutputsObserver(host);
  const opened = new Map<string, SpecGenerations>();
  const generationsOf = (name: string): SpecGenerations => {
    const generations = opened.get(name) ?? openStaged(layout, name);
    opened.set(name, generations);
    return generations;
  };
  const specs = openSpecsInForce(options, records.owners, system.clock);

  const makeFolders = oneForAll(() => makeOwnFolders(host)); // a hundred that have none yet are looked at at one time
  const finished = untilDone(() => finishAll(host, specs.all, records, generationsOf));
  const recovered = untilDone(async () => {
    await finished();
    await sweepAll(host, await specs.all(), records);
  });
  const ready = async (): Promise<void> => {
    if (!options.readOnly) await recovered();
  };

  const specOf = async (name: string): Promise<Desired> => {
    const desired = await specs.one(name);
    if (desired !== undefined) return desired;
    throw new AgentError("SPEC_INVALID", `Cannot apply "${name}": no such spec is in force`);
  };

  const look = async (name: string, signal: AbortSignal, asked?: Asked): Promise<Look | undefined> => {
    const desired = await specs.one(name, asked);
    if (desired === undefined) return undefined;
    const record = await records.read(desired.name);
    const generations = generationsOf(desired.name);
    const number = await generations.newest(asked?.generation);
    // The state folder may be gone, and whoever writes there next would make it with the access of what is in it.
    if (number === undefined && !options.readOnly) await makeFolders();
    const seen = await outputsObserver.look(desired, record, number, async () => {
      const staged = await generations.read(number ?? 0);
      // One that is not fit is told of by the apply that refuses it.
      return await accept(host, desired, record, staged, generations).catch(() => staged);
    });
    const { outputs, holdPair, obstacle } = seen;
    const services = await observeServices(host, desired, record, signal);
    const adoptable = number === undefined && holdPair;
    const deployed = owesHook(desired, record) ? null : record.deployed;
    const facts = { deployed, outputs, services, adoptable, obstacle };
    return { digest: desired.digest, generation: number ?? null, facts };
  };

  return {
    finish: async () => {
      if (!options.readOnly) await finished();
    },
    recover: ready,
    specs: specs.names,
    look: async (name, signal) => {
      await ready();
      return await look(name, signal);
    },
    observe: async (asked, signal) => {
      await ready();
      const facts = new Map<string, ApplyFacts>();
      for (const one of asked) {
        const seen = await look(one.name, signal, one);
        if (seen !== undefined) facts.set(one.name, seen.facts);
      }
      return facts;
    },
    adopt: async (name) => {
      await ready();
      const desired = await specOf(name);
      return await withLock(
        name,
        async () => await adoptPair(host, desired, await records.read(name), await fetchedRoots(layout)),
      );
    },
    apply: async (name, signal, again = []) => {
      await ready();
      return await withLock(name, async () => {
        const desired = await specOf(name);
        await using generations = generationsOf(name).held();
        await finish(host, name, desired, records, generations);
        const report = await applyNewest({ host, records, generations, desired, again, signal });
        if (report.failure === null) outputsObserver.applied(desired, await records.read(name));
        return report;
      });
    },
    failed: async (name, signal) => {
      await ready();
      await withLock(name, async () => {
        const [desired, record] = [await specOf(name), await records.read(name)];
        // A wish that is lost in a restart, an edit that is taken back: an end that no apply tells of.
        const newest = await generationsOf(name)
          .newest()
          .catch(() => undefined);
        const isAtRest = record.deployed === newest && isTaken(desired, record);
        await streakOfIssuing({ host, records, desired, signal }, isAtRest);
      });
    },
    forget: async (issuer, used) => {
      await specs.all();
      await options.removeUsed(issuer, used);
    },
  };
}

/** Does `work` once for all who ask; where it failed, again for the next: a full disk may have room then. */
function untilDone(work: () => Promise<void>): () => Promise<void> {
  let done: Promise<void> | undefined;
  return () =>
    (done ??= work().catch((error: unknown) => {
      done = undefined;
      throw error;
    }));
}

/**
 * Whether a process was killed right before the `after` hook of a change: that is not done yet, and the apply that is asked
 * for runs it. Where services are yet to take the files one is asked for anyway.
 */
function owesHook(desired: Desired, record: ApplyRecord): boolean {
  return record.owesAfter && desired.hooks.after !== null && !record.failing && isTaken(desired, record);
}

/** Whether all services have taken what is deployed. */
function isTaken({ services }: Desired, { deployed, services: known }: ApplyRecord): boolean {
  return services.every(({ passive, key }) => passive || hasTaken(known[key], deployed));
}

async function observeServices(
  { watch }: ServiceHost,
  desired: Desired,
  record: ApplyRecord,
  signal: AbortSignal,
): Promise<readonly ServiceFacts[]> {
  const facts: ServiceFacts[] = [];
  for (const service of desired.services) {
    const liveness = await watch.liveness(desired, service, signal);
    const { reloaded, servedUntil } = record.services[service.key] ?? NO_SERVICE_RECORD;
    const found = await watch.probe(desired, service, signal);
    facts.push({ type: service.type, liveness, ...found, reloaded, servedUntil });
  }
  return facts;
}
