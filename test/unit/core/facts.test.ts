import { expect, test } from "vitest";
import { DAY, HOUR, MINUTE, SECOND } from "../../../src/base/time.ts";
import {
  factsAt,
  factsOfSpec,
  NO_FACTS,
  withFailure,
  withIssuances,
  withoutFailure,
  withRepairs,
} from "../../../src/core/facts.ts";
import { facts, NOW, proof, streak } from "./given.ts";

const failure = { code: "ISSUER_UNREACHABLE", message: "Cannot reach the CA", hint: null, retryAt: null } as const;

test("a streak keeps its beginning, counts its failures, and tells how many came before", () => {
  const told: number[] = [];
  const after = (before: typeof NO_FACTS, at: number) =>
    withFailure(before, "issue", failure, at, (attemptsBefore) => {
      told.push(attemptsBefore);
      return at + MINUTE;
    });

  const { failures } = after(after(after(NO_FACTS, NOW), NOW + HOUR), NOW + DAY);

  expect(told).toEqual([0, 1, 2]);
  expect(failures.issue).toEqual({ ...failure, since: NOW, at: NOW + DAY, attempts: 3, tryAt: NOW + DAY + MINUTE });
});

test("a failure of one step leaves the streaks of the others alone", () => {
  const before = facts({ failures: { issue: streak(), apply: null, prove: streak({ code: "SERVICE_DOWN" }) } });

  const after = withFailure(before, "apply", { ...failure, code: "DEPLOY_FAILED" }, NOW, () => NOW);

  expect(after.failures.issue).toBe(before.failures.issue);
  expect(after.failures.prove).toBe(before.failures.prove);
  expect(withoutFailure(after, "apply")).toEqual(before);
});

test("forgetting a failure that there was not is no change that would have to be written", () => {
  const before = facts();

  expect(withoutFailure(before, "prove")).toBe(before);
});

test("an edited spec forgives failures, issuances, repairs and a pause, and keeps what it has deployed", () => {
  const before = facts({
    issuances: [NOW],
    failures: { issue: streak(), apply: streak(), prove: streak() },
    repairs: [{ path: "/etc/web.crt", at: NOW }],
    paused: { since: NOW, because: "revoked" },
    deployed: ["/etc/web.crt"],
  });

  expect(factsOfSpec(before, { digest: "d2", issuer: "internal" })).toEqual({
    ...NO_FACTS,
    digest: "d2",
    issuer: "internal",
    deployed: before.deployed,
    writtenAt: before.writtenAt,
  });
  expect(factsOfSpec(before, { digest: "d1", issuer: "internal" })).toBe(before);
});

test("what another issuer gave or refused is forgotten by a spec whose text is the same, unless nobody wrote which one it was", () => {
  const before = facts({ issuances: [NOW], failures: { issue: streak(), apply: null, prove: null } });

  expect(factsOfSpec(before, { digest: "d1", issuer: "other" })).toEqual(facts({ issuer: "other" }));
  const unnamed = { ...before, issuer: null };
  expect(factsOfSpec(unnamed, { digest: "d1", issuer: "other" })).toEqual({ ...before, issuer: "other" });
});

test("the last ten issuances are remembered", () => {
  const instants = Array.from({ length: 12 }, (_, index) => NOW + index);

  expect(instants.reduce((facts, at) => withIssuances(facts, 1, at), NO_FACTS).issuances).toEqual(instants.slice(2));
});

test("repairs are forgotten after an hour", () => {
  const first = withRepairs(NO_FACTS, ["/a", "/b"], NOW);

  expect(withRepairs(first, ["/a"], NOW + HOUR - 1).repairs).toHaveLength(3);
  expect(withRepairs(first, ["/a"], NOW + HOUR).repairs).toEqual([{ path: "/a", at: NOW + HOUR }]);
});

test("facts that were written by a clock that was years ahead count as of now, and waits keep their length", () => {
  const ahead = NOW + 1000 * DAY;
  const written = facts({
    issuances: [NOW - HOUR, ahead],
    failures: { issue: streak({ since: NOW - HOUR, at: ahead, tryAt: ahead + 40 * SECOND }), apply: null, prove: null },
    proofs: [proof({ at: ahead }), null],
    repairs: [{ path: "/etc/web.crt", at: ahead }],
  });

  const now = factsAt(written, NOW);

  expect(now.issuances).toEqual([NOW - HOUR, NOW]);
  expect(now.failures.issue).toMatchObject({ since: NOW - HOUR, at: NOW, tryAt: NOW + 40 * SECOND });
  expect(now.proofs).toEqual([proof({ at: NOW }), null]);
  expect(now.repairs).toEqual([{ path: "/etc/web.crt", at: NOW }]);
  expect(factsAt(now, NOW + MINUTE)).toBe(now);
});

test("two issuances of a clock that was ahead do not become one attempt that cost two", () => {
  const written = facts({ issuances: [NOW - HOUR, NOW + DAY, NOW + DAY + 30 * SECOND, NOW + DAY + 30 * SECOND] });

  expect(factsAt(written, NOW).issuances).toEqual([NOW - HOUR, NOW - 30 * SECOND, NOW, NOW]);
});

test("facts of the past are the same facts, so that nothing has to be written", () => {
  const written = facts({ issuances: [NOW], failures: { issue: streak({ at: NOW }), apply: null, prove: null } });

  expect(factsAt(written, NOW)).toBe(written);
  expect(factsAt(NO_FACTS, NOW)).toBe(NO_FACTS);
});
