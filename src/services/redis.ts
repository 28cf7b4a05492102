import * as z from "zod";
import { AgentError } from "../base/errors.ts";
import { addressText } from "../core/address.ts";
import type { Service } from "../core/ports.ts";
import { pairPaths } from "./pair.ts";
import { absolutePath, address, byRecipe, probeTarget, recipe, unit } from "./recipe.ts";
import { type Control, isListening, redisProbe, takePair } from "./redis-control.ts";
import { unfitUnit, unitLiveness } from "./unit.ts";

const fields = z
  .strictObject({
    type: z.literal("redis"),
    socket: absolutePath.optional().meta({
      description:
        "Redis's unix socket, which nobody else can listen on where its folder is Redis's own. Either this or `connect`.",
    }),
    connect: address.optional().meta({ description: "Redis's address, `host:port`. Either this or `socket`." }),
    tls: z.boolean().optional().meta({
      description: "Speak TLS to `connect`: shows this spec's own pair, and trusts its issuer's roots alone.",
    }),
    username: z.string().min(1).optional().meta({ description: "The ACL user; default: Redis's default user." }),
    password: z
      .strictObject({
        file: absolutePath.meta({ description: "A file with the password; its last newline is not part of it." }),
      })
      .optional()
      .meta({
        description:
          "The password, read at each need. With `connect` it takes `tls: true`; while Redis is down, whoever holds a certificate of the same CA for one of this spec's names can listen there and is told it. Prefer `socket`.",
      }),
    unit: unit.optional().meta({
      description:
        "The systemd unit that tells whether Redis runs; default: whether something listens there, whoever that is.",
    }),
    ...recipe,
  })
  .meta({ description: "Redis: takes a new pair by one CONFIG SET, which is made to outlive a restart." });

type Fields = z.output<typeof fields>;

/** How to reach Redis, or what is wrong with the keys that say so. */
function controlOf(spec: Fields): Control | { readonly key: keyof Fields; readonly message: string } {
  const { socket, connect, tls, username, password } = spec;
  if (socket !== undefined && connect !== undefined)
    return { key: "connect", message: "write socket or connect, not both" };
  const at = socket === undefined ? connect : { path: socket };
  if (at === undefined)
    return { key: "type", message: "write socket: the path of Redis's socket, or connect: its address" };
  if (tls === true && "path" in at)
    return { key: "tls", message: "write tls with connect alone: Redis's socket has no TLS" };
  if (username !== undefined && password === undefined) {
    return { key: "username", message: "write password: { file: … } beside username" };
  }
  // While Redis is down, any user of the host can listen in its place.
  if (password !== undefined && "host" in at && tls !== true) {
    return {
      key: "password",
      message: "write tls: true beside password, or socket: whoever listens at connect has it",
    };
  }
  return { address: at, tls: tls ?? false, username, passwordFile: password?.file };
}

/**
 * Redis: no signal and no unit reloads it, one CONFIG SET of both files does, and it keeps the old pair where it
 * cannot take the new one. Speaks RESP itself, so that neither redis-cli nor a password in an argument list is needed.
 */
export const redis = fields.transform((spec, context): Service => {
  const { timeout, preflight, reload } = spec;
  const found = controlOf(spec);
  // With a command of its own, certagent need not reach Redis.
  if ("message" in found && !(reload && found.key === "type")) {
    context.addIssue({ code: "custom", message: found.message, path: [found.key] });
    return z.NEVER;
  }
  const control = "message" in found ? undefined : found;
  return {
    ...byRecipe(spec, {
      check: "check Redis",
      act: "reload Redis",
      step: `CONFIG SET tls-cert-file tls-key-file at ${control && addressText(control.address)}`,
      take: async (system, { outputs, generation }, signal) =>
        control && (await takePair(system, control, { outputs, generation, timeout }, signal)),
    }),
    type: "redis",
    key: JSON.stringify(["redis", control?.address, preflight, reload]),
    probe: probeTarget(spec.probe),
    obstacle: (outputs) => {
      const paths = pairPaths(outputs);
      return reload === undefined && paths instanceof AgentError ? paths : undefined;
    },
    unfit: async (system, signal) => (spec.unit ? await unfitUnit(system, spec.unit, null, signal) : undefined),
    liveness: async (system, signal) => {
      if (spec.unit) return await unitLiveness(system, spec.unit, signal);
      return control ? await isListening(system, control, signal) : "unknown";
    },
    defaultProbe: async (system, _outputs, signal) => control && (await redisProbe(system, control, signal)),
  };
});
