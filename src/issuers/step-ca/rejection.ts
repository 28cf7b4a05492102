import { formatDuration } from "../../base/duration.ts";
import { AgentError, type ErrorCode } from "../../base/errors.ts";
import { DAY, type Instant, MINUTE, type Milliseconds, SECOND } from "../../base/time.ts";
import type { Answer } from "./http.ts";
import { isJson, parseJson } from "./json.ts";
import { remoteText } from "./remote-text.ts";

/** More than this between the CA's clock and ours, and a token of ours would be refused. */
export const MOST_SKEW: Milliseconds = MINUTE;

export interface RejectionContext {
  readonly origin: string;
  /** What was asked for, as `renew over mTLS`. */
  readonly action: string;
  readonly now: Instant;
  /** The CA's clock minus ours; 0 where it is not known. */
  readonly skew: Milliseconds;
  /** Whether a wrong clock may be the reason: what the CA's own clock has dated, it refuses for another one. True where absent. */
  readonly mayBeClock?: boolean;
  /** Whether another address is asked next: then nobody waits for this one. */
  readonly isPassedOver?: boolean;
}

interface Rule {
  readonly status: number | readonly number[];
  readonly text?: RegExp;
  readonly code: ErrorCode;
  readonly hint?: string;
  /** May come of a wrong clock. */
  readonly timed?: boolean;
}

const CA_AWAY =
  "a proxy or balancer before the CA says so, and not step-ca: is step-ca running, and can that reach it?";

/** No step-ca of a version that there is answers so: it has all paths that are asked for, and sends nobody elsewhere. */
const ELSEWHERE: readonly number[] = [301, 302, 303, 307, 308];
const NO_SUCH_PATH: readonly number[] = [404, 405];

/** Whether somebody else has answered in the CA's place. */
export function isStranger(status: number): boolean {
  return ELSEWHERE.includes(status) || NO_SUCH_PATH.includes(status);
}

/** First match wins. The texts are those of step-ca 0.19 to 0.30. */
const RULES: readonly Rule[] = [
  {
    status: 429,
    code: "ISSUER_BUSY",
    hint: "step-ca limits nobody: a proxy or balancer before it counts the requests",
  },
  { status: 503, code: "ISSUER_BUSY", hint: CA_AWAY },
  { status: [502, 504], code: "ISSUER_UNREACHABLE", hint: CA_AWAY },
  {
    status: 400,
    text: /missing client certificate/,
    code: "ISSUER_REJECTED",
    hint: "something between here and the CA ends TLS; certagent must reach step-ca itself",
  },
  {
    status: 400,
    text: /notAfter cannot be in the past|notAfter cannot be before/,
    code: "ISSUER_REJECTED",
    hint: "compare the clocks of this host and of the CA: timedatectl",
    timed: true,
  },
  {
    status: 400,
    text: /token flow is not supported/,
    code: "ISSUER_REJECTED",
    hint: "the token names a provisioner of another type; use a JWK provisioner",
  },
  {
    status: 401,
    text: /certificate expired on/,
    code: "ISSUER_REJECTED",
    hint: "the CA renews expired certificates only where the provisioner has allowRenewalAfterExpiry",
  },
  {
    status: 401,
    text: /is disabled due to an initialization error/,
    code: "ISSUER_REJECTED",
    hint: "the provisioner is broken in the CA's ca.json",
  },
  { status: 401, code: "ISSUER_REJECTED", timed: true },
  {
    status: 403,
    text: /more than the authorized maximum certificate duration/,
    code: "ISSUER_REJECTED",
    hint: "ask for a shorter lifetime in the spec, or raise maxTLSCertDuration of the provisioner",
  },
  {
    status: 403,
    text: /less than the authorized minimum certificate duration/,
    code: "ISSUER_REJECTED",
    hint: "ask for a longer lifetime in the spec, or lower minTLSCertDuration of the provisioner",
  },
  {
    status: 403,
    text: /does not contain the valid/,
    code: "ISSUER_REJECTED",
    hint: "the token was made for other names than the spec's subject and sans",
  },
  {
    status: 403,
    text: /not allowed|not permitted/,
    code: "ISSUER_REJECTED",
    hint: "the CA's policy or name constraints forbid a name of the spec",
  },
  {
    status: 500,
    text: /invalid audience claim/,
    code: "ISSUER_REJECTED",
    hint: "the host in the issuer's url must be one of the CA's dnsNames",
  },
  {
    status: 500,
    text: /error applying certificate template|error validating renew token/,
    code: "ISSUER_REJECTED",
    hint: "the CA's configuration, or its log, has the reason",
  },
  { status: NO_SUCH_PATH, code: "ISSUER_REJECTED", hint: "is that a step-ca? curl -k URL/health" },
  {
    status: ELSEWHERE,
    code: "ISSUER_REJECTED",
    hint: "write the CA's own address; redirects are not followed",
  },
];

