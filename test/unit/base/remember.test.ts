import { expect, test } from "vitest";
import { remember } from "../../../src/base/remember.ts";

test("no more than so many are kept, and what was kept first is forgotten first", () => {
  const known = new Map<string, number>();

  for (const [index, key] of ["a", "b", "c"].entries()) remember(known, 2, key, index);

  expect([...known]).toEqual([
    ["b", 1],
    ["c", 2],
  ]);
});
