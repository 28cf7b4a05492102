import { AgentError, asAgentError, type Failure, failureOf } from "../base/errors.ts";
import { acceptedStill } from "./accept.ts";
import { written } from "./change-outputs.ts";
import { type Previous, restore } from "./previous.ts";
import { type Applying, keep, type Progress } from "./progress.ts";
import { NO_SERVICE_RECORD } from "./record.ts";
import { reload, type ServiceTask } from "./services/actions.ts";
import type { Settled } from "./services/settle.ts";

/**
 * Goes back to what stood at the outputs, and tells the services of that which were told of the change. Answers why the
 * change could not stand.
 */
export async function rollBack(
  applying: Applying,
  progress: Progress,
  previous: Previous,
  { told, reports, culprit }: Settled,
): Promise<Failure> {
  const { host, desired, signal } = applying;
  const cause = culprit?.message ?? "";
  const stats = await restore(host, desired, previous).catch((error: unknown) => {
    progress.files = "failed";
    const { message, hint } = asAgentError(error);
    throw new AgentError("RELOAD_FAILED", `${cause}; going back failed as well: ${message}`, { hint, cause: error });
  });
  progress.files = "rolled-back";
  const to = previous.number === null ? "what was there before" : `generation ${previous.number}`;
  progress.actions.push(`went back to ${to}`);
  host.log.warning("went back", { certificate: desired.name, to, reason: cause });
  // What is others' again, or nothing, is none of certagent's from then on.
  const gone = new Set(previous.others.filter(({ before }) => before.kind !== "spoilt").map(({ path }) => path));
  const files = Object.entries(progress.record.files).filter(([path]) => !gone.has(path));
  const services = { ...progress.record.services };
  await keep(applying, progress, {
    deployed: previous.number,
    before: null,
    accepted: acceptedStill(progress.record, { deployed: previous.number, before: null }),
    owesAfter: false,
    files: { ...Object.fromEntries(files), ...written(previous.files, stats) },
  });

  const did = (action: string): void => void progress.actions.push(action);
  const task: ServiceTask = { host, desired, generation: previous.generation, again: [], did, signal };
  const notes = new Map<string, string>();
  for (const [key, { service, before }] of new Map(told.map((one) => [one.service.key, one]))) {
    const known = services[key] ?? NO_SERVICE_RECORD;
    try {
      const note = await reload(task, service, { before: before.liveness, revive: before.liveness === "up" });
      notes.set(key, note ?? `went back to ${to}`);
      const hadFailed = known.reloaded?.failure !== null;
      const reloaded = { generation: previous.number ?? 0, at: host.system.clock.now(), failure: null };
      if (!hadFailed) services[key] = { ...known, reloaded };
    } catch (error) {
      signal.throwIfAborted();
      notes.set(key, `going back to ${to} did not help: ${failureOf(error).message}`);
    }
  }
  progress.services = reports.map((report, index) => ({
    ...report,
    outcome:
      report.failure === null && report.outcome !== "down" && report.outcome !== "absent"
        ? "unchanged"
        : report.outcome,
    note: notes.get(desired.services[index]?.key ?? "") ?? report.note,
  }));
  await keep(applying, progress, { services });
  return { code: "RELOAD_FAILED", hint: null, retryAt: null, ...culprit, message: `${cause}; went back to ${to}` };
}