/** An answer that is no success as an error: its code, the CA's own words made harmless, and what can be done. */
export function rejection(answer: Answer, context: RejectionContext): AgentError {
  const { status, headers } = answer;
  const words = wordsOf(answer);
  const rule = RULES.find(
    (candidate) => [candidate.status].flat().includes(status) && (candidate.text?.test(words) ?? true),
  );
  const message = `Cannot ${context.action} at ${context.origin}: HTTP ${status}, ${words}`;
  const clock = rule?.timed && context.mayBeClock !== false ? clockComplaint(context.skew) : undefined;
  if (clock !== undefined) return new AgentError("CLOCK_SUSPECT", message, { hint: `${clock}; set it: timedatectl` });
  const code = rule?.code ?? (status >= 500 ? "ISSUER_UNREACHABLE" : "ISSUER_REJECTED");
  const id = remoteText(headers.get("x-request-id") ?? "").slice(0, 64);
  // All that step-ca says is JSON; who says nothing may be anybody.
  const isOfStepCa = answer.body.length === 0 || isJson(answer.body);
  const whose = isOfStepCa ? "the CA's log" : "no answer of step-ca's: the log of the proxy or balancer before it";
  const hint = rule === undefined ? `${whose} has the reason${id === "" ? "" : ` (request ${id})`}` : rule.hint;
  return new AgentError(code, message, {
    hint,
    retryAt: code === "ISSUER_BUSY" && context.isPassedOver !== true ? retryAt(answer, context) : undefined,
  });
}

/** What the answer says for people: the `message` of both of step-ca's shapes, else its text, but no proxy's HTML. */
function wordsOf({ body, headers }: Answer): string {
  try {
    const { message } = parseJson(body) as { readonly message?: unknown };
    if (typeof message === "string" && message.trim() !== "") return `"${remoteText(message)}"`;
  } catch {
    const plain = headers.get("content-type")?.startsWith("text/plain") === true;
    if (plain && body.length > 0) return `"${remoteText(body.subarray(0, 4096).toString("utf8"))}"`;
  }
  return "without a reason";
}

/**
 * When the CA wants to be asked again: `Retry-After` in seconds or as a date (RFC 9110, 10.2.3), never in the past and
 * at most a day away. Undefined where it says nothing that can be understood.
 */
function retryAt({ headers }: Answer, { now, skew }: RejectionContext): Instant | undefined {
  const text = headers.get("retry-after")?.trim() ?? "";
  const wait = /^-?\d+$/.test(text) ? Number(text) * SECOND : Date.parse(text) - (now + skew);
  return Number.isNaN(wait) ? undefined : now + Math.min(Math.max(wait, 0), DAY);
}

/** `this host's clock is 5 min ahead of the CA's`, or undefined where the difference does no harm. */
export function clockComplaint(skew: Milliseconds): string | undefined {
  if (Math.abs(skew) <= MOST_SKEW) return undefined;
  // The CA's clock is known to within a second: no seconds are shown.
  const difference = formatDuration(Math.round(skew / MINUTE) * MINUTE);
  return `this host's clock is ${difference} ${skew > 0 ? "behind" : "ahead of"} the CA's`;
}
