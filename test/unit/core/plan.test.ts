import { expect, test } from "vitest";
import { DAY, HOUR, MINUTE, SECOND } from "../../../src/base/time.ts";
import { NO_FACTS } from "../../../src/core/facts.ts";
import type { Reason } from "../../../src/core/issuing.ts";
import type { Observed } from "../../../src/core/observed.ts";
import { plan } from "../../../src/core/plan.ts";
import type { Desired } from "../../../src/core/ports.ts";
import { renewAt } from "../../../src/core/renewal.ts";
import {
  apply,
  desired,
  facts,
  generation,
  LIFETIME,
  NOT_BEFORE,
  NOW,
  probe,
  proof,
  request,
  service,
  serviceFacts,
  settled,
  streak,
} from "./given.ts";

const unseen = { code: "SERVICE_UNSEEN", message: "QUIC alone", hint: null, retryAt: null } as const;
const RENEW_AT = renewAt(generation().fingerprint, { notBefore: NOT_BEFORE, notAfter: NOT_BEFORE + LIFETIME }, null);
const nothing = settled({
  generation: null,
  apply: apply({ deployed: null, services: [serviceFacts({ reloaded: null })] }),
  facts: NO_FACTS,
});
const stale = {
  path: "/etc/web.crt",
  format: "fullchain",
  state: "drifted",
  because: "has mode 0600, the spec says 0644",
} as const;
const wanted = { ...request, names: [...request.names, { type: "ip", value: "10.0.0.1" } as const] };
const foreign = { ...stale, state: "foreign", because: "was not written by certagent" } as const;
const removed = { ...stale, state: "missing", because: "is missing" } as const;
const unproven = facts({ proofs: [proof({ proven: false })] });
const refused = (at: number) =>
  facts({
    deployed: [removed.path],
    failures: { ...NO_FACTS.failures, apply: streak({ code: "RELOAD_FAILED", at, tryAt: NOW + HOUR }) },
  });

interface Row {
  readonly title: string;
  readonly desired?: Partial<Desired>;
  readonly observed: Observed;
  readonly now?: number;
  readonly kind: "adopt" | "issue" | "apply" | "prove" | "wait";
  readonly because: RegExp;
  readonly next?: string;
  readonly until?: number;
  /** Which services are told once more, or looked at. */
  readonly services?: readonly number[];
  readonly by?: Reason["by"];
}

