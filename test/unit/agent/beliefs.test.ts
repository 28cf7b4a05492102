import { expect, test } from "vitest";
import { openBeliefs } from "../../../src/agent/beliefs.ts";
import { MINUTE, SECOND } from "../../../src/base/time.ts";
import type { ApplyFacts, Asked } from "../../../src/core/applier.ts";
import { targetAt } from "../../../src/services/recipe.ts";

/** The wall clock where the monotonic one began. */
const BOOTED = Date.UTC(2026, 10, 20);
const ASKED: Asked = { name: "web", digest: "a", generation: 3 };

function facts(
  state: "current" | "drifted",
  liveness: "up" | "down" | "absent" | "unknown" = "up",
  hasProbe = true,
): ApplyFacts {
  return {
    deployed: 3,
    outputs: [{ path: "/x.pem", format: "key", state, because: null }],
    services: [
      {
        type: "nginx",
        liveness,
        probe: hasProbe ? targetAt({ host: "::1", port: 443 }) : null,
        reloaded: null,
        servedUntil: null,
      },
    ],
    adoptable: false,
    obstacle: null,
  };
}

function given() {
  let now = 1000;
  const beliefs = openBeliefs({ monotonic: () => now, now: () => now + BOOTED });
  const learn = (seen: ApplyFacts, since = now): boolean =>
    beliefs.learn({ name: "web", digest: "a", generation: 3, facts: seen }, since);
  const pass = (span: number): number => (now += span);
  /** For how many seconds from now it is believed. */
  const believedFor = (): number => {
    for (let seconds = 0; ; seconds += 1) {
      if (beliefs.about(ASKED) === undefined) return seconds;
      now += SECOND;
    }
  };
  return { beliefs, learn, pass, believedFor };
}

test("where all is well, an answer is believed for ten minutes; an unknown service is not unwell", () => {
  const { learn, believedFor } = given();

  learn(facts("current"));
  expect(believedFor()).toBe((10 * MINUTE) / SECOND);
  learn(facts("current", "unknown"));
  expect(believedFor()).toBe((10 * MINUTE) / SECOND);
});

test.each([
  ["a file that was changed", facts("drifted")],
  ["a service that is down", facts("current", "down")],
])("%s is believed for a minute, and twice as long each time it stays so, up to ten", (_, seen) => {
  const { learn, believedFor } = given();

  const spans = Array.from({ length: 6 }, () => {
    learn(seen);
    return believedFor();
  });

  expect(spans).toEqual([60, 120, 240, 480, 600, 600]);
});

test.each(["down", "absent"] as const)(
  "a service that is %s, and that nobody else can look at, is asked for each minute",
  (gone) => {
    const { learn, believedFor } = given();

    const spans = Array.from({ length: 4 }, () => {
      learn(facts("current", gone, false));
      return believedFor();
    });

    expect(spans).toEqual([60, 60, 60, 60]);
  },
);

test("until when an answer is believed is told by the wall clock", () => {
  const { beliefs, learn } = given();
  expect(beliefs.until("web")).toBeUndefined();

  learn(facts("drifted"));
  learn(facts("drifted"));

  expect(beliefs.until("web")).toBe(BOOTED + 1000 + 2 * MINUTE);
});

test("another answer begins with a minute again", () => {
  const { learn, believedFor } = given();
  for (let round = 0; round < 4; round += 1) learn(facts("drifted"));

  learn(facts("current", "down"));

  expect(believedFor()).toBe(60);
});

test("another text, another generation and a wish to know it afresh are not answered from memory", () => {
  const { beliefs, learn } = given();
  learn(facts("current"));

  expect(beliefs.about(ASKED)).toEqual(facts("current"));
  expect(beliefs.about({ ...ASKED, digest: "b" })).toBeUndefined();
  expect(beliefs.about({ ...ASKED, generation: 4 })).toBeUndefined();
  expect(beliefs.about({ ...ASKED, generation: null })).toBeUndefined();
  expect(beliefs.about({ ...ASKED, afresh: true })).toBeUndefined();
  expect(beliefs.about({ ...ASKED, name: "other" })).toBeUndefined();
});

test("a text that the root side sees otherwise is asked for no more often than one that it sees alike", () => {
  const { beliefs, learn } = given();
  learn(facts("current"));

  beliefs.accept({ ...ASKED, digest: "the agent's own" });

  expect(beliefs.about({ ...ASKED, digest: "the agent's own" })).toBeDefined();
});

test("what was seen before something is changed is forgotten, and a failure is no fact", () => {
  const { beliefs, learn } = given();
  learn(facts("current"));

  beliefs.forget("web");
  beliefs.learn(
    { name: "web", failure: { code: "STATE_UNUSABLE", message: "Cannot", hint: null, retryAt: null } },
    1000,
  );

  expect(beliefs.about(ASKED)).toBeUndefined();
});

test("what was looked for before a change is not taken, however late it is told; what was looked for after it is", () => {
  const { beliefs, learn, pass } = given();
  const since = pass(SECOND);
  pass(SECOND);
  beliefs.forget("web");
  pass(SECOND);

  expect(learn(facts("drifted"), since)).toBe(false);
  expect(beliefs.about(ASKED)).toBeUndefined();
  expect(learn(facts("current"))).toBe(true);
  expect(beliefs.about(ASKED)).toEqual(facts("current"));
});
