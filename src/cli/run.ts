import type { Log } from "../base/log.ts";
import { keepMallocSmall } from "../base/malloc.ts";
import { openNotifier } from "../base/notify.ts";
import { type Command, type Invocation, placesOf, type World } from "./command.ts";
import { APPLY_OPTION, checkStart, lockState, modeOf, sweepGenerations } from "./guard.ts";
import { LOG_OPTION, withLog } from "./logging.ts";
import { overdue } from "./signals.ts";
import { layoutIn, surroundingsOf } from "./surroundings.ts";
import { VERSION } from "./version.ts";

export const run: Command = {
  name: "run",
  summary: "the daemon, in the foreground",
  operands: "",
  options: [APPLY_OPTION, LOG_OPTION],
  description: `Keeps every spec's certificate valid, in its files, and proven to be served, until it is stopped. What is done
or not done, why, and when it is tried next, is told on standard error, one line an event.

Signals: SIGHUP reads configuration and specs again and renews every certificate now; SIGUSR1 tells a line of
status for each; SIGTERM finishes the file set in hand and ends within ten seconds. Under systemd
(Type=notify-reload) readiness, reloads, status and the watchdog are told to it.`,
  examples: [
    ["systemctl start certagent", "as a service"],
    ["certagent run --config ./certagent.yaml --specs ./specs --state ./state --runtime ./run", "without root"],
    ["systemctl reload certagent", "renew everything now"],
  ],
  exitCodes: [
    [0, "stopped by SIGTERM or Ctrl-C"],
    [1, "could not start; also: another agent holds the state folder"],
    [2, "used wrongly"],
  ],
  run: (invocation, world) =>
    withLog(invocation, world, async (log) => {
      await Promise.race([serve(invocation, world, log), overdue(world.signals, log)]);
      return 0;
    }),
};

async function serve(invocation: Invocation, world: World, log: Log): Promise<void> {
  checkStart(world);
  await keepMallocSmall();
  const { clock, env, signals } = world;
  const places = placesOf(invocation);
  const [{ assemble }, { daemon }] = await Promise.all([import("./assemble.ts"), import("../agent/daemon.ts")]);
  const surroundings = surroundingsOf(world, log);
  const layout = await layoutIn(places);
  const mode = modeOf(invocation, world);
  await using _lock = await lockState(places, layout);
  await using opened = await mode.open(places, surroundings, layout);
  const agent = await assemble(places, surroundings, layout, opened.applier);
  const notifier = openNotifier(env, (reason) => log.warning("cannot tell the service manager", { reason }));
  await daemon({
    agent,
    clock,
    log,
    notifier,
    signals,
    control: layout.control,
    identity: { version: VERSION, pid: process.pid, since: clock.now(), apply: mode.name },
    watched: [places.specs, places.config],
    recover: () => opened.recover(),
    sweep: () => sweepGenerations(layout),
  });
}
