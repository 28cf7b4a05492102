/** The properties can fail: each bug that is planted here is caught by the one that is there for it. */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { DAY, MINUTE } from "../../src/base/time.ts";
import type { Issuer } from "../../src/core/ports.ts";
import { type ModelPki, modelPki } from "./model-ca.ts";
import { isCurrentWhileNothingIsWrong, neverLoopsHot, neverStorms, plansTheSameAfterRestart } from "./promises.ts";
import type { Event, Scenario } from "./scenario.ts";
import { simulate } from "./simulation.ts";

let authorities: ModelPki;
beforeAll(async () => {
  authorities = await modelPki();
});

const scenario = (events: readonly Event[], lasts = 2): Scenario => ({ lifetime: DAY, rotate: false, lasts, events });

const forgetFacts = (stateFolder: string): Promise<void> =>
  rm(join(stateFolder, "agent", "facts"), { recursive: true, force: true });

test("a storm breaker that forgets at a restart is caught", async () => {
  const kills = [0.75, 0.77, 0.79].map((at): Event => ({ at, kind: "kill", point: "at-rest", turns: 0 }));
  const events: Event[] = [{ at: 0.4, kind: "ca", fault: "wrong-names", lasts: 1 }, ...kills];

  const healthy = await simulate(scenario(events), authorities);
  const planted = await simulate(scenario(events), authorities, { onKill: forgetFacts });

  expect(neverStorms(healthy)).toEqual([]);
  expect(neverStorms(planted)).not.toEqual([]);
});

test("a plan that is another one after a restart is caught", async () => {
  const events: Event[] = [
    { at: 0.4, kind: "ca", fault: "down", lasts: 1 },
    { at: 0.8, kind: "kill", point: "at-rest", turns: 0 },
  ];

  const planted = await simulate(scenario(events), authorities, { onKill: forgetFacts });

  expect(plansTheSameAfterRestart(planted)).not.toEqual([]);
});

/** An issuer that asks the CA again by itself, at once. */
function impatient(issuer: Issuer): Issuer {
  return {
    ...issuer,
    issue: (order, signal) => issuer.issue(order, signal).catch(() => issuer.issue(order, signal)),
  };
}

test("a retry without a delay is caught", async () => {
  const events: Event[] = [{ at: 0.4, kind: "ca", fault: "down", lasts: 0.5 }];

  const healthy = await simulate(scenario(events), authorities);
  const planted = await simulate(scenario(events), authorities, { wrapIssuer: impatient });

  expect(neverLoopsHot(healthy)).toEqual([]);
  expect(neverLoopsHot(planted)).not.toEqual([]);
});

test("a renewal that comes after two thirds of the lifetime is caught", async () => {
  // Enough renewals that not all fall on the first seconds of their windows.
  const minutes: Scenario = { ...scenario([], 12), lifetime: 5 * MINUTE };

  const healthy = await simulate(minutes, authorities);
  // By a clock that is a sixth of the lifetime behind, every renewal comes that much too late.
  const planted = await simulate(minutes, authorities, { lag: minutes.lifetime / 6 });

  expect(isCurrentWhileNothingIsWrong(healthy)).toEqual([]);
  expect(isCurrentWhileNothingIsWrong(planted).join()).toMatch(/of its lifetime old/);
});
