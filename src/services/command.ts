import * as z from "zod";
import type { Service } from "../core/ports.ts";
import { execute, showCommand } from "./execute.ts";
import { argv, HEARD, probeTarget, recipe } from "./recipe.ts";

/** Any service that a command reloads. */
export const command = z
  .strictObject({
    type: z.literal("command"),
    ...recipe,
    reload: argv.meta({ description: "The command that makes the service take the new files." }),
  })
  .meta({ description: "Any service that a command reloads; without a probe its exit code is the proof." })
  .transform(({ preflight, reload, timeout, probe }): Service => {
    return {
      type: "command",
      called: "the service",
      key: JSON.stringify(["command", preflight, reload]),
      steps: [...(preflight ? [showCommand(preflight)] : []), showCommand(reload)],
      probe: probeTarget(probe),
      timeout,
      settle: HEARD,
      passive: false,
      window: null,
      preflight: async (system, signal) => {
        if (preflight) await execute(system, preflight, { action: "check before the reload", timeout }, signal);
      },
      reload: async (system, _context, signal) => {
        await execute(system, reload, { action: "reload", timeout }, signal);
        return undefined;
      },
      liveness: async () => "unknown",
      defaultProbe: async () => undefined,
    };
  });
