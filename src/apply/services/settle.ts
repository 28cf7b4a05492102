/** Makes the services of one spec take the files that stand at its outputs, as the contract settles each case. */
import { type Failure, failureOf } from "../../base/errors.ts";
import type { ApplyReport } from "../../core/applier.ts";
import type { Service } from "../../core/ports.ts";
import { hasTaken, isGone, windowOpensAt } from "../../core/service-needs.ts";
import { earliestExpiry } from "../../x509/chain.ts";
import { type ApplyRecord, NO_SERVICE_RECORD, type ServiceRecord } from "../record.ts";
import { type Before, preflight, reload, type ServiceTask } from "./actions.ts";

export type ServiceReport = ApplyReport["services"][number];

export interface Settled {
  readonly reports: readonly ServiceReport[];
  readonly services: ApplyRecord["services"];
  /** Why the change must not stand: what was well before is broken after. Null where nothing is. */
  readonly culprit: Failure | null;
  /** The services that were told of the files, the one that failed too: a rollback must tell them again. */
  readonly told: readonly { readonly service: Service; readonly before: Before }[];
}

type Told = { readonly service: Service; readonly before: Before };
type Step = { report: ServiceReport; record: ServiceRecord; told?: Told; culprit?: Failure };

/**
 * All preflights first, then the reloads in the order of the spec; after one that broke no other is run. `before` holds
 * how services were before files were changed just now; it is empty where none were.
 */
export async function settleServices(
  task: ServiceTask,
  before: ReadonlyMap<Service, Before>,
  record: ApplyRecord,
): Promise<Settled> {
  const { services } = task.desired;
  const due = servicesDue(task, before, record);
  const steps: Step[] = [];
  for (const service of services) {
    const known = record.services[service.key] ?? NO_SERVICE_RECORD;
    steps.push(due.has(service) ? await check(task, service, before.get(service), known) : idle(service, known));
  }
  const isBroken = (): boolean => steps.some(({ culprit }) => culprit !== undefined);
  // One that is named twice, for two addresses, is told at one time: it is then one reload.
  for (const key of new Set(services.map((service) => service.key))) {
    if (isBroken()) break;
    await Promise.all(
      services.map(async (service, index) => {
        const step = steps[index];
        if (service.key !== key || step?.told === undefined) return;
        steps[index] = await take(task, service, step.told, step.record);
      }),
    );
  }
  return {
    reports: steps.map(({ report }) => report),
    services: recordsOf(services, steps),
    culprit: steps.find(({ culprit }) => culprit !== undefined)?.culprit ?? null,
    told: steps.flatMap(({ told, report }) => (told !== undefined && report.outcome !== "waits" ? [told] : [])),
  };
}

/** Of one that is named twice, what it was told stands, though it is down at the other address. */
function recordsOf(services: readonly Service[], steps: readonly Step[]): ApplyRecord["services"] {
  const records = services.map((service, index) => [service.key, steps[index]?.record ?? NO_SERVICE_RECORD] as const);
  const told = records.filter((_, index) => steps[index]?.told !== undefined);
  return Object.fromEntries([...records, ...told]);
}

/**
 * With new files all of them; else those that have not taken the generation, and those that are to take it again; and
 * where there is none of either, all once more.
 */
function servicesDue(
  { desired, generation, again, host }: ServiceTask,
  before: ReadonlyMap<Service, Before>,
  record: ApplyRecord,
): ReadonlySet<Service> {
  const active = desired.services.filter((service) => !service.passive);
  if (before.size > 0) return new Set(active);
  const waiting = active.filter((service) => {
    if (again.includes(desired.services.indexOf(service))) return true;
    const known = record.services[service.key] ?? NO_SERVICE_RECORD;
    const now = host.system.clock.now();
    return !hasTaken(known, generation.number) && windowOpensAt(service, known.servedUntil, now) <= now;
  });
  return new Set(waiting.length > 0 ? waiting : active);
}

function idle({ type }: Service, record: ServiceRecord): Step {
  return { report: { type, outcome: "unchanged", failure: null, note: null }, record };
}

/** Whether the service runs and its configuration holds with the files that stand there. */
async function check(
  task: ServiceTask,
  service: Service,
  measured: Before | undefined,
  record: ServiceRecord,
): Promise<Step> {
  const { type } = service;
  const before = measured ?? {
    liveness: await task.host.watch.livenessNow(task.desired, service, task.signal),
    broken: null,
  };
  if (isGone(before.liveness)) {
    return { report: { type, outcome: before.liveness, failure: null, note: null }, record };
  }
  const broken = await preflight(task, service);
  if (broken !== null) {
    // Files that its check let pass, or that were put there although it was broken, are not what breaks it now.
    const isOld = before.broken !== null || (measured === undefined && record.preflight !== null);
    const outcome = isOld ? "broken-before" : "failed";
    const report: ServiceReport = { type, outcome, failure: broken, note: null };
    return isOld ? { report, record: { ...record, preflight: "broken" } } : { report, record, culprit: broken };
  }
  const checked: ServiceRecord = { ...record, preflight: "well" };
  const now = task.host.system.clock.now();
  const isOpen = windowOpensAt(service, record.servedUntil, now) <= now;
  const report: ServiceReport = { type, outcome: "waits", failure: null, note: null };
  return isOpen ? { report, record: checked, told: { service, before } } : { report, record: checked };
}

async function take(task: ServiceTask, service: Service, told: Told, record: ServiceRecord): Promise<Step> {
  const { desired, generation, host, signal } = task;
  const { type } = service;
  try {
    const note = await reload(task, service, { before: told.before.liveness, revive: false });
    const reloaded = { generation: generation.number, at: host.system.clock.now(), failure: null };
    const taken: ServiceRecord = { ...record, reloaded, servedUntil: earliestExpiry(generation.chain) };
    return { report: { type, outcome: "reloaded", failure: null, note }, record: taken, told };
  } catch (error) {
    signal.throwIfAborted();
    const failure = failureOf(error);
    // Stopped by others before it could be told: as one that was down from the beginning.
    const liveness = failure.code === "SERVICE_DOWN" ? await host.watch.livenessNow(desired, service, signal) : "up";
    if (isGone(liveness)) return { report: { type, outcome: liveness, failure: null, note: null }, record };
    const reloaded = { generation: generation.number, at: host.system.clock.now(), failure };
    return {
      report: { type, outcome: "failed", failure, note: null },
      record: { ...record, reloaded },
      told,
      culprit: failure,
    };
  }
}
