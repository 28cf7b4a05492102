import { expect, test } from "vitest";
import { DAY } from "../../../src/base/time.ts";
import type { Observed } from "../../../src/core/observed.ts";
import { stepsOver } from "../../../src/core/plan.ts";
import type { Desired } from "../../../src/core/ports.ts";
import { apply, desired, facts, NOW, proof, request, serviceFacts, settled, streak } from "./given.ts";

interface Row {
  readonly title: string;
  readonly desired?: Partial<Desired>;
  readonly observed: Partial<Observed>;
  readonly over: readonly string[];
}

const drifted = { path: "/etc/web.crt", format: "fullchain", state: "drifted", because: "has mode 0666" } as const;
const unproven = facts({ proofs: [proof({ proven: false })] });

const rows: readonly Row[] = [
  { title: "both are over where everything is as it should be", observed: {}, over: ["issue", "apply"] },
  { title: "none is over before the first certificate", observed: { generation: null }, over: [] },
  {
    title: "issuing is not over while a wish is open",
    observed: { wish: { since: NOW, attempted: true } },
    over: ["apply"],
  },
  {
    title: "issuing is not over while the spec asks for other names",
    desired: { request: { ...request, names: [{ type: "dns", value: "other.internal" }] } },
    observed: {},
    over: ["apply"],
  },
  {
    title: "deploying is not over while a file differs",
    observed: { apply: apply({ outputs: [drifted] }) },
    over: ["issue"],
  },
  {
    title: "deploying is not over while an older generation is deployed",
    observed: { apply: apply({ deployed: 2 }) },
    over: ["issue"],
  },
  {
    title: "deploying is not over while a service has refused its reload",
    observed: {
      apply: apply({ services: [serviceFacts({ reloaded: { generation: 3, at: NOW, failure: streak() } })] }),
      facts: unproven,
    },
    over: ["issue"],
  },
  {
    title: "deploying is over where only a proof is missing",
    observed: { facts: { ...unproven, failures: { issue: null, apply: streak(), prove: null } } },
    over: ["issue", "apply"],
  },
];

test.each(rows)("stepsOver(): $title", ({ desired: changes, observed, over }) => {
  expect(stepsOver(desired(changes), settled(observed), NOW)).toEqual(over);
});

test("issuing is not over once the certificate has expired", () => {
  expect(stepsOver(desired(), settled(), NOW + 2 * DAY)).not.toContain("issue");
});
