import { expect, test } from "vitest";
import { DAY, formatInstant, HOUR, MINUTE, SECOND } from "../../../src/base/time.ts";
import type { Observed } from "../../../src/core/observed.ts";
import { renewAt } from "../../../src/core/renewal.ts";
import { brokenSpec, type Managed, needsAttention, statusOf } from "../../../src/core/status.ts";
import type { State } from "../../../src/core/status-document.ts";
import { serviceOf } from "../../servers/service.ts";
import {
  apply,
  desired,
  facts,
  generation,
  LIFETIME,
  NOT_BEFORE,
  NOW,
  proof,
  service,
  serviceFacts,
  settled,
  streak,
} from "./given.ts";

function managed(observed: Partial<Observed> = {}, changes: Partial<Managed> = {}): Managed {
  return {
    desired: desired(),
    observed: settled(observed),
    issuing: false,
    broken: null,
    ...changes,
  };
}

const nothing = { generation: null, deployed: null, apply: apply({ deployed: null }), facts: facts({ proofs: [] }) };
const unproven = facts({ proofs: [proof({ proven: false, fingerprint: "aa" })] });
const failures = { issue: null, apply: null, prove: null };
const drifted = { path: "/etc/web.crt", format: "fullchain", state: "drifted", because: "has mode 0666" } as const;
const fought = [3, 2, 1].map((minutes) => ({ path: "/etc/web.crt", at: NOW - minutes * MINUTE }));
const expired = generation({ notAfter: NOW - 1, chainNotAfter: NOW - 1 });
const due = renewAt(generation().fingerprint, { notBefore: NOT_BEFORE, notAfter: NOT_BEFORE + LIFETIME }, null);

interface Row {
  readonly title: string;
  readonly managed: Managed;
  readonly at?: number;
  readonly state: State;
  readonly because: RegExp;
  /** `action: because`, and when, where that matters. */
  readonly next: RegExp | null;
  readonly nextAt?: number;
  readonly failure: string | null;
  readonly attention: boolean;
}

