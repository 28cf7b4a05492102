import fc from "fast-check";
import { expect, test } from "vitest";
import { DAY, HOUR, MINUTE, SECOND } from "../../../src/base/time.ts";
import { renewAt, renewalWindow } from "../../../src/core/renewal.ts";
import { retryAt, retryDelay } from "../../../src/core/retry.ts";

const START = Date.UTC(2026, 10, 20);

test("a certificate of 24 hours is renewed between 12 and 16 hours after its start", () => {
  const window = renewalWindow({ notBefore: START, notAfter: START + DAY }, null);

  expect(window).toEqual({ start: START + 12 * HOUR, end: START + 16 * HOUR });
});

test("a spec that wants half of the lifetime left moves the window forward", () => {
  const window = renewalWindow({ notBefore: START, notAfter: START + DAY }, 12 * HOUR);

  expect(window).toEqual({ start: START + 8 * HOUR, end: START + 12 * HOUR });
});

test("a spec that wants less left than the rule does not move the window back", () => {
  const window = renewalWindow({ notBefore: START, notAfter: START + DAY }, HOUR);

  expect(window.end).toBe(START + 16 * HOUR);
});

test("a spec that wants more left than the CA gives does not renew without end", () => {
  const window = renewalWindow({ notBefore: START, notAfter: START + DAY }, 30 * DAY);

  expect(window).toEqual({ start: START + 6 * HOUR, end: START + 6 * HOUR });
});

test("every renewal lies in its window, never past 2/3, and is the same each time it is asked for", () => {
  const lifetimes = fc.integer({ min: SECOND, max: 400 * DAY });
  fc.assert(
    fc.property(fc.string(), lifetimes, fc.option(lifetimes), (leaf, lifetime, before) => {
      const validity = { notBefore: START, notAfter: START + lifetime };
      const at = renewAt(leaf, validity, before);
      const { start, end } = renewalWindow(validity, before);

      expect(at).toBe(renewAt(leaf, validity, before));
      expect(at).toBeGreaterThanOrEqual(Math.floor(start));
      expect(at).toBeLessThanOrEqual(end);
      expect(at - START).toBeLessThanOrEqual((lifetime * 2) / 3);
    }),
  );
});

test("a fleet of a thousand leaves is spread over the whole window", () => {
  const window = renewalWindow({ notBefore: START, notAfter: START + DAY }, null);
  const tenths = new Set(
    Array.from({ length: 1000 }, (_, index) => {
      const at = renewAt(`leaf ${index}`, { notBefore: START, notAfter: START + DAY }, null);
      return Math.floor(((at - window.start) / (window.end - window.start)) * 10);
    }),
  );

  expect(tenths.size).toBe(10);
});

const hour24 = { lifetime: DAY, remaining: 8 * HOUR, seed: "web issue" };

test("the first retry comes after 15 to 45 seconds and later ones double up to lifetime/48", () => {
  const delays = Array.from({ length: 12 }, (_, attempt) => retryDelay({ ...hour24, attempt }));

  expect(delays[0]).toBeGreaterThanOrEqual(30 * SECOND);
  expect(delays[0]).toBeLessThanOrEqual(45 * SECOND);
  for (const delay of delays) expect(delay).toBeLessThanOrEqual(45 * MINUTE);
  expect(delays[11]).toBeGreaterThanOrEqual(15 * MINUTE);
});

test("retries come closer together as the expiry nears, and relax after it", () => {
  const near = retryDelay({ ...hour24, attempt: 9, remaining: 12 * MINUTE });
  const after = retryDelay({ ...hour24, attempt: 9, remaining: -1 });

  expect(near).toBeLessThanOrEqual(1.5 * MINUTE);
  expect(after).toBeGreaterThanOrEqual(15 * MINUTE);
});

test("no delay is under min(30 s, lifetime/120) nor over 9 hours, whatever the input", () => {
  fc.assert(
    fc.property(
      fc.nat(100),
      fc.integer({ min: 1000, max: 4e10 }),
      fc.integer({ min: -4e10, max: 4e10 }),
      (attempt, lifetime, remaining) => {
        const delay = retryDelay({ attempt, lifetime, remaining, seed: "any" });

        expect(delay).toBeGreaterThanOrEqual(Math.min(30 * SECOND, lifetime / 120));
        expect(delay).toBeLessThanOrEqual(9 * HOUR);
      },
    ),
  );
});

test("a lifetime of seconds is no reason to ask a CA more than once a second", () => {
  const delays = [0, 1, 50].map((attempt) =>
    retryDelay({ attempt, lifetime: 5 * SECOND, remaining: 5 * SECOND, seed: "web issue" }),
  );

  expect(delays).toEqual([SECOND, SECOND, SECOND]);
});

test("a Retry-After wins where it is later, up to half of what is left", () => {
  const now = START;
  const input = { ...hour24, attempt: 0 };

  expect(retryAt(now, input, now + HOUR)).toBe(now + HOUR);
  expect(retryAt(now, input, now + 1000 * DAY)).toBe(now + 4 * HOUR);
  expect(retryAt(now, input, now - HOUR)).toBe(now + retryDelay(input));
});
