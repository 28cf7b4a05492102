/** How a renewal that was asked for by name ended, told once it was tried. Pure. */
import type { Failure } from "../base/errors.ts";
import type { Instant } from "../base/time.ts";
import { type Managed, statusOf } from "./status.ts";
import type { CertificateStatus, RenewOutcome } from "./status-document.ts";

/** The outcome for a certificate with this status; `isStopping`: the agent ends, and may have cut it off. */
export function outcomeOf(
  view: Managed,
  { name, state, failure, because }: CertificateStatus,
  { now, isStopping }: { readonly now: Instant; readonly isStopping: boolean },
): RenewOutcome {
  const { wish, generation, deployed } = view.observed;
  // What the end of the agent cuts off is neither done nor failed.
  const isDone = state === "current" && wish === null;
  if (isStopping && failure === null && !isDone) return { ...notRenewed(name), state };
  // A broken edit is told, but the version in force was renewed.
  const own = statusOf({ ...view, broken: null }, now).failure;
  const isInForce = own === null || own.code === "SERVICE_DOWN" || state === "current";
  const ok = wish === null && isInForce;
  const renewed = wish === null && deployed?.number === generation?.number;
  return { name, ok, renewed, state, message: failure?.message ?? because, hint: failure?.hint ?? null };
}

/** Of what could not even be tried, and why; without a reason the agent was stopped before. */
export function notRenewed(name: string, reason?: Pick<Failure, "message" | "hint">): RenewOutcome {
  const state = reason === undefined ? "pending" : "invalid";
  const { message, hint } = reason ?? { message: "the agent was stopped before it was done", hint: null };
  return { name, ok: false, renewed: false, state, message, hint };
}
