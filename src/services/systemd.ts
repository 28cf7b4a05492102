import * as z from "zod";
import { type Milliseconds, SECOND } from "../base/time.ts";
import type { Service } from "../core/ports.ts";
import { byRecipe, byUnit, HEARD, probeTarget, recipe, unit } from "./recipe.ts";
import { shortName, unitLiveness } from "./unit.ts";

/** Apache with a bad pair: its reload ends well, and the unit fails two seconds later. */
const SETTLE: Milliseconds = 2.5 * SECOND;

/** Any service with a systemd unit: reload or restart, and the unit must stay active for a moment. */
export const systemd = z
  .strictObject({
    type: z.literal("systemd"),
    unit: unit.meta({ description: "The systemd unit." }),
    action: z
      .enum(["reload", "restart"], { error: "write reload or restart" })
      .prefault("reload")
      .meta({ description: "What makes the service take the new files. A restart is never chosen by itself." }),
    window: z
      .never({ error: "maintenance windows are not in this version yet" })
      .optional()
      .meta({ description: "Not in this version yet." }),
    ...recipe,
  })
  .meta({
    description: "Any systemd unit: reloaded or restarted, then watched until it has stayed active for a moment.",
  })
  .transform((spec): Service => {
    const { unit: name, action, timeout, preflight, reload } = spec;
    const called = shortName(name);
    const probe = probeTarget(spec.probe);
    const instead = "give reload: a command that makes the service take its new files, or use type: command";
    return {
      ...byRecipe(spec, {
        check: `check ${called}`,
        act: `${action} ${called}`,
        ...byUnit({ unit: name, action, timeout, settle: SETTLE, place: probe?.address, instead }),
      }),
      type: "systemd",
      called,
      key: JSON.stringify(["systemd", name, action, preflight, reload]),
      probe,
      settle: HEARD,
      liveness: (system, signal) => unitLiveness(system, name, signal),
      defaultProbe: async () => undefined,
    };
  });
