import { expect, test } from "vitest";
import { matchesPattern } from "../../../src/services/path-pattern.ts";

test.each([
  ["/a/b.conf", "/a/*.conf", true],
  ["/a/b.conf", "/a/b.conf*", true],
  ["/a/b/c.conf", "/a/*.conf", false],
  ["/a/b/c.conf", "/*/*/*", true],
  ["/a/b/c.conf", "/*/*", false],
  ["/a/b.conf", "/a/?.con[a-f]", true],
  ["/a/b.conf", "/a/[!a-c].conf", false],
  ["/a/b.conf", "/a[/]b.conf", false],
  ["/a/b.conf", "/a?b.conf", false],
  ["/a/].conf", "/a/[]].conf", true],
  ["/a/[b.conf", "/a/[b.conf", true],
  ["/a/abab.conf", "/a/*ab.conf", true],
  ["/a/b.conf", "/a/{b,c}.conf", false],
])("%s is meant by %s: %s", (path, pattern, isMeant) => {
  expect(matchesPattern(path, pattern, { steps: 1000 })).toBe(isMeant);
});

test("a pattern of many stars takes no more steps than it may", () => {
  const patience = { steps: 100_000 };

  expect(matchesPattern("a".repeat(200), `${"*a".repeat(25)}b`, patience)).toBe(false);

  expect(patience.steps).toBeGreaterThan(90_000);
});
