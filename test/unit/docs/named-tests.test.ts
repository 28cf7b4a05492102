import { existsSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";

test.each([
  ["docs/security.md", 20],
  ["docs/faults.md", 150],
])("%s names tests, and each of them is there", (page, least) => {
  const claims = [...readFileSync(page, "utf8").matchAll(/`(test\/[^`]+\.(?:ts|txt))`(?:, "([^"]+)")?/g)];
  expect(claims.length).toBeGreaterThan(least);

  const missing = claims.filter(([, file = "", name = ""]) => {
    return !existsSync(file) || !readFileSync(file, "utf8").includes(name);
  });

  expect(missing.map(([claim]) => claim)).toEqual([]);
});
