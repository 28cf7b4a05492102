import fc from "fast-check";
import { expect } from "vitest";
import { MINUTE, SECOND } from "../../src/base/time.ts";
import type { Scenario } from "./scenario.ts";

/**
 * More than the gate runs: `PROPERTY_RUNS=500 npx vitest run test/property`. `PROPERTY_SEED` repeats a failure, and
 * `PROPERTY_SHRINK=1` looks for the shortest scenario that fails too, which takes minutes.
 */
const { PROPERTY_RUNS, PROPERTY_SEED, PROPERTY_SHRINK } = process.env;

/** For the tests that call {@link holds}: a run takes a few seconds on a busy machine. */
export const PATIENCE = { timeout: PROPERTY_RUNS === undefined ? 2 * MINUTE : Number(PROPERTY_RUNS) * 20 * SECOND };

/** Fails with the seed and the scenario, as people would tell it, and what was broken. */
export async function holds(
  scenarios: fc.Arbitrary<Scenario>,
  runs: number,
  brokenBy: (scenario: Scenario) => Promise<readonly string[]>,
): Promise<void> {
  const property = fc.asyncProperty(scenarios, async (scenario) => {
    expect((await brokenBy(scenario)).slice(0, 5)).toEqual([]);
  });
  await fc.assert(property, {
    numRuns: PROPERTY_RUNS === undefined ? runs : Number(PROPERTY_RUNS),
    endOnFailure: PROPERTY_SHRINK === undefined,
    ...(PROPERTY_SEED === undefined ? {} : { seed: Number(PROPERTY_SEED) }),
  });
}
