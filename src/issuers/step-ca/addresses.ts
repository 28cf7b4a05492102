import type { Answer, NoAnswer } from "./http.ts";
import { isJson } from "./json.ts";
import { CLIENT_CERTIFICATE_ALERTS } from "./unreachable.ts";

/** The addresses of one CA, in the order in which they are tried. Lives as long as its issuer. */
export interface Addresses {
  readonly inOrder: () => readonly string[];
  /** Hears what became of a request at one of them. */
  readonly heard: (origin: string, outcome: Answer | NoAnswer) => void;
  /** Nobody could make use of what it has issued. */
  readonly distrust: (origin: string) => void;
  /** Whether another one is asked before this one is asked again. */
  readonly hasBetterThan: (origin: string) => boolean;
}

/**
 * As configured, but that those come last which gave no answer of a CA's, or none of use. Who took a request may have acted
 * on it, so that none is asked after it in one attempt, and the next one would end there again; who took none may have been
 * waited for.
 */
export function createAddresses(urls: readonly string[]): Addresses {
  let last: readonly string[] = [];
  const others = (origin: string): readonly string[] => last.filter((other) => other !== origin);
  return {
    inOrder: () => [...urls.filter((url) => !last.includes(url)), ...last],
    heard: (origin, outcome) => {
      if (urls.length === 1) return; // each answer would be read for nothing
      last = isAway(outcome) ? [...others(origin), origin] : others(origin);
    },
    distrust: (origin) => {
      last = [...others(origin), origin];
    },
    hasBetterThan: (origin) => urls.some((url) => url !== origin && !last.includes(url)),
  };
}

/**
 * A proxy whose CA is away says 502 to 504, and a CA whose database fails 500. What is no JSON is somebody else's answer: a
 * redirect, a page for everything, a proxy that lets nobody through. Who refuses a client certificate is there: it may be
 * one certificate of many that has expired.
 */
function isAway(outcome: Answer | NoAnswer): boolean {
  if (outcome.status !== undefined) return outcome.status >= 500 || outcome.status === 429 || !isJson(outcome.body);
  return !CLIENT_CERTIFICATE_ALERTS.has(outcome.alert ?? 0);
}

/**
 * Nothing was issued, and another address may judge otherwise: its configuration, its roots and its clock are its own.
 * Not so who asks to be left alone: that is heard.
 */
export function isRefusal({ status, ...outcome }: Answer | NoAnswer): boolean {
  if (status !== undefined) return status >= 400 && status <= 499 && status !== 429;
  return "alert" in outcome && CLIENT_CERTIFICATE_ALERTS.has(outcome.alert ?? 0);
}