const rows: readonly Row[] = [
  {
    title: "current: proven by its probe",
    managed: managed(),
    state: "current",
    because: /^nginx serves this certificate at 127\.0\.0\.1:443$/,
    next: /^issue: its place in the renewal window comes up$/,
    nextAt: due,
    failure: null,
    attention: false,
  },
  {
    title: "current where nobody is told of new files: no sentence begins with none",
    managed: managed({}, { desired: desired({ services: [service({ type: "none", passive: true })] }) }),
    state: "current",
    because: /^the service serves this certificate at 127\.0\.0\.1:443$/,
    next: /^issue: its place in the renewal window comes up$/,
    failure: null,
    attention: false,
  },
  {
    title: "current of a command: no sentence says that the command serves",
    managed: managed({}, { desired: desired({ services: [serviceOf({ type: "command", reload: ["/bin/true"] })] }) }),
    state: "current",
    because: /^the service serves this certificate at 127\.0\.0\.1:443$/,
    next: /^issue/,
    failure: null,
    attention: false,
  },
  {
    title: "current without services: its files are right",
    managed: managed({ facts: facts({ proofs: [] }) }, { desired: desired({ services: [] }) }),
    state: "current",
    because: /^its files are as the spec says$/,
    next: /^issue/,
    failure: null,
    attention: false,
  },
  {
    title: "current without a probe: by the reload that ended well",
    managed: managed({ facts: facts({ proofs: [proof({ fingerprint: null, address: null })] }) }),
    state: "current",
    because: /^nginx took generation 3 at 2026-11-20T09:00:00Z; there is no probe to look with$/,
    next: /^issue/,
    failure: null,
    attention: false,
  },
  {
    title: "pending: nothing was issued yet",
    managed: managed(nothing),
    state: "pending",
    because: /^nothing was issued yet$/,
    next: /^issue: nothing was issued yet$/,
    nextAt: NOW,
    failure: null,
    attention: true,
  },
  {
    title: "pending: the first certificate is being issued",
    managed: managed(nothing, { issuing: true }),
    state: "pending",
    because: /^nothing was issued yet$/,
    next: /^issue/,
    failure: null,
    attention: true,
  },
  {
    title: "pending: issued and not deployed yet",
    managed: managed({ deployed: null, apply: apply({ deployed: null }) }),
    state: "pending",
    because: /generation 3 is not deployed yet/,
    next: /^apply/,
    failure: null,
    attention: true,
  },
  {
    title: "renewing: an issuance is under way",
    managed: managed({}, { issuing: true }),
    state: "renewing",
    because: /^a newer certificate is on its way$/,
    next: /^issue/,
    failure: null,
    attention: false,
  },
  {
    title: "renewing: a newer generation is about to be deployed",
    managed: managed({ deployed: generation({ number: 2 }), apply: apply({ deployed: 2 }) }),
    state: "renewing",
    because: /^a newer certificate is on its way$/,
    next: /^apply/,
    failure: null,
    attention: false,
  },
  {
    title: "unproven: the service has not been seen to serve it",
    managed: managed({
      facts: {
        ...unproven,
        proofs: [proof({ proven: false, code: "SERVICE_DOWN" })],
        failures: { ...failures, prove: streak({ code: "SERVICE_DOWN", message: "Cannot connect: refused" }) },
      },
    }),
    state: "unproven",
    because: /^Cannot connect: refused$/,
    next: /^prove: trying again after a failure$/,
    nextAt: NOW + MINUTE,
    failure: "SERVICE_DOWN",
    attention: true,
  },
  {
    title: "unproven: an output is known not to be as the spec says",
    managed: managed({ apply: apply({ outputs: [drifted] }) }),
    state: "unproven",
    because: /has mode 0666/,
    next: /^apply: /,
    nextAt: NOW,
    failure: null,
    attention: true,
  },
  {
    title: "unproven: the service waits for its maintenance window",
    managed: managed(
      {
        apply: apply({ services: [serviceFacts({ reloaded: null, servedUntil: NOW + 5 * DAY })] }),
        facts: unproven,
      },
      {
        desired: desired({ services: [service({ window: { at: () => ({ open: false, nextOpensAt: NOW + HOUR }) } })] }),
      },
    ),
    state: "unproven",
    because: /waits for its maintenance window/,
    next: /^apply: nginx waits for its maintenance window$/,
    nextAt: NOW + HOUR,
    failure: null,
    attention: true,
  },
  {
    title: "failing: the CA cannot be reached",
    managed: managed({ ...nothing, facts: facts({ failures: { ...failures, issue: streak() } }) }),
    state: "failing",
    because: /^the CA cannot be reached$/,
    next: /^issue: trying again after a failure$/,
    nextAt: NOW + HOUR,
    failure: "ISSUER_UNREACHABLE",
    attention: true,
  },
  {
    title: "failing: a forced renewal, although the service is still proven",
    managed: managed({
      wish: { since: NOW, attempted: true },
      facts: facts({ failures: { ...failures, issue: streak({ code: "ISSUER_REJECTED" }) } }),
    }),
    state: "failing",
    because: /^the CA refused the request$/,
    next: /^issue: trying again after a failure$/,
    failure: "ISSUER_REJECTED",
    attention: true,
  },
  {
    title: "failing: the disk is full",
    managed: managed({
      apply: apply({ outputs: [drifted] }),
      facts: facts({
        failures: { ...failures, apply: streak({ code: "DEPLOY_FAILED", message: "Cannot write: full" }) },
      }),
    }),
    state: "failing",
    because: /^Cannot write: full$/,
    next: /^apply: trying again after a failure$/,
    failure: "DEPLOY_FAILED",
    attention: true,
  },
  {
    title: "failing: somebody else writes the file",
    managed: managed({ apply: apply({ outputs: [drifted] }), facts: facts({ repairs: fought }) }),
    state: "failing",
    because: /^Cannot keep "\/etc\/web\.crt" as the spec says/,
    next: /^apply: \/etc\/web\.crt has mode 0666$/,
    nextAt: NOW - 3 * MINUTE + HOUR,
    failure: "DRIFT_FIGHT",
    attention: true,
  },
  {
    title: "failing: an owner that does not exist",
    managed: managed({
      ...nothing,
      apply: apply({
        deployed: null,
        obstacle: { code: "DEPLOY_FAILED", message: 'no user "api"', hint: "adduser api", retryAt: null },
      }),
    }),
    state: "failing",
    because: /^no user "api"$/,
    next: /^issue: no user "api"$/,
    failure: "DEPLOY_FAILED",
    attention: true,
  },
  {
    title: "expired: it could not be renewed",
    managed: managed({
      generation: expired,
      facts: facts({ failures: { ...failures, issue: streak({ message: "Cannot reach the CA" }) } }),
    }),
    state: "expired",
    because: /^Cannot reach the CA$/,
    next: /^issue: trying again after a failure$/,
    failure: "ISSUER_UNREACHABLE",
    attention: true,
  },
  {
    title: "paused: revoked",
    managed: managed({ facts: facts({ paused: { since: NOW, because: "revoked" } }) }),
    state: "paused",
    because: /^revoked$/,
    next: null,
    failure: null,
    attention: true,
  },
  {
    title: "paused: the storm breaker holds the next issuance",
    managed: managed({ facts: facts({ issuances: [due - 3, due - 2, due - 1], proofs: [proof({ at: due })] }) }),
    at: due,
    state: "paused",
    because: /held by the storm breaker/,
    next: /^issue: .*held by the storm breaker/,
    nextAt: due - 3 + LIFETIME / 6,
    failure: null,
    attention: true,
  },
  {
    title: "current, and a broken edit is told of",
    managed: managed(
      {},
      { broken: brokenSpec("/etc/certagent.d/web.yaml:5:53: mode must be a string", "quote it", NOW) },
    ),
    state: "current",
    because: /serves this certificate/,
    next: /^issue/,
    failure: "SPEC_INVALID",
    attention: true,
  },
];

