import * as z from "zod";
import { AgentError } from "../base/errors.ts";
import type { Service } from "../core/ports.ts";
import { addressByUnit, clusterAddresses } from "./postgresql-config.ts";
import { keyRefusal } from "./postgresql-key.ts";
import { byRecipe, byUnit, HEARD, probeTarget, recipe, targetAt, unit } from "./recipe.ts";
import { systemdRuns, unitLiveness } from "./unit.ts";

const INSTEAD =
  'give reload: a command, such as ["/usr/bin/pg_ctlcluster", "15", "main", "reload"] or ["/usr/bin/psql", "-c", "SELECT pg_reload_conf()"]';

/**
 * PostgreSQL: there is nothing to check beforehand, every way to reload it reports success whatever happened, and it
 * keeps the old pair where it cannot take the new one. Only a look at what it serves tells.
 */
export const postgresql = z
  .strictObject({
    type: z.literal("postgresql"),
    unit: unit.optional().meta({
      description:
        "The systemd unit; default postgresql.service, on Debian all clusters at once, each of which is looked at that runs with this certificate: `postgresql@15-main.service` is one.",
    }),
    ...recipe,
  })
  .meta({ description: "PostgreSQL: reloaded by its unit, proven by what it serves after an SSLRequest." })
  .transform((spec): Service => {
    const { timeout, preflight, reload } = spec;
    const name = spec.unit ?? "postgresql.service";
    const commands = byRecipe(spec, {
      check: "check PostgreSQL",
      act: "reload PostgreSQL",
      ...byUnit({ unit: name, action: "reload", timeout, settle: 0, instead: INSTEAD }),
    });
    return {
      ...commands,
      type: "postgresql",
      key: JSON.stringify(["postgresql", name, preflight, reload]),
      probe: probeTarget(spec.probe, "postgres"),
      settle: HEARD,
      obstacle: keyRefusal,
      reload: async (system, context, signal) => {
        const refused = keyRefusal(context.outputs);
        if (refused) throw refused;
        return await commands.reload(system, context, signal);
      },
      liveness: async (system, signal) =>
        reload && spec.unit === undefined ? "unknown" : await unitLiveness(system, name, signal),
      defaultProbe: async (system, outputs, signal) => {
        const isOfUnit = (!reload || spec.unit !== undefined) && systemdRuns();
        const told = isOfUnit ? await addressByUnit(system, name, signal) : undefined;
        const found = told ?? (await clusterAddresses(name, outputs));
        if (found instanceof AgentError) return found;
        const [first, ...besides] = "length" in found ? found : [found];
        return { ...targetAt(first, { flavour: "postgres" }), ...(besides.length > 0 && { besides }) };
      },
    };
  });
