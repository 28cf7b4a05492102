import * as z from "zod";
import type { Service } from "../core/ports.ts";
import { probeTarget, recipe, unit } from "./recipe.ts";
import { shortName, unfitUnit, unitLiveness } from "./unit.ts";

/** A service that reads its files at every handshake, or that somebody else reloads: only looked at. */
export const none = z
  .strictObject({
    type: z.literal("none"),
    unit: unit.optional().meta({
      description:
        "The systemd unit that tells whether the service runs. Without one, whoever listens at `probe` counts as the service.",
    }),
    timeout: recipe.timeout,
    probe: recipe.probe,
  })
  .meta({ description: "Nothing to run: the service reads its files at every handshake, as node_exporter does." })
  .transform((spec): Service => {
    return {
      type: "none",
      called: spec.unit && shortName(spec.unit),
      key: JSON.stringify(["none", spec.unit, spec.probe]),
      steps: [],
      probe: probeTarget(spec.probe),
      timeout: spec.timeout,
      passive: true,
      window: null,
      unfit: async (system, signal) => (spec.unit ? await unfitUnit(system, spec.unit, null, signal) : undefined),
      preflight: async () => {},
      reload: async () => undefined,
      liveness: async (system, signal) => (spec.unit ? await unitLiveness(system, spec.unit, signal) : "unknown"),
      defaultProbe: async () => undefined,
    };
  });
