import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { checkNames } from "../agent/controlled.ts";
import { asAgentError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { openNotifier } from "../base/notify.ts";
import type { Run } from "../base/run.ts";
import { shellWord } from "../base/shell-word.ts";
import { MINUTE, type Milliseconds } from "../base/time.ts";
import type { ApplyReport } from "../core/applier.ts";
import { systemdRuns } from "../services/unit.ts";
import { formatProblem } from "../spec/problem.ts";
import type { SpecEntry } from "../spec/settle.ts";
import type { Layout } from "../store/layout.ts";
import { misused } from "./arguments.ts";
import { type Command, type ExitCode, type Invocation, placesOf, type World } from "./command.ts";
import { LOG_OPTION, withLog } from "./logging.ts";
import type { OpenedApplier } from "./mode.ts";
import type { Print } from "./print.ts";
import type { RootSide } from "./root-side.ts";
import { overdue, stopSignal } from "./signals.ts";
import { layoutIn, surroundingsOf } from "./surroundings.ts";

export const apply: Command = {
  name: "apply",
  summary: "makes outputs and services true for what the agent has issued (the root side)",
  operands: "NAME… | --requests | --recover",
  options: [
    { name: "requests", description: "serve what the agent asks, until it asks no more (certagent-apply.service)" },
    { name: "recover", description: "finish what a power cut left, and tell no service (certagent-recover.service)" },
    LOG_OPTION,
  ],
  description: `Writes the newest certificate that the agent has issued for a spec to its outputs, and makes its services take it,
as far as that is not so already; where nothing is left to do, all its services are told once more (a restart is one
too, where the spec asks for it). It takes paths, owners and commands from specs and configuration alone, and what
the agent has issued only where it fits them. With certagent run --apply broker the agent asks for all this by
itself, through files that --requests serves. One such process works at a time; another one waits for it.
Where systemd runs, each command of a spec or of a recipe has a unit of its own, certagent-run-NAME-….service, with
its deadline, at most half of the memory, and its output in the journal. A drop-in in
/etc/systemd/system/certagent-run-.service.d/ changes these limits for all of them.`,
  examples: [["certagent apply web", "by hand, while the agent's way to it is broken"]],
  exitCodes: [
    [0, "done: files are right, and services have taken them"],
    [1, "something failed, could not be finished or is not in force, or another process holds the root side's state"],
    [2, "used wrongly, or there is no spec of that name"],
  ],
  run: (invocation, world) =>
    withLog(invocation, world, async (log) =>
      Promise.race([doApply(invocation, world, log), overdue(world.signals, log).then((): ExitCode => 1)]),
    ),
};

/** What serves for as long as it is asked is waited for no longer than a person would. */
const PATIENCE: Milliseconds = MINUTE / 2;

async function doApply(invocation: Invocation, world: World, log: Log): Promise<ExitCode> {
  const names = invocation.operands;
  const ways = [names.length > 0, invocation.isSet("requests"), invocation.isSet("recover")].filter(Boolean);
  if (ways.length !== 1) {
    throw misused("apply takes names, --requests or --recover", "certagent apply web", "certagent apply --help");
  }
  const signal = stopSignal(world.signals);
  const places = placesOf(invocation);
  const surroundings = surroundingsOf(world, log);
  const layout = await layoutIn(places);
  const [{ holdRootSide }, { openRootSystem }] = await Promise.all([
    import("./root-side.ts"),
    import("./root-system.ts"),
  ]);
  // At boot no service is told anything, and what it takes to do that is not there yet.
  const outside = invocation.isSet("recover") ? {} : { openSystem: () => openRootSystem(world, places.runtime) };
  const open = () => holdRootSide(places, surroundings, layout, { patience: PATIENCE, signal, ...outside });
  if (invocation.isSet("requests")) return await serveRequests(open, layout, world, log, signal);
  const isByHand = names.length > 0;
  if (isByHand) await (await import("./offline.ts")).requirePlaces(places);
  await using opened = await open();
  await opened.recover();
  if (!isByHand) return await tellOpen(layout, log);
  try {
    return await applyAll(opened.applier, names, { print: world.print, log }, signal);
  } catch (error) {
    if (!signal.aborted) throw error;
    log.warning("stopped while work was under way; the next start looks at it", { certificates: names });
    return 1;
  }
}

/** What could not be finished leaves files as they are, perhaps of two generations: that is no success. */
async function tellOpen(layout: Layout, log: Log): Promise<ExitCode> {
  const { openIntents } = await import("../apply/files/intent.ts");
  const open = await openIntents(layout);
  for (const name of open) {
    const remedy = `certagent apply ${name}; where its spec is gone for good: rm ${shellWord(`${layout.apply.intents}/${name}.json`)}`;
    log.error("a change that was cut off stays open", { certificate: name, hint: remedy });
  }
  return open.length === 0 ? 0 : 1;
}

type Opened = OpenedApplier & { readonly applier: RootSide };

async function serveRequests(
  open: () => Promise<Opened>,
  layout: Layout,
  { clock, env, run }: World,
  log: Log,
  signal: AbortSignal,
): Promise<ExitCode> {
  const { LINGER, serve } = await import("../apply/requests/serve.ts");
  const notifier = openNotifier(env, (reason) => log.warning("cannot tell the service manager", { reason }));
  await using opened = await open().catch(async (error: unknown) => {
    if (asAgentError(error).code !== "LOCKED") throw error;
    // What is asked lies there for the next start; or another process that serves has taken all.
    if (signal.aborted || (await readdir(layout.requests)).every((name) => name.startsWith("."))) return undefined;
    throw error;
  });
  if (opened === undefined) return 0;
  const { applier } = opened;
  const alive = (): void => notifier.extendTimeout(PATIENCE * 2);
  await serve(
    { applier, layout, clock, log, linger: LINGER, alive, mayServe: await openMayServe(applier, layout, run, log) },
    signal,
  );
  return 0;
}

/** Where systemd confines this process, it has to be told first what the specs want written. */
async function openMayServe(applier: RootSide, { apply }: Layout, ask: Run, log: Log): Promise<() => Promise<boolean>> {
  if (!systemdRuns()) return async () => true;
  const { createWritablePaths } = await import("../apply/requests/writable-paths.ts");
  const paths = createWritablePaths({ ask, log, list: join(apply.folder, "outputs.conf") });
  // What is wrong with the configuration is told to each who asks.
  return async () => (await paths.open(await applier.files().catch(() => []))) === "ready";
}

async function applyAll(
  applier: RootSide,
  names: readonly string[],
  { print, log }: Pick<World, "print"> & { readonly log: Log },
  signal: AbortSignal,
): Promise<ExitCode> {
  const { specs, problems } = await applier.read();
  checkNames({ names: () => [...specs.keys()] }, names);
  for (const problem of problems) {
    log.warning("configuration problem", { reason: formatProblem(problem), hint: problem.hint ?? undefined });
  }
  const chosen = [...new Set(names)].flatMap((name) => specs.get(name) ?? []);
  const reports = await Promise.all(
    chosen.map(async (spec) => {
      const report = spec.desired === undefined ? undefined : await applier.apply(spec.name, signal);
      return { spec, report };
    }),
  );
  for (const { spec, report } of reports) printReport(print, spec, report);
  return reports.every(({ spec, report }) => spec.problems.length === 0 && report && isDone(report)) ? 0 : 1;
}

/** What is down or absent takes its files when it starts. */
function isDone({ failure, services }: ApplyReport): boolean {
  return failure === null && services.every((service) => service.failure === null);
}

/** Without a report nothing of the spec is in force. */
function printReport(
  print: Print,
  { name, usingLastGood, problems }: SpecEntry,
  report: ApplyReport | undefined,
): void {
  const verdict =
    report !== undefined && isDone(report)
      ? ({ text: report.files, style: "green" } as const)
      : ({ text: "failed", style: "red" } as const);
  const generation = (report?.deployed ?? null) === null ? "" : `, generation ${report?.deployed}`;
  const from = usingLastGood ? ", from the last good version" : "";
  print.line({ text: name, style: "bold" }, ": ", verdict, generation, from);
  for (const action of report?.actions ?? []) print.line(`  ${action}`);
  for (const { type, outcome, note } of report?.services ?? [])
    print.line(`  ${type}: ${outcome}${note === null ? "" : `, ${note}`}`);
  const failures = [report?.failure, ...(report?.services ?? []).map(({ failure }) => failure)];
  const broken = problems.map((problem) => ({ message: formatProblem(problem), hint: problem.hint }));
  for (const each of [...failures, ...broken]) {
    if (each == null) continue;
    print.line(`  ${each.message}`);
    for (const hint of each.hint?.split("\n") ?? []) print.line(`  hint: ${hint}`);
  }
}
