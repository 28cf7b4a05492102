import { expect, test } from "vitest";
import { formatInstant } from "../../../src/base/time.ts";
import { NO_FACTS } from "../../../src/core/facts.ts";
import type { Observed } from "../../../src/core/observed.ts";
import { renewAt } from "../../../src/core/renewal.ts";
import {
  brokenSpec,
  type Managed,
  needsAttention,
  planOf,
  statusOf,
  statusOfInvalid,
} from "../../../src/core/status.ts";
import contract from "../../contract/output/status.json" with { type: "json" };
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

const nothing = { generation: null, deployed: null, apply: apply({ deployed: null }) };
const failures = { issue: null, apply: null, prove: null };
const drifted = { path: "/etc/web.crt", format: "fullchain", state: "drifted", because: "has mode 0666" } as const;
const due = renewAt(generation().fingerprint, { notBefore: NOT_BEFORE, notAfter: NOT_BEFORE + LIFETIME }, null);

/** The shape of a value: keys in order of the alphabet, and the kinds of what they hold. */
function keysOf(value: object): readonly string[] {
  return Object.keys(value).toSorted();
}

test("a current certificate has the keys, the words and the times of the contract", () => {
  const [promised] = contract.certificates;
  if (promised === undefined) throw new Error("the contract has no certificate");

  const status = statusOf(managed(), NOW);

  expect(keysOf(status)).toEqual(expect.arrayContaining([...keysOf(promised)]));
  for (const key of ["leaf", "next"] as const) {
    expect(keysOf(status[key] ?? {})).toEqual(expect.arrayContaining([...keysOf(promised[key] ?? {})]));
  }
  for (const key of ["outputs", "services"] as const) {
    expect(keysOf(status[key][0] ?? {})).toEqual(expect.arrayContaining([...keysOf(promised[key][0] ?? {})]));
  }
  expect(status.because).toBe(promised.because);
  expect(status.next?.because).toBe(promised.next?.because);
  expect(status.state).toBe(promised.state);
  expect(status.leaf?.not_before).toBe(promised.leaf?.not_before);
  expect(status.failure).toBe(promised.failure);
});

test("a failing certificate has the keys and the words of the contract", () => {
  const promised = contract.certificates[1];
  if (promised === undefined) throw new Error("the contract has no failing certificate");
  const given = managed({
    ...nothing,
    facts: facts({ proofs: [], failures: { ...failures, issue: streak({ hint: "Is step-ca running?" }) } }),
  });

  const status = statusOf(given, NOW);

  expect(status.state).toBe(promised.state);
  expect(status.because).toBe(promised.because);
  expect(status.leaf).toBeNull();
  expect(status.next?.because).toBe(promised.next?.because);
  expect(keysOf(status.failure ?? {})).toEqual(expect.arrayContaining([...keysOf(promised.failure ?? {})]));
  expect(status.failure?.retry_at).toBe(status.next?.at);
  expect(status.services[0]).toMatchObject({ state: "unproven", at: null, fingerprint: null });
});

test("a spec that was never understood is invalid, with its complaint", () => {
  const complaint = "/etc/certagent.d/web.yaml:5:53: mode must be a string";

  const status = statusOfInvalid("web", "/etc/certagent.d/web.yaml", brokenSpec(complaint, "quote it", NOW));

  expect(status).toMatchObject({ state: "invalid", because: complaint, leaf: null, next: null, issuer: null });
  expect(status.failure).toEqual({
    code: "SPEC_INVALID",
    message: complaint,
    hint: "quote it",
    since: formatInstant(NOW),
    attempts: 1,
    retry_at: null,
  });
  expect(needsAttention(status)).toBe(true);
});

test("a plan names the file, the commands and the probe that it would touch", () => {
  const plan = planOf(managed({ apply: apply({ outputs: [drifted] }) }), NOW);

  expect(plan).toEqual({
    name: "web",
    action: "apply",
    because: "/etc/web.crt has mode 0666",
    at: formatInstant(NOW),
    steps: ["write /etc/web.crt", "nginx -t", "systemctl reload nginx", "probe 127.0.0.1:443"],
  });
});

test("a plan that changes files names the hooks around that, and one that changes none does not", () => {
  const hooks = { before: ["/usr/sbin/zfs", "snapshot", "a b"], after: ["/usr/bin/notify"], failed: ["/bin/false"] };
  const about = { desired: desired({ hooks }) };

  expect(planOf(managed({ apply: apply({ outputs: [drifted] }) }, about), NOW).steps).toEqual([
    "run the before hook: /usr/sbin/zfs snapshot 'a b'",
    "write /etc/web.crt",
    "nginx -t",
    "systemctl reload nginx",
    "run the after hook: /usr/bin/notify",
    "probe 127.0.0.1:443",
  ]);
  const stale = facts({
    proofs: [proof({ proven: false })],
    failures: { ...NO_FACTS.failures, prove: streak({ code: "SERVICE_STALE", tryAt: NOW }) },
  });
  expect(planOf(managed({ facts: stale }, about), NOW).steps).toEqual([
    "nginx -t",
    "systemctl reload nginx",
    "probe 127.0.0.1:443",
  ]);
});

test("a plan to take over a pair does not say that files are written that may stay as they are", () => {
  const hooks = { before: ["/bin/before"], after: null, failed: null };
  const outputs = [
    { path: "/etc/web.crt", format: "fullchain", state: "foreign", because: "is not certagent's" },
    { path: "/etc/ca.crt", format: "roots", state: "missing", because: "is missing" },
  ] as const;
  const stepsFor = (count: number) =>
    planOf(
      managed(
        { ...nothing, apply: apply({ deployed: null, adoptable: true, outputs: outputs.slice(0, count) }) },
        { desired: desired({ hooks, services: [] }) },
      ),
      NOW,
    ).steps;

  expect(stepsFor(1)).toEqual([
    "take over the pair at the outputs",
    "run the before hook where a file differs: /bin/before",
    "write /etc/web.crt where it differs",
  ]);
  expect(stepsFor(2)).toEqual([
    "take over the pair at the outputs",
    "run the before hook: /bin/before",
    "write /etc/web.crt where it differs",
    "write /etc/ca.crt",
  ]);
});

test("a plan to tell one service again names no command of another, which serves", () => {
  const services = [service({ key: "a", steps: ["systemctl restart a"] }), service({ key: "b", steps: ["reload b"] })];
  const asked = managed(
    {
      apply: apply({ services: [serviceFacts(), serviceFacts()] }),
      facts: facts({
        proofs: [proof(), proof({ proven: false })],
        failures: { ...NO_FACTS.failures, prove: streak({ code: "SERVICE_STALE", tryAt: NOW }) },
      }),
    },
    { desired: desired({ services }) },
  );

  expect(planOf(asked, NOW)).toMatchObject({ action: "apply", steps: ["reload b", "probe 127.0.0.1:443"] });
});

test("a plan that waits has no steps, and says until when", () => {
  expect(planOf(managed(), NOW)).toEqual({
    name: "web",
    action: "wait",
    because: "current until its place in the renewal window",
    at: formatInstant(due),
    steps: [],
  });
});
