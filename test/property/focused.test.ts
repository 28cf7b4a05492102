import { beforeAll, expect, test } from "vitest";
import type { Agent } from "../../src/agent/agent.ts";
import { DAY, type Instant, MINUTE, SECOND } from "../../src/base/time.ts";
import { renewAt } from "../../src/core/renewal.ts";
import type { History } from "./history.ts";
import { holds, PATIENCE } from "./holds.ts";
import { type CaCall, type ModelPki, modelPki } from "./model-ca.ts";
import { isCurrentWhileNothingIsWrong, neverLoopsHot } from "./promises.ts";
import { type KillPoint, readable, type Scenario, scenarios } from "./scenario.ts";
import { BEGIN } from "./simulated-time.ts";
import { simulate } from "./simulation.ts";

let authorities: ModelPki;
beforeAll(async () => {
  authorities = await modelPki();
});

/** The calls of a CA without faults that came before or long after the instant at which the leaf was to be renewed. */
function untimely(calls: readonly CaCall[]): readonly string[] {
  return calls.slice(1).flatMap((call, index) => {
    const before = calls[index]?.leaf;
    const delay = before === undefined ? Number.NaN : call.at - renewAt(before.fingerprint, before, null);
    return delay >= 0 && delay < SECOND ? [] : [`issued ${delay} ms after its instant`];
  });
}

const callsOf = (history: History, ca = "internal"): readonly CaCall[] => history.calls.get(ca) ?? [];

test("services and files that fail cost no issuance, and delay none", PATIENCE, async () => {
  await holds(scenarios(["host", "drift"]), 5, async (scenario) =>
    untimely(callsOf(await simulate(scenario, authorities, { steps: 30 }))),
  );
});

test("the faults of one CA do not delay the certificates of another", PATIENCE, async () => {
  const specs = [
    { name: "web", issuer: "internal" },
    { name: "calm", issuer: "other", faultless: true },
  ];
  await holds(scenarios(["ca"]), 4, async (scenario) => {
    const history = await simulate(scenario, authorities, { specs, steps: 30 });
    const calm = history.samples.flatMap(({ at, statuses }) =>
      at < BEGIN + MINUTE ? [] : statuses.filter(({ name, state }) => name === "calm" && state !== "current"),
    );
    return [
      ...untimely(callsOf(history, "other")),
      ...calm.map(({ state, because }) => `calm is ${state}: ${because}`),
    ];
  });
});

test.each<KillPoint>(["ca-asked", "ca-answered", "applying", "applied", "proving"])(
  "SIGHUPs that come together, and more whenever a certificate's forced renewal is at %s, renew it exactly once",
  async (wanted) => {
    // Between two rounds: no service is looked at but for the renewal.
    const forcedAt = BEGIN + 0.21 * DAY;
    let signals = 0;
    const onCall = (point: KillPoint, agent: Agent, at: Instant): void => {
      if (at !== forcedAt || point !== wanted || signals >= 100) return;
      signals += 1;
      void agent.reload();
    };
    const events = [{ at: 0.21, kind: "sighup", times: 3, turns: 0 }] as const;

    // The renewal is done before a reading that began meanwhile is.
    const options = { onCall, readingTurns: 200 };
    const history = await simulate({ lifetime: DAY, rotate: false, lasts: 0.4, events }, authorities, options);

    expect(signals).toBeGreaterThan(0);
    expect(callsOf(history).map(({ at }) => at)).toEqual([BEGIN, forcedAt]);
  },
);

test("a wish that meets a CA that is down is kept, tried with back-off, and served once when the CA is back", async () => {
  const scenario: Scenario = readable({
    lifetime: DAY,
    rotate: false,
    lasts: 0.45,
    events: [
      { at: 0.1, kind: "ca", fault: "down", lasts: 0.1 },
      { at: 0.12, kind: "sighup", times: 2, turns: 3 },
    ],
  });

  const history = await simulate(scenario, authorities);

  const [first, ...later] = callsOf(history);
  expect(first?.at).toBe(BEGIN);
  expect(later.filter(({ leaf }) => leaf !== undefined)).toHaveLength(1);
  expect(later.filter(({ leaf }) => leaf === undefined).length).toBeGreaterThan(2);
  expect(later.at(-1)?.leaf).toBeDefined();
  expect(neverLoopsHot(history)).toEqual([]);
  expect(isCurrentWhileNothingIsWrong(history)).toEqual([]);
});

test.each(["other-key", "wrong-names", "expired"] as const)(
  "of a wish that meets a CA with the fault %s the first try is the operator's, and the others keep to the storm breaker",
  async (fault) => {
    const scenario: Scenario = readable({
      lifetime: DAY,
      rotate: false,
      lasts: 0.45,
      events: [
        { at: 0.1, kind: "ca", fault, lasts: 0.4 },
        { at: 0.12, kind: "sighup", times: 1, turns: 0 },
      ],
    });

    const history = await simulate(scenario, authorities);

    const [forced, ...automatic] = callsOf(history).slice(1);
    expect(forced?.at).toBe(BEGIN + 0.12 * DAY);
    expect(automatic.length).toBeGreaterThan(3);
    for (const [index, { at }] of automatic.slice(3).entries()) {
      expect(at - (automatic[index]?.at ?? 0)).toBeGreaterThanOrEqual(DAY / 6);
    }
  },
);

test("after a host slept through the end of a lifetime, its certificates are renewed within two ticks", async () => {
  const events = [{ at: 0.3, kind: "suspend", lasts: 2 }] as const;

  const history = await simulate({ lifetime: DAY, rotate: false, lasts: 3, events }, authorities);

  const woke = BEGIN + 2.3 * DAY;
  expect(callsOf(history)[1]?.at).toBeGreaterThanOrEqual(woke);
  expect(callsOf(history)[1]?.at).toBeLessThanOrEqual(woke + MINUTE);
});
