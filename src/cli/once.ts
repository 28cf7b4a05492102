import { stat } from "node:fs/promises";
import { checkNames } from "../agent/controlled.ts";
import type { Logger } from "../base/logger.ts";
import type { CertificateStatus } from "../core/status-document.ts";
import { type Command, type ExitCode, type Invocation, placesOf, type World } from "./command.ts";
import { APPLY_OPTION, checkStart, lockState, modeOf, sweepGenerations } from "./guard.ts";
import { LOG_OPTION, withLog } from "./logging.ts";
import { overdue, stopSignal } from "./signals.ts";
import { printStatus } from "./status-table.ts";
import { layoutIn, surroundingsOf } from "./surroundings.ts";

export const once: Command = {
  name: "once",
  summary: "brings everything up to date once and exits (cloud-init, images, cron)",
  operands: "[NAME…]",
  options: [APPLY_OPTION, LOG_OPTION],
  description: `Does for the named specs, or for all, what the daemon would do now: issues what is due, writes files, reloads
services and looks at what they serve. A try is made whatever failed before. Then the status is printed.
Not beside a running agent: that one does the same by itself. Where the state folder belongs to another user, root
does the agent's half as that user.`,
  examples: [
    ["certagent once", "in cloud-init, or from cron on a host without a daemon"],
    ["certagent once host", "one certificate, at first boot"],
  ],
  exitCodes: [
    [0, "all files are right, and each service is proven, down or not installed"],
    [1, "something failed, or another agent holds the state folder"],
    [2, "used wrongly, or there is no spec of that name"],
  ],
  run: (invocation, world) =>
    withLog(invocation, world, async (log, logger) =>
      Promise.race([bringUpToDate(invocation, world, logger), overdue(world.signals, log).then((): ExitCode => 1)]),
    ),
};

async function bringUpToDate(invocation: Invocation, world: World, logger: Logger): Promise<ExitCode> {
  checkStart(world);
  const places = placesOf(invocation);
  const [{ assemble }, { requirePlaces }] = await Promise.all([import("./assemble.ts"), import("./offline.ts")]);
  await requirePlaces(places);
  const surroundings = surroundingsOf(world, logger.log);
  const layout = await layoutIn(places);
  const owner = await stat(layout.agent.folder).catch(() => undefined);
  if (world.uid === 0 && owner !== undefined && owner.uid !== 0) {
    const { onceApart } = await import("./once-apart.ts");
    return await onceApart({ uid: owner.uid, gid: owner.gid }, invocation, world, layout, logger);
  }
  const signal = stopSignal(world.signals);
  await using _lock = await lockState(places, layout);
  await using opened = await modeOf(invocation, world).open(places, surroundings, layout);
  const agent = await assemble(places, surroundings, layout, opened.applier);
  await opened.recover();
  await agent.reread();
  checkNames(agent, invocation.operands);
  await sweepGenerations(layout);
  await agent.once(invocation.operands, signal);
  await agent.settled();
  const certificates = agent.status(invocation.operands);
  printStatus(world.print, certificates, world.clock.now());
  return certificates.every(isSettled) && !signal.aborted ? 0 : 1;
}

/** What is down or absent takes its files when it starts: nothing is left to do. */
function isSettled({ state, outputs, failure }: CertificateStatus): boolean {
  const isDone = failure === null || failure.code === "SERVICE_DOWN";
  return (
    isDone && (state === "current" || state === "unproven") && outputs.every((output) => output.state === "current")
  );
}
