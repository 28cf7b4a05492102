import { BaseSequencer, type TestSpecification } from "vitest/node";

/** Files of tests that take half a minute and more. Vitest would begin with those that have the longest text. */
const LONG = [
  "system/clock",
  "system/root-side",
  "system/contract",
  "system/requests",
  "walk/walk-alone",
  "walk/walk-apart",
  "robust/robust",
  "packages/package",
  "broker/processes",
  "cli/demo-broken",
  "apply/every-call",
  "apply/descriptors",
  "robust/hung",
  "walk/lifetime",
  "cli/demo",
];

/** Begins with the long ones, so that none of them is left alone at the end, beside an idle processor. */
export class LongFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const isLong = ({ moduleId }: TestSpecification): boolean =>
      LONG.some((name) => moduleId.endsWith(`/${name}.test.ts`));
    return (await super.sort(files)).toSorted((a, b) => Number(isLong(b)) - Number(isLong(a)));
  }
}
