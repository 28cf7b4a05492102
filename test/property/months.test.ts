/** Months in which nothing goes wrong. */
import { beforeAll, expect, test } from "vitest";
import { DAY, HOUR, MINUTE, SECOND } from "../../src/base/time.ts";
import { renewAt } from "../../src/core/renewal.ts";
import type { History } from "./history.ts";
import { type ModelPki, modelPki } from "./model-ca.ts";
import { keepsEveryPromise } from "./promises.ts";
import { simulate } from "./simulation.ts";

let authorities: ModelPki;
beforeAll(async () => {
  authorities = await modelPki();
});

/** How long after its instant each leaf was renewed, in milliseconds. */
function delays(history: History): readonly number[] {
  const calls = history.calls.get("internal") ?? [];
  return calls.slice(1).map((call, index) => {
    const before = calls[index]?.leaf;
    if (before === undefined) throw new Error("a CA without faults refused");
    return call.at - renewAt(before.fingerprint, before, null);
  });
}

test.each([
  { lifetime: 5 * MINUTE, lasts: 20, title: "20 lifetimes of 5 minutes" },
  { lifetime: HOUR, lasts: 20, title: "20 lifetimes of an hour" },
  { lifetime: DAY, lasts: 90, title: "90 days of 24 hours" },
  { lifetime: 7 * DAY, lasts: 20, title: "20 lifetimes of a week" },
  { lifetime: 90 * DAY, lasts: 20, title: "20 lifetimes of 90 days" },
])("through $title each leaf is renewed once, at its own instant", async ({ lifetime, lasts }) => {
  const history = await simulate({ lifetime, rotate: false, lasts, events: [] }, authorities, { steps: 30 });

  expect(keepsEveryPromise(history)).toEqual([]);
  // Half to two thirds of a lifetime each: 20 lifetimes are 30 to 40 renewals.
  expect(delays(history).length).toBeGreaterThanOrEqual(Math.floor(lasts * 1.5) - 1);
  expect(delays(history).length).toBeLessThanOrEqual(lasts * 2);
  for (const delay of delays(history)) {
    expect(delay).toBeGreaterThanOrEqual(0);
    expect(delay).toBeLessThan(SECOND);
  }
  const [site] = [history.site("web")];
  expect(site.applies.length).toBe(delays(history).length + 1);
});
