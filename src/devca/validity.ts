import type { Instant, Milliseconds } from "../base/time.ts";
import { HOUR, MINUTE, SECOND } from "../base/time.ts";
import { badRequest, forbidden, Rejection } from "./rejection.ts";

const GO_UNITS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: SECOND,
  m: MINUTE,
  h: HOUR,
};
const GO_DURATION = /^[+-]?(?:\d+(?:\.\d*)?(?:ns|us|\u00b5s|ms|s|m|h))+$/;

/** What may be asked for, and how far a certificate is dated back. */
export interface Limits {
  readonly lifetime: Milliseconds;
  readonly shortest: Milliseconds;
  readonly longest: Milliseconds;
  readonly backdate: Milliseconds;
}

export interface Validity {
  readonly notBefore: Instant;
  readonly notAfter: Instant;
}

/** `notBefore` and `notAfter` of a sign request, each an RFC 3339 time or a Go duration, as step-ca reads them. */
export function validityOf(
  request: { readonly notBefore?: unknown; readonly notAfter?: unknown },
  limits: Limits,
  now: Instant,
): Validity {
  const asked = instantOf(request.notBefore, now);
  const start = asked ?? now;
  const notAfter = instantOf(request.notAfter, start) ?? start + limits.lifetime;
  const notBefore = asked ?? start - limits.backdate;
  const length = notAfter - notBefore;
  if (notAfter < now) throw badRequest(`notAfter cannot be in the past; na=${goTime(notAfter)}`);
  if (notAfter < start)
    throw badRequest(`notAfter cannot be before notBefore; na=${goTime(notAfter)}, nb=${goTime(start)}`);
  if (length < limits.shortest) throw forbidden(durationText(length, "less", "minimum", limits.shortest));
  const longest = limits.longest + limits.backdate;
  if (length > longest) throw forbidden(durationText(length, "more", "maximum", longest));
  if (length === limits.backdate) throw new Rejection(500, "createCertificateRequest `lifetime` cannot be 0");
  return { notBefore, notAfter };
}

function instantOf(value: unknown, from: Instant): Instant | undefined {
  if (value === undefined || value === "" || value === null) return undefined;
  if (typeof value !== "string") throw badRequest("error decoding json");
  const duration = parseGoDuration(value);
  if (duration !== undefined) return duration === 0 ? undefined : from + duration;
  const instant = /^\d{4}-\d\d-\d\dT/.test(value) ? Date.parse(value) : Number.NaN;
  if (Number.isNaN(instant)) throw badRequest("error decoding json");
  return instant;
}

function parseGoDuration(text: string): Milliseconds | undefined {
  if (!GO_DURATION.test(text)) return undefined;
  const parts = text.matchAll(/(\d+(?:\.\d*)?)(ns|us|\u00b5s|ms|s|m|h)/g);
  const span = parts.reduce((sum, [, count, unit]) => sum + Number(count) * (GO_UNITS[unit ?? ""] ?? 0), 0);
  return text.startsWith("-") ? -span : span;
}

function durationText(length: Milliseconds, how: string, which: string, limit: Milliseconds): string {
  return `requested duration of ${goDuration(length)} is ${how} than the authorized ${which} certificate duration of ${goDuration(limit)}`;
}

/** `1h0m5s`, as Go prints it. */
function goDuration(span: Milliseconds): string {
  const [hours, minutes, seconds] = [Math.floor(span / HOUR), Math.floor(span / MINUTE) % 60, (span % MINUTE) / SECOND];
  if (hours > 0) return `${hours}h${minutes}m${seconds}s`;
  return minutes > 0 ? `${minutes}m${seconds}s` : `${seconds}s`;
}

/** `2026-11-20 13:39:39 +0000 UTC`, as Go prints it. */
export function goTime(instant: Instant): string {
  return `${new Date(instant).toISOString().slice(0, 19).replace("T", " ")} +0000 UTC`;
}
