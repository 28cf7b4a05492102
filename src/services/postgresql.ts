import * as z from "zod";
import type { Service } from "../core/ports.ts";
import { execute, showCommand } from "./execute.ts";
import { addressByUnit, clusterAddresses } from "./postgresql-config.ts";
import { keyRefusal } from "./postgresql-key.ts";
import { HEARD, probeTarget, recipe, targetAt, unit } from "./recipe.ts";
import { changeUnit, shortName, systemdRuns, unitLiveness } from "./unit.ts";

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
    return {
      type: "postgresql",
      key: JSON.stringify(["postgresql", name, preflight, reload]),
      steps: [
        ...(preflight ? [showCommand(preflight)] : []),
        reload ? showCommand(reload) : `systemctl reload ${shortName(name)}`,
      ],
      probe: probeTarget(spec.probe, "postgres"),
      timeout,
      settle: HEARD,
      passive: false,
      window: null,
      obstacle: keyRefusal,
      preflight: async (system, signal) => {
        if (preflight) await execute(system, preflight, { action: "check PostgreSQL", timeout }, signal);
      },
      reload: async (system, context, signal) => {
        const refused = keyRefusal(context.outputs);
        if (refused) throw refused;
        if (reload) await execute(system, reload, { action: "reload PostgreSQL", timeout }, signal);
        else
          await changeUnit(
            system,
            { unit: name, action: "reload", timeout, settle: 0, instead: INSTEAD },
            context,
            signal,
          );
        return undefined;
      },
      liveness: async (system, signal) =>
        reload && spec.unit === undefined ? "unknown" : await unitLiveness(system, name, signal),
      defaultProbe: async (system, outputs, signal) => {
        const isOfUnit = (!reload || spec.unit !== undefined) && systemdRuns();
        const told = isOfUnit ? await addressByUnit(system, name, signal) : undefined;
        const [first, ...besides] = told ? [told] : await clusterAddresses(name, outputs);
        return { ...targetAt(first, { flavour: "postgres" }), ...(besides.length > 0 && { besides }) };
      },
    };
  });