const rows: readonly Row[] = [
  // issuing
  { title: "issues the first certificate", observed: nothing, kind: "issue", because: /nothing was issued/ },
  {
    title: "waits for the place in the window when all is well",
    observed: settled(),
    kind: "wait",
    because: /place in the renewal window/,
    next: "issue",
  },
  {
    title: "renews at its place in the window",
    observed: settled(),
    now: RENEW_AT,
    kind: "issue",
    because: /place in the renewal window has come/,
  },
  {
    title: "renews what has expired",
    observed: settled(),
    now: NOT_BEFORE + LIFETIME,
    kind: "issue",
    because: /expired/,
  },
  {
    title: "takes over what stands there where its own has expired",
    observed: settled({ apply: apply({ outputs: [{ ...stale, because: "was changed by somebody else" }] }) }),
    now: NOT_BEFORE + LIFETIME,
    kind: "adopt",
    because: /stand at its outputs/,
  },
  {
    title: "takes over what stands there where the generation that is deployed is lost",
    observed: settled({ apply: apply({ deployed: 9 }) }),
    kind: "adopt",
    because: /stand at its outputs/,
  },
  {
    title: "takes over what stands there where its own has expired, and could not be renewed for an operator either",
    observed: settled({
      apply: apply({ outputs: [{ ...stale, because: "was changed by somebody else" }] }),
      wish: { since: NOW, attempted: true },
      facts: facts({ failures: { ...NO_FACTS.failures, issue: streak({ tryAt: NOW }) } }),
    }),
    now: NOT_BEFORE + LIFETIME,
    kind: "adopt",
    because: /stand at its outputs/,
  },
  {
    title: "does not take over what an operator wants renewed",
    observed: settled({ apply: apply({ outputs: [stale] }), wish: { since: NOW, attempted: false } }),
    kind: "issue",
    because: /operator/,
  },
  {
    title: "counts the lifetime to the earliest expiry in the chain",
    observed: settled({ generation: generation({ chainNotAfter: NOW - SECOND }) }),
    kind: "issue",
    because: /expired/,
  },
  {
    title: "issues when an operator asked for it",
    observed: settled({ wish: { since: NOW, attempted: false } }),
    kind: "issue",
    because: /operator/,
  },
  {
    title: "issues anew when names change",
    desired: { request: wanted },
    observed: settled(),
    kind: "issue",
    because: /names changed from web.internal to web.internal, 10.0.0.1/,
  },
  {
    title: "issues anew when the deployed generation is lost and what stands there does not fit",
    observed: settled({ apply: apply({ deployed: 4 }), adoptionRefused: true }),
    kind: "issue",
    because: /generation 4, which is deployed, is missing/,
  },
  {
    title: "renews what is there as it is where the change could not be had and its place in the window has come",
    desired: { request: wanted },
    observed: settled({ facts: facts({ failures: { ...NO_FACTS.failures, issue: streak({ tryAt: NOW }) } }) }),
    now: RENEW_AT,
    kind: "issue",
    because: /names changed/,
    by: "renewal as before, else minting",
  },
  {
    title: "asks for a change first where it was not refused yet",
    desired: { request: wanted },
    observed: settled(),
    now: RENEW_AT,
    kind: "issue",
    because: /names changed/,
    by: "minting",
  },
  {
    title: "asks for a change alone before the place in the window of what is there",
    desired: { request: wanted },
    observed: settled({ facts: facts({ failures: { ...NO_FACTS.failures, issue: streak({ tryAt: NOW }) } }) }),
    kind: "issue",
    because: /names changed/,
    by: "minting",
  },
  {
    title: "renews what is deployed where the edit is taken back that the newest was issued for",
    observed: settled({
      generation: generation({ number: 4, key: "ed25519", request: { ...request, key: "ed25519" } }),
    }),
    kind: "issue",
    because: /generation 4, which is not deployed, is asked for no more/,
    by: "renewal",
  },
  {
    title: "does not deploy what the spec asks for no more while what is deployed cannot be renewed yet",
    observed: settled({
      generation: generation({ number: 4, key: "ed25519", request: { ...request, key: "ed25519" } }),
      apply: apply({ outputs: [{ ...stale, state: "stale" }] }),
      facts: facts({ failures: { ...NO_FACTS.failures, issue: streak() } }),
    }),
    kind: "wait",
    because: /connection refused/,
    next: "issue",
  },
  {
    title: "renews what is deployed as it is, and not the newest, which the spec does not ask for either",
    desired: { request: wanted },
    observed: settled({
      generation: generation({
        number: 4,
        request: { ...request, names: [...request.names, { type: "ip", value: "10.0.0.2" }] },
        notAfter: NOW + 2 * LIFETIME,
        chainNotAfter: NOW + 2 * LIFETIME,
      }),
      facts: facts({ failures: { ...NO_FACTS.failures, issue: streak({ tryAt: NOW }) } }),
    }),
    now: RENEW_AT,
    kind: "issue",
    because: /names changed from (?!.*10\.0\.0\.2)/,
    by: "renewal as before, else minting",
  },
  {
    title:
      "renews what is deployed as it is, once its place in the window has come, while a service refuses the newest",
    desired: { request: wanted },
    observed: settled({
      generation: generation({
        number: 4,
        request: wanted,
        notAfter: NOW + 2 * LIFETIME,
        chainNotAfter: NOW + 2 * LIFETIME,
      }),
      facts: facts({ failures: { ...NO_FACTS.failures, apply: streak({ code: "RELOAD_FAILED" }) } }),
    }),
    now: RENEW_AT,
    kind: "issue",
    because: /a service refuses generation 4/,
    by: "renewal as before",
  },
  {
    title: "waits while a service refuses the newest and what is deployed has not come to its place in the window",
    desired: { request: wanted },
    observed: settled({
      generation: generation({ number: 4, request: wanted }),
      facts: facts({ failures: { ...NO_FACTS.failures, apply: streak({ code: "RELOAD_FAILED" }) } }),
    }),
    kind: "wait",
    because: /generation 4 is not deployed yet/,
    next: "apply",
  },
  {
    title: "deploys what was renewed as it is before it goes on with what a service has refused",
    desired: { request: wanted },
    observed: settled({
      generation: generation({ number: 5 }),
      refused: generation({ number: 4, request: wanted }),
    }),
    kind: "apply",
    because: /generation 5 is not deployed yet/,
  },
  {
    title: "renews what a service has refused, before that ends, where it refuses what was renewed as it is, too",
    desired: { request: wanted },
    observed: settled({
      generation: generation({
        number: 5,
        issuedAt: NOW,
        notAfter: NOW + 2 * LIFETIME,
        chainNotAfter: NOW + 2 * LIFETIME,
      }),
      refused: generation({ number: 4, request: wanted }),
      facts: facts({ failures: { ...NO_FACTS.failures, apply: streak({ code: "RELOAD_FAILED", at: NOW + HOUR }) } }),
    }),
    now: RENEW_AT,
    kind: "issue",
    because: /a service refused generation 4/,
    by: "renewal",
  },
  {
    title: "deploys what was renewed as it is once, although what a service has refused is due, too",
    desired: { request: wanted },
    observed: settled({
      generation: generation({
        number: 5,
        issuedAt: RENEW_AT,
        notAfter: NOW + 2 * LIFETIME,
        chainNotAfter: NOW + 2 * LIFETIME,
      }),
      refused: generation({ number: 4, request: wanted }),
      facts: facts({ failures: { ...NO_FACTS.failures, apply: streak({ code: "RELOAD_FAILED", tryAt: NOW }) } }),
    }),
    now: RENEW_AT,
    kind: "apply",
    because: /generation 5 is not deployed yet/,
  },
  {
    title: "renews what is deployed as it is after it has expired, too, while a service refuses the newest",
    desired: { request: wanted },
    observed: settled({
      generation: generation({
        number: 4,
        request: wanted,
        notAfter: NOW + 3 * LIFETIME,
        chainNotAfter: NOW + 3 * LIFETIME,
      }),
      facts: facts({ failures: { ...NO_FACTS.failures, apply: streak({ code: "RELOAD_FAILED" }) } }),
    }),
    now: NOW + LIFETIME,
    kind: "issue",
    because: /a service refuses generation 4/,
    by: "renewal as before",
  },
  {
    title: "does at once what an operator asks for, although what was renewed as it is does not stand there yet",
    desired: { request: wanted },
    observed: settled({
      generation: generation({ number: 5 }),
      refused: generation({ number: 4, request: wanted }),
      wish: { since: NOW, attempted: false },
    }),
    kind: "issue",
    because: /a service refused generation 4/,
    by: "renewal",
  },
  {
    title: "renews the newest in turn, which a service refuses, where what is deployed could not be renewed",
    desired: { request: wanted },
    observed: settled({
      generation: generation({ number: 4, request: wanted }),
      facts: facts({
        failures: {
          ...NO_FACTS.failures,
          issue: streak({ tryAt: NOW, attempts: 1 }),
          apply: streak({ code: "RELOAD_FAILED" }),
        },
      }),
    }),
    now: RENEW_AT,
    kind: "issue",
    because: /its place in the renewal window has come/,
    by: "renewal",
  },
  {
    title: "renews what a service has refused, which needs no secret, once what was renewed as it is stands there",
    desired: { request: wanted },
    observed: settled({ refused: generation({ number: 2, request: wanted }) }),
    kind: "issue",
    because: /a service refused generation 2/,
    by: "renewal",
  },
  {
    title: "asks for a change anew where what a service has refused of it has expired",
    desired: { request: wanted },
    observed: settled({ refused: generation({ number: 2, request: wanted, chainNotAfter: NOW - SECOND }) }),
    kind: "issue",
    because: /names changed/,
    by: "minting",
  },
  {
    title: "has an issuer that the spec names no more renew what is there while the new one gives nothing",
    desired: { request: { ...request, issuer: "other" } },
    observed: settled({ facts: facts({ failures: { ...NO_FACTS.failures, issue: streak({ tryAt: NOW }) } }) }),
    now: RENEW_AT,
    kind: "issue",
    because: /issuer changed/,
    by: "renewal as before, else minting",
  },
  {
    title: "issues anew when the credential that authorises it changed",
    observed: settled({ credentialChanged: true }),
    kind: "issue",
    because: /authorises/,
  },
  // what holds an issuance
  {
    title: "waits for the back-off of issuing",
    observed: settled({
      facts: facts({
        proofs: [proof({ at: RENEW_AT })],
        failures: { ...NO_FACTS.failures, issue: streak({ tryAt: RENEW_AT + HOUR }) },
      }),
    }),
    now: RENEW_AT,
    kind: "wait",
    because: /connection refused/,
    next: "issue",
    until: RENEW_AT + 60 * SECOND,
  },
  {
    title: "lets an operator's first try pass the back-off",
    observed: settled({
      wish: { since: NOW, attempted: false },
      facts: facts({ failures: { ...NO_FACTS.failures, issue: streak() } }),
    }),
    kind: "issue",
    because: /operator/,
  },
  {
    title: "keeps an operator's later tries to the back-off",
    observed: settled({
      wish: { since: NOW, attempted: true },
      facts: facts({ failures: { ...NO_FACTS.failures, issue: streak() } }),
    }),
    kind: "wait",
    because: /connection refused/,
  },
  {
    title: "never waits longer than a day for a back-off that a stepped clock stretched",
    observed: {
      ...nothing,
      facts: { ...NO_FACTS, failures: { ...NO_FACTS.failures, issue: streak({ tryAt: NOW + 1000 * HOUR }) } },
    },
    kind: "wait",
    because: /refused/,
    next: "issue",
  },
  {
    title: "holds the fourth automatic issuance within lifetime/6",
    observed: { ...nothing, facts: { ...NO_FACTS, issuances: [NOW - HOUR, NOW - MINUTE, NOW - SECOND] } },
    kind: "wait",
    because: /storm breaker/,
    next: "issue",
  },
  {
    title: "issues again once the first of three issuances is lifetime/6 old",
    observed: { ...nothing, facts: { ...NO_FACTS, issuances: [NOW - 4 * HOUR, NOW - MINUTE, NOW - SECOND] } },
    kind: "issue",
    because: /nothing was issued/,
  },
  {
    title: "holds an attempt that may cost two issuances, as the last one did, where one has cost two already",
    observed: { ...nothing, facts: { ...NO_FACTS, issuances: [NOW - MINUTE, NOW - MINUTE] } },
    kind: "wait",
    because: /storm breaker/,
    next: "issue",
  },
  {
    title: "issues at most three times a minute where a CA gives leaves of seconds and a day was asked for",
    desired: { request: { ...request, lifetime: DAY } },
    observed: settled({
      generation: generation({
        request: { ...request, lifetime: DAY },
        notAfter: NOT_BEFORE + 2 * SECOND,
        chainNotAfter: NOT_BEFORE + 2 * SECOND,
      }),
      facts: facts({ issuances: [NOT_BEFORE - 50 * SECOND, NOT_BEFORE - 2 * SECOND, NOT_BEFORE] }),
    }),
    now: NOT_BEFORE + 2 * SECOND,
    kind: "wait",
    because: /storm breaker/,
    until: NOT_BEFORE + 10 * SECOND,
  },
  {
    title: "issues as often as a spec with a lifetime of seconds needs",
    desired: { request: { ...request, lifetime: 2 * SECOND } },
    observed: settled({
      generation: generation({
        request: { ...request, lifetime: 2 * SECOND },
        notAfter: NOT_BEFORE + 2 * SECOND,
        chainNotAfter: NOT_BEFORE + 2 * SECOND,
      }),
      facts: facts({ issuances: [NOT_BEFORE - 3 * SECOND, NOT_BEFORE - 2 * SECOND, NOT_BEFORE] }),
    }),
    now: NOT_BEFORE + 2 * SECOND,
    kind: "issue",
    because: /expired/,
  },
  {
    title: "lets an operator pass the storm breaker",
    observed: {
      ...nothing,
      wish: { since: NOW, attempted: false },
      facts: { ...NO_FACTS, issuances: [NOW - HOUR, NOW - MINUTE, NOW - SECOND] },
    },
    kind: "issue",
    because: /nothing was issued/,
  },
  {
    title: "keeps an operator's later tries to the storm breaker",
    observed: {
      ...nothing,
      wish: { since: NOW - HOUR, attempted: true },
      facts: { ...NO_FACTS, issuances: [NOW - HOUR, NOW - MINUTE, NOW - SECOND] },
    },
    kind: "wait",
    because: /storm breaker/,
  },
  {
    title: "is not held for years by issuances of a clock that was ahead",
    observed: { ...nothing, facts: { ...NO_FACTS, issuances: [NOW + 9e9, NOW + 9e9, NOW + 9e9] } },
    kind: "wait",
    because: /storm breaker/,
  },
  {
    title: "holds an issuance while the clock is suspect",
    observed: { ...nothing, clockSuspectFor: MINUTE },
    kind: "wait",
    because: /clock of this host is older/,
  },
  {
    title: "tries all the same after ten minutes of a suspect clock",
    observed: { ...nothing, clockSuspectFor: 10 * MINUTE },
    kind: "issue",
    because: /nothing/,
  },
  {
    title: "tries after six seconds of a suspect clock where certificates live for five minutes",
    desired: { request: { ...request, lifetime: 5 * MINUTE } },
    observed: { ...nothing, clockSuspectFor: 6.25 * SECOND },
    kind: "issue",
    because: /nothing/,
  },
  {
    title: "spends no issuance on an obstacle at the outputs",
    observed: {
      ...nothing,
      apply: apply({
        deployed: null,
        obstacle: {
          code: "DEPLOY_FAILED",
          message: 'Cannot write "/etc/web.crt": no user "www"',
          hint: null,
          retryAt: null,
        },
      }),
    },
    kind: "wait",
    because: /no user "www"/,
  },
  {
    title: "repairs nothing that an obstacle would spoil",
    observed: settled({
      apply: apply({
        outputs: [stale],
        obstacle: { code: "DEPLOY_FAILED", message: "no space left", hint: null, retryAt: null },
      }),
    }),
    kind: "wait",
    because: /no space left/,
    next: "apply",
  },
  {
    title: "does not mind an obstacle while all files are right",
    observed: settled({
      apply: apply({ obstacle: { code: "DEPLOY_FAILED", message: "no space left", hint: null, retryAt: null } }),
    }),
    kind: "wait",
    because: /renewal window/,
    next: "issue",
  },
  {
    title: "does nothing for a certificate that was revoked",
    observed: { ...nothing, facts: { ...NO_FACTS, paused: { since: NOW, because: "it was revoked" } } },
    kind: "wait",
    because: /revoked/,
  },
  // adopting
  {
    title: "takes over a pair that stands there rather than issue",
    observed: { ...nothing, apply: apply({ deployed: null, adoptable: true }) },
    kind: "adopt",
    because: /stand at its outputs/,
  },
  {
    title:
      "takes over a pair that stands there at once where an operator asks for a certificate, whatever failed before",
    observed: {
      ...nothing,
      apply: apply({ deployed: null, adoptable: true }),
      wish: { since: NOW, attempted: false },
      facts: facts({ failures: { ...NO_FACTS.failures, issue: streak({ tryAt: NOW + HOUR }) } }),
    },
    kind: "adopt",
    because: /stand at its outputs/,
  },
  {
    title: "issues where the pair that stands there was refused",
    observed: { ...nothing, apply: apply({ deployed: null, adoptable: true }), adoptionRefused: true },
    kind: "issue",
    because: /nothing was issued/,
  },
  {
    title: "takes over what stands at the outputs of a spec that has the name of an earlier one",
    desired: { request: wanted },
    observed: settled({ apply: apply({ outputs: [foreign] }) }),
    kind: "adopt",
    because: /stand at its outputs/,
  },
  {
    title: "does not put an earlier one's certificate in the place of others' where the wanted one cannot be had",
    desired: { request: wanted },
    observed: settled({
      apply: apply({ outputs: [foreign, { ...removed, path: "/etc/web.key" }], services: [serviceFacts()] }),
      facts: facts({
        proofs: [proof({ proven: false })],
        failures: { ...NO_FACTS.failures, issue: streak({ code: "CREDENTIAL_MISSING", tryAt: NOW + HOUR }) },
      }),
      adoptionRefused: true,
    }),
    kind: "wait",
    because: /./,
    next: "issue",
  },
  {
    title: "deploys what was renewed as it was in the place of a pair that was taken over as it stood",
    desired: { request: wanted },
    observed: settled({
      generation: generation({ number: 4 }),
      apply: apply({ outputs: [foreign] }),
      facts: facts({
        deployed: [foreign.path],
        failures: { ...NO_FACTS.failures, issue: streak({ code: "CREDENTIAL_MISSING", tryAt: NOW + HOUR }) },
      }),
      adoptionRefused: true,
    }),
    kind: "apply",
    because: /generation 4 is not deployed/,
  },
  // files
  {
    title: "deploys a generation that is not deployed",
    observed: settled({ generation: generation({ number: 4 }) }),
    kind: "apply",
    because: /generation 4 is not deployed/,
  },
  {
    title: "repairs a file that drifted, and says how",
    observed: settled({ apply: apply({ outputs: [stale] }) }),
    kind: "apply",
    because: /\/etc\/web.crt has mode 0600, the spec says 0644/,
  },
  {
    title: "repairs a file while the CA is down",
    observed: settled({
      apply: apply({ outputs: [stale] }),
      facts: facts({ failures: { ...NO_FACTS.failures, issue: streak({ tryAt: RENEW_AT + HOUR }) } }),
    }),
    now: RENEW_AT,
    kind: "apply",
    because: /has mode 0600/,
  },
  {
    title: "waits for the back-off of deploying",
    observed: settled({
      apply: apply({ outputs: [stale] }),
      facts: facts({
        failures: { ...NO_FACTS.failures, apply: streak({ code: "DEPLOY_FAILED", tryAt: NOW + SECOND }) },
      }),
    }),
    kind: "wait",
    because: /has mode 0600/,
    next: "apply",
    until: NOW + SECOND,
  },
  {
    title: "puts back a file that was removed although a service refuses it",
    observed: settled({ apply: apply({ outputs: [removed] }), facts: refused(NOW - MINUTE / 2) }),
    kind: "apply",
    because: /\/etc\/web.crt is missing/,
  },
  {
    title: "puts back a file that was removed where a service refuses the next generation",
    observed: settled({
      generation: generation({ number: 4 }),
      apply: apply({ outputs: [{ ...stale, path: "/etc/web.key", state: "stale" }, removed] }),
      facts: refused(NOW - MINUTE / 2),
    }),
    kind: "apply",
    because: /\/etc\/web.crt is missing/,
  },
  {
    title: "puts back what a service refuses half a minute after that failed, and no sooner",
    observed: settled({ apply: apply({ outputs: [removed] }), facts: refused(NOW - SECOND) }),
    kind: "wait",
    because: /is missing/,
    next: "apply",
    until: NOW - SECOND + MINUTE / 2,
  },
  {
    title: "puts back what a service refuses three times an hour and no more",
    observed: settled({
      apply: apply({ outputs: [removed] }),
      facts: {
        ...refused(NOW - MINUTE),
        repairs: [30, 20, 10].map((ago) => ({ path: removed.path, at: NOW - ago * MINUTE })),
      },
    }),
    kind: "wait",
    because: /is missing/,
    next: "apply",
  },
  {
    title: "waits for the back-off where a file was never there",
    observed: settled({ apply: apply({ outputs: [removed] }), facts: { ...refused(NOW - MINUTE), deployed: [] } }),
    kind: "wait",
    because: /is missing/,
    next: "apply",
  },
  {
    title: "puts a file right three times an hour and no more",
    observed: settled({
      apply: apply({ outputs: [stale] }),
      facts: facts({ repairs: [30, 20, 10].map((ago) => ({ path: stale.path, at: NOW - ago * MINUTE })) }),
    }),
    kind: "wait",
    because: /has mode 0600/,
    next: "apply",
  },
  {
    title: "puts a file right beside one that somebody fights for",
    observed: settled({
      apply: apply({ outputs: [stale, { ...stale, path: "/etc/web.key", because: "is missing" }] }),
      facts: facts({ repairs: [30, 20, 10].map((ago) => ({ path: stale.path, at: NOW - ago * MINUTE })) }),
    }),
    kind: "apply",
    because: /\/etc\/web.key is missing/,
  },
  {
    title: "deploys a new generation over a file that somebody fights for",
    observed: settled({
      generation: generation({ number: 4 }),
      apply: apply({ outputs: [{ ...stale, state: "stale" }] }),
      facts: facts({ repairs: [30, 20, 10].map((ago) => ({ path: stale.path, at: NOW - ago * MINUTE })) }),
    }),
    kind: "apply",
    because: /generation 4/,
  },
  // services
  {
    title: "reloads a service that has not taken the generation",
    observed: settled({
      apply: apply({ services: [serviceFacts({ reloaded: { generation: 2, at: NOW, failure: null } })] }),
      facts: unproven,
    }),
    kind: "apply",
    because: /nginx has not taken generation 3/,
  },
  {
    title: "proves a service that was reloaded",
    observed: settled({ facts: unproven }),
    kind: "prove",
    because: /has not been seen to serve/,
  },
  {
    title: "believes no proof of another leaf, although its generation had the same number",
    observed: settled({ facts: facts({ proofs: [proof({ fingerprint: "00".repeat(32) })] }) }),
    kind: "prove",
    because: /has not been seen to serve/,
  },
  {
    title: "proves by looking where there is nothing to reload",
    desired: { services: [service({ type: "none", passive: true })] },
    observed: settled({ apply: apply({ services: [serviceFacts({ reloaded: null })] }), facts: unproven }),
    kind: "prove",
    because: /^the service has not been seen to serve/,
  },
  {
    title: "reloads again, after the back-off, what still serves the old leaf",
    observed: settled({
      facts: {
        ...unproven,
        failures: {
          ...NO_FACTS.failures,
          prove: streak({ code: "SERVICE_STALE", message: "still serves", at: NOW - HOUR, tryAt: NOW }),
        },
      },
    }),
    kind: "apply",
    because: /still serves/,
  },
  {
    title: "looks again, after the back-off, at what took its files and shows no leaf, and does not reload it yet",
    observed: settled({
      facts: {
        ...unproven,
        proofs: [proof({ proven: false, fingerprint: null, at: NOW - MINUTE })],
        failures: { ...NO_FACTS.failures, prove: streak({ code: "SERVICE_STALE", at: NOW - MINUTE, tryAt: NOW }) },
      },
    }),
    kind: "prove",
    because: /refused/,
    services: [0],
  },
  {
    title: "reloads what took its files and showed no leaf three times in a row",
    observed: settled({
      facts: {
        ...unproven,
        proofs: [proof({ proven: false, fingerprint: null, at: NOW - MINUTE })],
        failures: {
          ...NO_FACTS.failures,
          prove: streak({ code: "SERVICE_STALE", attempts: 3, at: NOW - MINUTE, tryAt: NOW }),
        },
      },
    }),
    kind: "apply",
    because: /refused/,
    services: [0],
  },
  {
    title: "does not reload it again before the back-off of a failed deployment has passed",
    observed: settled({
      facts: {
        ...unproven,
        failures: {
          issue: null,
          apply: streak({ code: "DEPLOY_FAILED", at: NOW, tryAt: NOW + HOUR }),
          prove: streak({ code: "SERVICE_STALE", message: "still serves", at: NOW - HOUR, tryAt: NOW }),
        },
      },
    }),
    kind: "wait",
    because: /still serves/,
    next: "apply",
    until: NOW + MINUTE,
  },
  {
    title: "reloads again although the last reload lies in the future: the clock was ahead then",
    observed: settled({
      apply: apply({ services: [serviceFacts({ reloaded: { generation: 3, at: NOW + DAY, failure: null } })] }),
      facts: {
        ...unproven,
        failures: { ...NO_FACTS.failures, prove: streak({ code: "SERVICE_STALE", at: NOW - HOUR, tryAt: NOW }) },
      },
    }),
    kind: "apply",
    because: /refused/,
  },
  {
    title: "looks again after that reload",
    observed: settled({
      apply: apply({ services: [serviceFacts({ reloaded: { generation: 3, at: NOW, failure: null } })] }),
      facts: {
        ...unproven,
        proofs: [proof({ proven: false, at: NOW - HOUR })],
        failures: { ...NO_FACTS.failures, prove: streak({ code: "SERVICE_STALE", at: NOW - HOUR, tryAt: NOW }) },
      },
    }),
    kind: "prove",
    because: /refused/,
  },
  {
    title: "reloads again what is stale beside a service that is down, and that one alone",
    desired: { services: [service({ key: "a" }), service({ key: "b" }), service({ key: "c" })] },
    observed: settled({
      apply: apply({ services: [serviceFacts({ liveness: "down", reloaded: null }), serviceFacts(), serviceFacts()] }),
      facts: facts({
        proofs: [
          proof({ proven: false, code: "SERVICE_DOWN", at: NOW - MINUTE }),
          proof({ proven: false, at: NOW - MINUTE }),
          proof(),
        ],
        failures: { ...NO_FACTS.failures, prove: streak({ code: "SERVICE_STALE", at: NOW - MINUTE, tryAt: NOW }) },
      }),
    }),
    kind: "apply",
    because: /refused/,
    services: [1],
  },
  {
    title: "does not ask for a reload outside of its window of what is stale, but looks at it",
    desired: { services: [service({ window: { at: () => ({ open: false, nextOpensAt: NOW + 2 * HOUR }) } })] },
    observed: settled({
      facts: facts({
        proofs: [proof({ proven: false, at: NOW - MINUTE })],
        failures: { ...NO_FACTS.failures, prove: streak({ code: "SERVICE_STALE", at: NOW - MINUTE, tryAt: NOW }) },
      }),
    }),
    kind: "prove",
    because: /refused/,
    services: [0],
  },
  {
    title: "does not ask for a reload of what nobody can look at, however often that was found",
    observed: settled({
      apply: apply({ services: [serviceFacts({ probe: null, unseen })] }),
      facts: facts({
        proofs: [proof({ proven: false, fingerprint: null, code: "SERVICE_UNSEEN", at: NOW - HOUR })],
        failures: { ...NO_FACTS.failures, prove: streak({ code: "SERVICE_UNSEEN", attempts: 9, tryAt: NOW }) },
      }),
    }),
    kind: "prove",
    because: /refused/,
    services: [0],
  },
  {
    title: "looks at once at what nobody could look at before",
    observed: settled({
      facts: facts({
        proofs: [proof({ proven: false, fingerprint: null, code: "SERVICE_UNSEEN", at: NOW - MINUTE })],
        failures: { ...NO_FACTS.failures, prove: streak({ code: "SERVICE_UNSEEN", tryAt: NOW + HOUR }) },
      }),
    }),
    kind: "prove",
    because: /refused/,
    services: [0],
  },
  {
    title: "looks at what its own check keeps from being told, as somebody may have restarted it",
    observed: settled({
      apply: apply({ services: [serviceFacts({ reloaded: null })] }),
      facts: facts({
        proofs: [proof({ generation: 2 })],
        failures: { ...NO_FACTS.failures, prove: streak({ code: "RELOAD_FAILED", since: NOW - MINUTE }) },
      }),
    }),
    kind: "prove",
    because: /may have been restarted/,
    services: [0],
  },
  {
    title: "tells when it is told again between two looks at that",
    observed: settled({
      apply: apply({ services: [serviceFacts({ reloaded: null })] }),
      facts: facts({
        proofs: [proof({ proven: false, code: "SERVICE_STALE", at: NOW - SECOND })],
        failures: { ...NO_FACTS.failures, prove: streak({ code: "RELOAD_FAILED", since: NOW - MINUTE }) },
      }),
    }),
    kind: "wait",
    because: /has not taken/,
    next: "apply",
  },
  {
    title: "does not ask for a reload of what does not run, although something answers there, but looks at it",
    observed: settled({
      apply: apply({ services: [serviceFacts({ liveness: "down" })] }),
      facts: facts({
        proofs: [proof({ proven: false, at: NOW - MINUTE })],
        failures: { ...NO_FACTS.failures, prove: streak({ code: "SERVICE_STALE", at: NOW - MINUTE, tryAt: NOW }) },
      }),
    }),
    kind: "prove",
    because: /refused/,
    services: [0],
  },
  {
    title: "waits for the back-off to look at what answers there although its unit does not run",
    observed: settled({
      apply: apply({ services: [serviceFacts({ liveness: "down" })] }),
      facts: facts({
        proofs: [proof({ proven: false, at: NOW - 2 * MINUTE })],
        failures: { ...NO_FACTS.failures, prove: streak({ code: "SERVICE_STALE", tryAt: NOW + 30 * SECOND }) },
      }),
    }),
    kind: "wait",
    because: /refused/,
    next: "prove",
    until: NOW + 30 * SECOND,
  },
  {
    title: "looks once a minute at what is down while another service's back-off is over and its reload waits",
    desired: { services: [service({ key: "a" }), service({ key: "b" })] },
    observed: settled({
      apply: apply({ services: [serviceFacts(), serviceFacts({ liveness: "down", reloaded: null })] }),
      facts: facts({
        proofs: [
          proof({ proven: false, at: NOW - MINUTE }),
          proof({ proven: false, code: "SERVICE_DOWN", at: NOW - 20 * SECOND }),
        ],
        failures: {
          issue: null,
          apply: streak({ code: "DEPLOY_FAILED", tryAt: NOW + HOUR }),
          prove: streak({ code: "SERVICE_STALE", at: NOW - MINUTE, tryAt: NOW - 30 * SECOND }),
        },
      }),
    }),
    kind: "wait",
    because: /is not running/,
    next: "prove",
    until: NOW + 40 * SECOND,
  },
  {
    title: "has a service that came up take the files at once, whatever the back-off of another one that is stale",
    desired: { services: [service({ key: "a" }), service({ key: "b" })] },
    observed: settled({
      apply: apply({ services: [serviceFacts(), serviceFacts({ reloaded: null })] }),
      facts: facts({
        proofs: [
          proof({ proven: false, at: NOW - MINUTE }),
          proof({ proven: false, code: "SERVICE_DOWN", at: NOW - MINUTE }),
        ],
        failures: { ...NO_FACTS.failures, prove: streak({ code: "SERVICE_STALE", tryAt: NOW + HOUR }) },
      }),
    }),
    kind: "apply",
    because: /has not taken/,
    services: [],
  },
  {
    title: "does not ask again what was broken before sooner than its back-off says",
    observed: settled({
      apply: apply({ services: [serviceFacts({ reloaded: null })] }),
      facts: facts({
        proofs: [proof({ generation: 2 })],
        failures: { ...NO_FACTS.failures, prove: streak({ code: "RELOAD_FAILED", tryAt: NOW + 40 * SECOND }) },
      }),
    }),
    kind: "wait",
    because: /has not taken/,
    next: "apply",
    until: NOW + 40 * SECOND,
  },
  {
    title: "looks within a minute at what is down, whatever the back-off of a service that is stale",
    desired: { services: [service({ key: "a" }), service({ key: "b" })] },
    observed: settled({
      apply: apply({ services: [serviceFacts(), serviceFacts({ liveness: "down", reloaded: null })] }),
      facts: facts({
        proofs: [
          proof({ proven: false, at: NOW - MINUTE }),
          proof({ proven: false, code: "SERVICE_DOWN", at: NOW - MINUTE }),
        ],
        failures: { ...NO_FACTS.failures, prove: streak({ code: "SERVICE_STALE", tryAt: NOW + HOUR }) },
      }),
    }),
    kind: "prove",
    because: /is not running/,
    services: [1],
  },
  {
    title: "looks at once at a service that was just reloaded, whatever the back-off of another one",
    desired: { services: [service({ key: "a" }), service({ key: "b" })] },
    observed: settled({
      apply: apply({ services: [serviceFacts({ reloaded: null }), serviceFacts()] }),
      facts: facts({
        proofs: [proof({ generation: 2 }), proof({ generation: 2 })],
        failures: { ...NO_FACTS.failures, prove: streak({ code: "RELOAD_FAILED", tryAt: NOW + HOUR }) },
      }),
    }),
    kind: "prove",
    because: /has not been seen|refused/,
    services: [1],
  },
  {
    title: "does not reload a service that is down, but looks at it",
    observed: settled({
      apply: apply({ services: [serviceFacts({ liveness: "down", reloaded: null })] }),
      facts: unproven,
    }),
    kind: "prove",
    because: /nginx is not running/,
  },
  {
    title: "calls a unit by its name: not systemd is what does not run",
    desired: { services: [service({ type: "systemd", called: "kafka" })] },
    observed: settled({
      apply: apply({ services: [serviceFacts({ liveness: "down", reloaded: null })] }),
      facts: unproven,
    }),
    kind: "prove",
    because: /^kafka is not running$/,
  },
  {
    title: "waits to look again at a service that is down",
    observed: settled({
      apply: apply({ services: [serviceFacts({ liveness: "down", reloaded: null })] }),
      facts: {
        ...unproven,
        failures: { ...NO_FACTS.failures, prove: streak({ code: "SERVICE_DOWN", tryAt: NOW + 40 * SECOND }) },
      },
    }),
    kind: "wait",
    because: /not running/,
    next: "prove",
    until: NOW + 40 * SECOND,
  },
  {
    title: "looks again at a proven service after a quarter of an hour",
    observed: settled({ facts: facts({ proofs: [proof({ at: NOW - 15 * MINUTE })] }) }),
    kind: "prove",
    because: /time to look/,
  },
  {
    title: "looks again after a minute at a service that was reloaded just before it was proven",
    observed: settled({
      apply: apply({ services: [serviceFacts({ reloaded: { generation: 3, at: NOW - 61 * SECOND, failure: null } })] }),
      facts: facts({ proofs: [proof({ at: NOW - 60 * SECOND })] }),
    }),
    kind: "prove",
    because: /time to look/,
  },
  {
    title: "looks no more often after that, nor for a reload that a clock which was ahead has dated",
    desired: { services: [service(), service()] },
    observed: settled({
      apply: apply({
        services: [NOW - 2 * MINUTE, NOW + HOUR].map((at) =>
          serviceFacts({ reloaded: { generation: 3, at, failure: null } }),
        ),
      }),
      facts: facts({ proofs: [proof({ at: NOW - 60 * SECOND }), proof({ at: NOW - 60 * SECOND })] }),
    }),
    kind: "wait",
    because: /renewal window/,
  },
  {
    title: "lets a service wait for its maintenance window",
    desired: { services: [service({ window: { at: () => ({ open: false, nextOpensAt: NOW + 2 * HOUR }) } })] },
    observed: settled({
      apply: apply({ services: [serviceFacts({ reloaded: null, servedUntil: NOW + 5 * HOUR })] }),
      facts: unproven,
    }),
    kind: "wait",
    because: /maintenance window/,
    next: "apply",
  },
  {
    title: "does not wait for a window that the old certificate would not live to see",
    desired: { services: [service({ window: { at: () => ({ open: false, nextOpensAt: NOW + 6 * HOUR }) } })] },
    observed: settled({
      apply: apply({ services: [serviceFacts({ reloaded: null, servedUntil: NOW + 5 * HOUR })] }),
      facts: unproven,
    }),
    kind: "apply",
    because: /has not taken/,
  },
  {
    title: "settles at once where the spec names no services",
    desired: { services: [] },
    observed: settled({ apply: apply({ services: [] }), facts: facts({ proofs: [] }) }),
    kind: "wait",
    because: /renewal window/,
  },
];

