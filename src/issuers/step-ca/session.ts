import { randomUUID } from "node:crypto";
import { AgentError, asAgentError } from "../../base/errors.ts";
import type { Instant, Milliseconds } from "../../base/time.ts";
import { loadCertificates } from "../../x509/certificate.ts";
import type { Chain } from "../../x509/chain.ts";
import type { IssuerContext } from "../kind.ts";
import { type Addresses, isRefusal } from "./addresses.ts";
import type { StepCaConfig } from "./config.ts";
import type { Identity } from "./connect.ts";
import { type Answer, exchange, type NoAnswer } from "./http.ts";
import { parseJson } from "./json.ts";
import { isStranger, MOST_SKEW, rejection } from "./rejection.ts";
import type { Roots } from "./roots.ts";
import { cutOff, unreachable } from "./unreachable.ts";

/** One request, made for the address that it goes to, since tokens name it. */
export interface Call {
  /** For messages: `renew over mTLS`. */
  readonly action: string;
  readonly method: "GET" | "POST";
  readonly path: string;
  readonly identity?: Identity | undefined;
  /** Of the answer, where that may be longer than any other. */
  readonly mostBytes?: number;
  /** Made anew for every attempt: a token is spent by nearly every attempt, also by failed ones. */
  readonly fill?: (origin: string) => Promise<{ readonly headers?: Record<string, string>; readonly body?: string }>;
  /** Called where there is a connection, before a byte of the request leaves: who hears of it sends nothing twice. */
  readonly onSend?: () => void;
}

/** What became of a call: the answer, whatever its status, or why there is none. */
export type Reply = { readonly origin: string } & (Answer | NoAnswer);
export type Answered = { readonly origin: string } & Answer;

/** step-ca answers 201 where others would answer 200. */
export function isSuccess(reply: Reply): reply is Answered {
  return saysSuccess(reply.status);
}

function saysSuccess(status: number | undefined): boolean {
  return status !== undefined && status >= 200 && status <= 299;
}

/** The talk with one CA during one `issue`: which address answers, and how far its clock is from ours. */
export interface Session {
  readonly signal: AbortSignal;
  readonly roots: () => ReturnType<Roots>;
  /** The CA's clock minus ours, by the last answer; 0 before the first. */
  readonly skew: () => Milliseconds;
  /** The CA's time. */
  readonly now: () => Instant;
  readonly send: (call: Call) => Promise<Reply>;
  /** Sends, and returns the JSON of a success; everything else becomes the `AgentError` of {@link errorOf}. */
  readonly ask: (call: Call) => Promise<unknown>;
  readonly errorOf: (call: Call, reply: Reply) => AgentError;
  /** Asks the one that answered last after all others from now on; false where each was left so. */
  readonly leave: () => boolean;
  /** Which of several addresses says that it has issued; undefined where none has, or there is one alone. */
  readonly issuedBy: () => string | undefined;
  /** Set where the CA has renewed to a leaf that nobody can use: it would do so again through every other door. */
  renewedInVain: boolean;
  /** Set where something before the CA takes client certificates and keeps them to itself: it may want one each time. */
  hidesIdentity: boolean;
  /** What a renewal came to that was answered by what is no step-ca: a secret that is missing is not what is wrong then. */
  stranger?: AgentError;
}

/**
 * The clock to date a token by, where one was refused that a clock with this skew had dated: the CA's, which is known by now,
 * or this host's own, as `Date` may be the word of a proxy. Undefined where it would be the same again.
 */
export function otherClock({ skew, now }: Session, before: Milliseconds): (() => Instant) | undefined {
  if (Math.abs(skew() - before) > MOST_SKEW) return now;
  return Math.abs(before) > MOST_SKEW ? () => now() - skew() : undefined;
}

/** What the sessions of one issuer share. */
export interface Partner {
  readonly config: StepCaConfig;
  readonly context: IssuerContext;
  readonly roots: Roots;
  readonly addresses: Addresses;
}

