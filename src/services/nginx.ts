import * as z from "zod";
import { AgentError } from "../base/errors.ts";
import type { Service, System } from "../core/ports.ts";
import { execute } from "./execute.ts";
import { servedByNginx } from "./nginx-config.ts";
import { calledBy, HOSTS_OWN, startedByUnit } from "./nginx-program.ts";
import { byRecipe, byUnit, HEARD, probeTarget, recipe, unit } from "./recipe.ts";
import { requireFit, systemdRuns, unitLiveness } from "./unit.ts";

const UNIT = "nginx.service";
const INSTEAD = 'give reload: a command that reloads this nginx, such as ["/usr/sbin/nginx", "-s", "reload"]';

/**
 * nginx: `nginx -t`, then a reload of its unit. It parses first and keeps the old pair where anything in its
 * configuration is wrong; a reload that went well and was not taken shows only in what it serves, and it still serves
 * the old leaf for a moment after `systemctl reload` has returned.
 */
export const nginx = z
  .strictObject({
    type: z.literal("nginx"),
    unit: unit.optional().meta({
      description:
        "The systemd unit; default nginx.service. Of several nginx this tells which one is checked and looked at, as a preflight or reload that calls nginx does.",
    }),
    ...recipe,
  })
  .meta({ description: "nginx: checked by `nginx -t`, reloaded by its unit, proven by what it serves." })
  .transform((spec): Service => {
    const name = spec.unit ?? UNIT;
    const { timeout } = spec;
    const called = calledBy(spec.preflight) ?? calledBy(spec.reload);
    const itself = async (system: System, signal: AbortSignal): Promise<readonly string[]> =>
      called ?? (spec.unit !== undefined && systemdRuns() ? await startedByUnit(system, name, signal) : HOSTS_OWN);
    // With a command or a unit of its own, nginx may run in a container, and the host's program of that name is another's.
    const mayBeElsewhere = spec.reload !== undefined || spec.unit !== undefined;
    const check = spec.preflight ?? [...(called ?? HOSTS_OWN), "-t"];
    const commands = byRecipe(
      { ...spec, preflight: check },
      {
        check: "check the configuration of nginx",
        act: "reload nginx",
        ...byUnit({ unit: name, action: "reload", timeout, settle: 0, instead: INSTEAD }),
      },
    );
    return {
      ...commands,
      type: "nginx",
      key: JSON.stringify(["nginx", name, check, spec.reload]),
      probe: probeTarget(spec.probe),
      settle: HEARD,
      preflight: async (system, signal) => {
        const hint = "nginx refuses its whole configuration until this is mended";
        const own = spec.preflight ?? [...(await itself(system, signal)), "-t"];
        await execute(system, own, { action: "check the configuration of nginx", timeout, hint }, signal);
        await requireFit(commands.unfit, system, signal);
      },
      // Nor has one that is reloaded by `nginx -s reload` to be a unit's.
      liveness: async (system, signal) =>
        spec.reload && spec.unit === undefined ? "unknown" : await unitLiveness(system, name, signal),
      defaultProbe: async (system, outputs, signal) => {
        const program = await itself(system, signal);
        const found = await servedByNginx(system, [...program, "-T"], outputs, signal);
        return found instanceof AgentError && program === HOSTS_OWN && mayBeElsewhere ? undefined : found;
      },
    };
  });