test.each(rows)(
  "status says $title",
  ({ managed: given, at = NOW, state, because, next, nextAt, failure, attention }) => {
    const status = statusOf(given, at);

    expect(status.state).toBe(state);
    expect(status.because).toMatch(because);
    if (next === null) expect(status.next).toBeNull();
    else expect(`${status.next?.action}: ${status.next?.because}`).toMatch(next);
    if (nextAt !== undefined) expect(status.next?.at).toBe(formatInstant(nextAt));
    expect(status.failure?.code ?? null).toBe(failure);
    expect(needsAttention(status)).toBe(attention);
  },
);

test("every state that there is has its row, or is told of a spec that was never understood", () => {
  const states: Record<State, true> = {
    pending: true,
    current: true,
    unproven: true,
    renewing: true,
    failing: true,
    expired: true,
    paused: true,
    invalid: true,
  };
  const shown = new Set<string>([...rows.map(({ state }) => state), "invalid"]);

  expect(shown).toEqual(new Set(Object.keys(states)));
});

test.each([-1, SECOND])("a refused answer that the storm breaker holds is tried again when that ends: %d", (wait) => {
  const held = facts({
    issuances: [due - 3, due - 2, due - 1],
    failures: { ...failures, issue: streak({ code: "CHAIN_UNUSABLE", tryAt: due + wait }) },
    proofs: [proof({ at: due })],
  });

  const status = statusOf(managed({ facts: held }), due);

  expect(status.state).toBe("failing");
  expect(status.failure?.retry_at).toBe(formatInstant(due - 3 + LIFETIME / 6));
  expect(status.next?.at).toBe(status.failure?.retry_at);
});

test("a fight over a file has failed since its last repair, and is tried when the first is an hour old", () => {
  const { failure } = statusOf(
    managed({ apply: apply({ outputs: [drifted] }), facts: facts({ repairs: fought }) }),
    NOW,
  );

  expect(failure?.since).toBe(formatInstant(NOW - MINUTE));
  expect(failure?.retry_at).toBe(formatInstant(NOW - 3 * MINUTE + HOUR));
});

test("files that were put right three times, and that a service's refusal brought back, are not fought for", () => {
  const refused = streak({ code: "RELOAD_FAILED", message: "Cannot reload nginx" });
  const { failure } = statusOf(
    managed({
      generation: generation({ number: 4 }),
      apply: apply({ outputs: [{ ...drifted, state: "stale" }] }),
      facts: facts({ repairs: fought, failures: { ...failures, apply: refused } }),
    }),
    NOW,
  );

  expect(failure?.code).toBe("RELOAD_FAILED");
});

test.each([
  ["failing", NOW + DAY],
  ["expired", NOW - DAY],
])("of a %s certificate it is told what is in the way, whatever failed before that", (state, chainNotAfter) => {
  const obstacle = {
    code: "DEPLOY_FAILED" as const,
    message: "Cannot write: the disk is full",
    hint: null,
    retryAt: null,
  };
  const failures = { issue: streak({ tryAt: NOW - HOUR }), apply: streak(), prove: null };
  const given = {
    generation: generation({ chainNotAfter }),
    facts: facts({ failures }),
    apply: apply({ deployed: 1, obstacle }),
    nextLook: NOW + MINUTE,
  };

  expect(statusOf(managed(given), NOW)).toMatchObject({
    state,
    because: "Cannot write: the disk is full",
    next: { at: "2026-11-20T10:01:00Z", because: "Cannot write: the disk is full" },
    failure: { code: "DEPLOY_FAILED", retry_at: "2026-11-20T10:01:00Z" },
  });
});

test("an obstacle at the outputs has been there since it was first seen, and is looked at when that is due", () => {
  const obstacle = { code: "DEPLOY_FAILED" as const, message: 'no user "api"', hint: null, retryAt: null };
  const given = {
    ...nothing,
    apply: apply({ deployed: null, obstacle }),
    obstacleSince: NOW - DAY,
    nextLook: NOW + 5 * MINUTE,
  };

  const { failure, next } = statusOf(managed(given), NOW);

  expect(failure?.since).toBe(formatInstant(NOW - DAY));
  expect(failure?.retry_at).toBe(formatInstant(NOW + 5 * MINUTE));
  expect(next?.at).toBe(failure?.retry_at);
  expect(statusOf(managed(given), NOW + HOUR).next?.at).toBe(formatInstant(NOW + HOUR));
});
