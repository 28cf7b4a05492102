import { AgentError, type Failure, failureOf } from "../../base/errors.ts";
import { type Milliseconds, SECOND } from "../../base/time.ts";
import type { Desired, Generation, Liveness, Service } from "../../core/ports.ts";
import { calledOf, isGone } from "../../core/service-needs.ts";
import type { Coalesce } from "../coalesce.ts";
import { type Host, labelled } from "../host.ts";
import { type ApplyRecord, NO_SERVICE_RECORD } from "../record.ts";
import type { ServiceWatch } from "./watch.ts";

/** What it takes to act on services. */
export interface ServiceHost extends Host {
  readonly watch: ServiceWatch;
  readonly preflights: Coalesce<void>;
  readonly reloads: Coalesce<string | undefined>;
  /** Services of which a reload that waits is to start what a failed one brought down, whoever's reload it becomes. */
  readonly revivals: Set<string>;
}

/** One apply: whose, what of, and who may end it. */
export interface ServiceTask {
  readonly host: ServiceHost;
  readonly desired: Desired;
  readonly generation: Generation;
  /** Services, by their index in the spec, that took the generation already and do not serve it. */
  readonly again: readonly number[];
  /** Told each thing that was done, for the report. */
  readonly did: (action: string) => void;
  readonly signal: AbortSignal;
}

/** How a service was before its files were changed. */
export interface Before {
  readonly liveness: Liveness;
  /** Why its configuration was broken already; null where it was not, or was not looked at. */
  readonly broken: Failure | null;
}

/** How long a unit that is down after its reload may take to be up again. */
const COMES_UP: Milliseconds = 5 * SECOND;
/** A look may cost a transient unit. */
const FIRST_WAIT: Milliseconds = 250;
const LONGEST_WAIT: Milliseconds = 2 * SECOND;

/** Looks at all services before a change. `withPreflight` where a pair stands there already. */
export async function lookBefore(task: ServiceTask, withPreflight: boolean): Promise<ReadonlyMap<Service, Before>> {
  const before = new Map<Service, Before>();
  for (const service of task.desired.services) {
    if (service.passive) continue;
    const liveness = await task.host.watch.livenessNow(task.desired, service, task.signal);
    const broken = withPreflight && !isGone(liveness) ? await preflight(task, service) : null;
    before.set(service, { liveness, broken });
  }
  return before;
}

/**
 * A service that has refused a generation and does not run since is given it no second time: it has died of that, maybe,
 * and with the pair of before it can be started again. Answers `SERVICE_DOWN` for one, so that it is looked at soon; null
 * where there is none.
 */
export async function fallenOf(
  { host, desired, generation, signal }: ServiceTask,
  { deployed, services }: ApplyRecord,
): Promise<Failure | null> {
  if (deployed === generation.number) return null;
  for (const service of desired.services) {
    const { reloaded } = services[service.key] ?? NO_SERVICE_RECORD;
    if (reloaded?.generation !== generation.number || reloaded.failure === null) continue;
    if ((await host.watch.livenessNow(desired, service, signal)) !== "down") continue;
    const fact = "it has refused that, and does not run; the pair of before stays in place";
    return {
      code: "SERVICE_DOWN",
      message: `Cannot give generation ${generation.number} to ${calledOf(service)}: ${fact}`,
      hint: "its log shows why; start it: it is told again of newer files once it runs",
      retryAt: null,
    };
  }
  return null;
}

/** Runs a service's own check of its configuration. Answers why it refuses; null where it does not. */
export async function preflight(
  { host, desired, did, signal }: ServiceTask,
  service: Service,
): Promise<Failure | null> {
  try {
    const act = async (): Promise<void> => await service.preflight(labelled(host.system, desired.name), signal);
    await host.preflights(service.key, async () => await host.turns([service.key], "command", act));
    did(service.steps.length > 1 ? (service.steps[0] ?? "checked") : `checked ${calledOf(service)}`);
    return null;
  } catch (error) {
    signal.throwIfAborted(); // what was cut off is no verdict
    const failure = failureOf(error);
    host.log.warning("preflight failed", { certificate: desired.name, service: service.type, reason: failure.message });
    return failure;
  }
}

/**
 * Makes a service take its files and looks whether it lived through that. Returns a note for the operator. Throws
 * `RELOAD_FAILED`, and whatever aborted the signal.
 */
export async function reload(
  { host, desired, generation, did, signal }: ServiceTask,
  service: Service,
  { before, revive }: { readonly before: Liveness; readonly revive: boolean },
): Promise<string | null> {
  const { outputs } = desired;
  const { revivals } = host;
  const { clock } = host.system;
  if (revive) revivals.add(service.key);
  try {
    const act = async (): Promise<string | undefined> => {
      const context = { outputs, generation, revive: revivals.delete(service.key) };
      const note = await service.reload(labelled(host.system, desired.name), context, signal);
      await clock.sleepUntil(clock.now() + (service.settle ?? 0), signal);
      return note;
    };
    const note = await host.reloads(service.key, async () => await host.turns([service.key], "command", act));
    did(service.steps.at(-1) ?? `reloaded ${calledOf(service)}`);
    await livesOn(host, desired, service, before, signal);
    host.log.info("reloaded", { certificate: desired.name, service: service.type, generation: generation.number });
    return note ?? null;
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  }
}

async function livesOn(
  { watch, system }: ServiceHost,
  desired: Desired,
  service: Service,
  before: Liveness,
  signal: AbortSignal,
): Promise<void> {
  if (isGone(before) || !isGone(await watch.livenessNow(desired, service, signal))) return;
  // A unit says when it has ended; where none does, an end looks just like a start that takes its time.
  const byUnit = await service.liveness(labelled(system, desired.name), signal);
  const patience = byUnit === "unknown" ? service.timeout : Math.min(service.timeout, COMES_UP);
  const deadline = system.clock.monotonic() + patience;
  for (
    let wait = FIRST_WAIT;
    isGone(await watch.livenessNow(desired, service, signal));
    wait = Math.min(wait * 1.5, LONGEST_WAIT)
  ) {
    signal.throwIfAborted();
    if (system.clock.monotonic() >= deadline) {
      throw new AgentError("RELOAD_FAILED", `Cannot reload ${calledOf(service)}: it ran before and is down after it`, {
        hint: "its log shows why it ended; where it takes longer to start, write a longer timeout:",
      });
    }
    await system.clock.sleepUntil(system.clock.now() + wait, signal);
  }
}
