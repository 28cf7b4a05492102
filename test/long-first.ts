import { existsSync } from "node:fs";
import { join } from "node:path";
import { BaseSequencer, type TestSpecification } from "vitest/node";

/**
 * Test files that take half a minute and more. In a fresh clone vitest begins with those of the longest text, and would be
 * left waiting for a short one that walks through a whole life. Those that wait stand beside those that compute.
 */
const LONG = [
  "system/clock",
  "system/root-side",
  "system/contract",
  "system/requests",
  "integration/robust/robust",
  "integration/apply/every-call",
  "integration/walk/walk-apart",
  "integration/packages/package",
  "integration/walk/walk-alone",
  "integration/apply/descriptors",
  "integration/cli/demo-broken",
  "integration/broker/processes",
  "integration/robust/hung",
  "integration/apply/killed",
  "integration/walk/lifetime",
  "integration/broker/broker",
  "integration/cli/demo",
].map((name) => join(import.meta.dirname, `${name}.test.ts`));
for (const file of LONG) if (!existsSync(file)) throw new Error(`test/long-first.ts names ${file}, which is not there`);

/** Begins with the long ones, so that none of them is left alone at the end, beside an idle processor. */
export class LongFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification): number => {
      const place = LONG.indexOf(moduleId);
      return place < 0 ? LONG.length : place;
    };
    return (await super.sort(files)).toSorted((a, b) => rank(a) - rank(b));
  }
}
