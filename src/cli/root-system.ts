import { join } from "node:path";
import { createRelayConnect } from "../apply/services/relay-connect.ts";
import { createUnitRun, sweepUnits } from "../apply/services/unit-run.ts";
import { connect } from "../base/connect.ts";
import type { System } from "../core/ports.ts";
import { systemdRuns } from "../services/unit.ts";
import type { World } from "./command.ts";

/**
 * The world of a root side that is confined itself: where systemd runs, commands and TCP connections have units of their
 * own; elsewhere they are this process's children and connections. To be called by the one root side that is at work.
 */
export async function openRootSystem(
  world: Pick<World, "clock" | "run" | "program">,
  runtime: string,
): Promise<System> {
  const { clock, run, program } = world;
  if (!systemdRuns()) return { clock, run, ask: run, connect };
  await sweepUnits(run);
  const folder = join(runtime, "output");
  return { clock, run: createUnitRun(run), ask: run, connect: createRelayConnect({ ask: run, program, folder }) };
}
