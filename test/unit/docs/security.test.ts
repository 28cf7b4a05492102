import { readFileSync } from "node:fs";
import { expect, test } from "vitest";

const page = readFileSync("docs/security.md", "utf8");
const claims = [...page.matchAll(/`(test\/[^`]+\.ts)`(?:, "([^"]+)")?/g)].map(([, file = "", name = ""]) => [
  file,
  name,
]);

test("the page on security names tests, and each of them is there", () => {
  expect(claims.length).toBeGreaterThan(20);
  const missing = claims.filter(([file = "", name = ""]) => !readFileSync(file, "utf8").includes(name));

  expect(missing).toEqual([]);
});