test.each(rows)("plan() $title", ({ desired: changes, observed, now = NOW, ...row }) => {
  const { kind, because, next, until, services, by } = row;
  const answer = plan(desired(changes), observed, now);

  expect(answer.kind).toBe(kind);
  expect(answer.because).toMatch(because);
  if (by !== undefined) expect("by" in answer && answer.by).toBe(by);
  if (services !== undefined)
    expect("again" in answer ? answer.again : "services" in answer && answer.services).toEqual(services);
  if (answer.kind !== "wait") return;
  expect(answer.until).toBeGreaterThan(now);
  expect(answer.until).toBeLessThanOrEqual(now + 60 * SECOND);
  if (next !== undefined) expect(answer.next?.action).toBe(next);
  if (until !== undefined) expect(answer.until).toBe(until);
});

test("plan() waits for its routine looks without telling of them, and wakes up for a service that is down alone", () => {
  const lookedAt = facts({ proofs: [proof({ at: NOW - 30 * SECOND })] });
  const down = settled({ facts: lookedAt, apply: apply({ services: [serviceFacts({ liveness: "down" })] }) });
  const up = settled({ facts: facts({ proofs: [proof({ at: NOW - 14.5 * MINUTE })] }) });

  const next = { action: "issue", at: RENEW_AT };
  expect(plan(desired(), down, NOW)).toMatchObject({ kind: "wait", next, until: NOW + 30 * SECOND });
  expect(plan(desired(), up, NOW)).toMatchObject({ kind: "wait", next, until: NOW + 60 * SECOND });
});

test("plan() gives the same answer for the same input", () => {
  const input = settled({ facts: unproven });

  expect(plan(desired(), input, NOW)).toEqual(plan(desired(), structuredClone(input), NOW));
  expect(probe.starttls).toBe("tls");
});
