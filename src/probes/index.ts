import { AgentError } from "../base/errors.ts";
import type { Probe, Prove } from "../core/ports.ts";
import type { Starttls } from "../core/starttls.ts";
import { postgres } from "./postgres.ts";
import { proveBy } from "./prove.ts";
import { proxy } from "./proxy.ts";
import { tls } from "./tls.ts";

/** The ways to look which leaf is served, by the name that a target gives. */
export const PROBES: Readonly<Record<"tls" | Starttls, Probe>> = { tls, postgres, proxy };

/** Looks once, with the probe that the target names. */
export const probe: Probe = (target, signal) => {
  const found: Probe | undefined = Object.entries(PROBES).find(([name]) => name === target.starttls)?.[1];
  if (found !== undefined) return found(target, signal);
  throw new AgentError(
    "SPEC_INVALID",
    `Cannot look by "${target.starttls}": this version knows ${Object.keys(PROBES).join(", ")}`,
  );
};

/** Looks until it is proven with the probe that the target names. */
export const prove: Prove = (...asked) => proveBy(probe, ...asked);