export function openSession({ config, context, roots, addresses }: Partner, signal: AbortSignal): Session {
  const { clock, userAgent } = context;
  let trust: ReturnType<Roots> | undefined;
  let skew: Milliseconds = 0;
  let origins = addresses.inOrder();
  let issuedBy: string | undefined;
  /** Each may have taken ten seconds to be found so. */
  const unreached = new Set<string>();
  let unleft = origins.length - 1;

  const anchors = (): ReturnType<Roots> => (trust ??= roots(signal));
  const now = (): Instant => clock.now() + skew;

  /** The addresses in turn, until one does as it is asked, or may have. What the first CA has refused is told before what others are. */
  const send = async (call: Call): Promise<Reply> => {
    const { method, path, identity, mostBytes, onSend } = call;
    const { proxy, timeout } = config;
    let reply: Reply | undefined;
    let refused: Reply | undefined;
    const reachable = origins.filter((origin) => !unreached.has(origin));
    for (const origin of reachable.length > 0 ? reachable : origins) {
      const filled = await call.fill?.(origin);
      const headers = { "user-agent": userAgent, "x-request-id": randomUUID(), ...filled?.headers };
      const { body } = { body: undefined, ...filled };
      const request = { method, origin, path, headers, body, mostBytes, identity, proxy, timeout, onSend };
      const outcome = await exchange({ ...request, trust: await anchors() }, signal);
      addresses.heard(origin, outcome);
      reply = { ...outcome, origin };
      if (outcome.status !== undefined) skew = skewOf(outcome, clock.now()) ?? skew;
      if (outcome.status === undefined && !outcome.sent && !isRefusal(outcome)) unreached.add(origin);
      if (isRefusal(outcome) && onSend === undefined) {
        if (refused === undefined || isStranger(refused.status ?? 0)) refused = reply;
        continue;
      }
      if (outcome.status === undefined && (!outcome.sent || method === "GET")) continue;
      // That another one is away or busy must not end the ladder: a lower rung may be had of the one that refuses this.
      if (refused !== undefined && !saysSuccess(outcome.status)) return refused;
      if (outcome.status !== undefined) origins = [origin, ...origins.filter((other) => other !== origin)];
      if (origins.length > 1 && method === "POST" && isSuccess(reply)) issuedBy = origin;
      return reply;
    }
    if (reply === undefined) throw new TypeError("an issuer without an address");
    return refused ?? reply;
  };

  const errorOf = (call: Call, reply: Reply): AgentError => {
    if (reply.status === undefined) {
      // All that is posted has something issued.
      const isIssued = call.method === "POST" && saysSuccess(reply.begun);
      if (isIssued) return cutOff(call.action, reply.origin, reply);
      return unreachable(reply.origin, reply, config.root.file);
    }
    const { origin } = reply;
    const isPassedOver = addresses.hasBetterThan(origin);
    // Only one-time tokens are dated elsewhere, and made for one sending.
    const mayBeClock = call.onSend !== undefined;
    return rejection(reply, { origin, action: call.action, now: clock.now(), skew, isPassedOver, mayBeClock });
  };

  const ask = async (call: Call): Promise<unknown> => {
    const reply = await send(call);
    if (!isSuccess(reply)) throw errorOf(call, reply);
    // Nothing was issued: a maintenance page for everything is as good as a CA that is away.
    return jsonOf(call, reply, "ISSUER_UNREACHABLE");
  };

  const leave = (): boolean => {
    origins = [...origins.slice(1), ...origins.slice(0, 1)];
    unleft -= 1;
    return unleft >= 0;
  };

  const told = { skew: () => skew, issuedBy: () => issuedBy };
  const found = { renewedInVain: false, hidesIdentity: false };
  return { signal, roots: anchors, ...told, leave, now, send, ask, errorOf, ...found };
}

/** A `Date` header has whole seconds: the difference is known to within one. */
function skewOf({ headers }: Answer, now: Instant): Milliseconds | undefined {
  const date = Date.parse(headers.get("date") ?? "");
  return Number.isNaN(date) ? undefined : date - now;
}

const NO_STEP_CA = "is that a step-ca? curl -k URL/health";

/** The JSON of an answer. Throws an error with `code` for what cannot be read. */
function jsonOf(call: Call, reply: Answered, code: "CHAIN_UNUSABLE" | "ISSUER_UNREACHABLE"): unknown {
  try {
    return parseJson(reply.body);
  } catch (cause) {
    const message = `Cannot ${call.action} at ${reply.origin}: the answer is no usable JSON`;
    throw new AgentError(code, message, { cause, hint: NO_STEP_CA });
  }
}

/**
 * The chain in the answer to sign, renew and rekey, leaf first: `certChain`, or of very old servers `crt` and `ca`.
 * Throws `CHAIN_UNUSABLE`.
 */
export function chainOf(call: Call, reply: Answered): Chain {
  const { certChain, crt, ca } = (jsonOf(call, reply, "CHAIN_UNUSABLE") ?? {}) as Partial<
    Record<"certChain" | "crt" | "ca", unknown>
  >;
  const blocks: readonly unknown[] = Array.isArray(certChain) ? certChain : [crt, ca ?? ""];
  try {
    if (blocks.every((block) => typeof block === "string")) return loadCertificates(blocks.join("\n"), "answer");
  } catch (cause) {
    throw noChain(call, reply, asAgentError(cause).message.replace(/^C/, "c"), cause);
  }
  throw noChain(call, reply, "the answer holds no chain");
}

function noChain(call: Call, { origin }: Answered, fact: string, cause?: unknown): AgentError {
  return new AgentError("CHAIN_UNUSABLE", `Cannot ${call.action} at ${origin}: ${fact}`, { cause, hint: NO_STEP_CA });
}
