import { describe, expect, test } from "vitest";
import { DAY, HOUR, MINUTE, SECOND } from "../../../src/base/time.ts";
import { validityOf } from "../../../src/devca/validity.ts";

const now = Date.UTC(2026, 10, 20, 0, 46, 58);
const limits = { lifetime: DAY, shortest: 5 * MINUTE, longest: DAY, backdate: MINUTE };

describe("what is asked for, with step-ca's defaults", () => {
  test.each<[string | undefined, string | undefined, number, number]>([
    [undefined, undefined, -MINUTE, DAY],
    ["", "", -MINUTE, DAY],
    [undefined, "5m", -MINUTE, 5 * MINUTE],
    [undefined, "24h", -MINUTE, DAY],
    [undefined, "4m", -MINUTE, 4 * MINUTE],
    [undefined, "1h30m", -MINUTE, 90 * MINUTE],
    [undefined, "0s", -MINUTE, DAY],
    ["-2h", "2h1m", -2 * HOUR, MINUTE],
    ["1h", undefined, HOUR, 25 * HOUR],
    ["2026-11-20T00:46:00Z", "2026-11-20T01:46:00Z", -58 * SECOND, HOUR - 58 * SECOND],
  ])("notBefore %j and notAfter %j give %d to %d ms from now", (notBefore, notAfter, from, to) => {
    expect(validityOf({ notBefore, notAfter }, limits, now)).toEqual({ notBefore: now + from, notAfter: now + to });
  });

  test.each<[unknown, unknown, number, string]>([
    [
      undefined,
      "24h1s",
      403,
      "requested duration of 24h1m1s is more than the authorized maximum certificate duration of 24h1m0s",
    ],
    [
      undefined,
      "3m59s",
      403,
      "requested duration of 4m59s is less than the authorized minimum certificate duration of 5m0s",
    ],
    ["-2h", "1h", 400, "notAfter cannot be in the past; na=2026-11-19 23:46:58 +0000 UTC"],
    [undefined, "1d", 400, "error decoding json"],
    [undefined, 5, 400, "error decoding json"],
    [undefined, "tomorrow", 400, "error decoding json"],
  ])("notBefore %j and notAfter %j are refused", (notBefore, notAfter, status, reason) => {
    expect(() => validityOf({ notBefore, notAfter }, limits, now)).toThrow(
      expect.objectContaining({ status, message: reason }),
    );
  });
});
