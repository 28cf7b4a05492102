/** Arbitrary months of outages, kills, wrong clocks, suspends, edits and signals: every promise is kept in all of them. */
import { beforeAll, test } from "vitest";
import { holds, PATIENCE } from "./holds.ts";
import { type ModelPki, modelPki } from "./model-ca.ts";
import { keepsEveryPromise, neverStorms } from "./promises.ts";
import { type EventKind, scenarios } from "./scenario.ts";
import { simulate } from "./simulation.ts";

let authorities: ModelPki;
beforeAll(async () => {
  authorities = await modelPki();
});

/** Half of the detail: what is due is hit exactly all the same. */
const COARSE = { steps: 50 };

const classes: readonly { readonly what: string; readonly kinds: readonly EventKind[]; readonly runs: number }[] = [
  { what: "a CA that is down, refuses, is busy, loses answers or answers wrongly", kinds: ["ca", "kill"], runs: 6 },
  { what: "files and services that fail", kinds: ["host", "drift", "kill"], runs: 4 },
  { what: "clocks that are set and hosts that sleep", kinds: ["step", "suspend", "kill"], runs: 4 },
  {
    what: "everything at once",
    kinds: ["ca", "host", "drift", "kill", "step", "suspend", "edit", "sighup"],
    runs: 6,
  },
];

test.each(classes)(
  "with $what: current when it is over, no storm, no hot loop, the same plan after a restart",
  PATIENCE,
  async ({ kinds, runs }) => {
    await holds(scenarios(kinds), runs, async (scenario) =>
      keepsEveryPromise(await simulate(scenario, authorities, COARSE)),
    );
  },
);

test(
  "an agent that is killed over and over while the CA answers wrongly does not issue a fourth time",
  PATIENCE,
  async () => {
    await holds(scenarios(["kill"], 12), 3, async (scenario) => {
      const fault = { at: 0.6, kind: "ca", fault: "wrong-names", lasts: 3 } as const;
      return neverStorms(await simulate({ ...scenario, events: [...scenario.events, fault] }, authorities, COARSE));
    });
  },
);
