import { describe, expect, test } from "vitest";
import { HOUR, type Milliseconds } from "../../../../src/base/time.ts";
import type { Answer } from "../../../../src/issuers/step-ca/http.ts";
import { rejection } from "../../../../src/issuers/step-ca/rejection.ts";

const NOW = Date.UTC(2026, 10, 20, 9);
const SEE_LOGS = "Please see the certificate authority logs for more info.";

function answer(status: number, body: string, headers: Readonly<Record<string, string>> = {}): Answer {
  return { status, headers: new Map(Object.entries(headers)), body: Buffer.from(body) };
}

function told(status: number, message: string, skew: Milliseconds = 0) {
  const body = JSON.stringify({ status, message });
  return rejection(answer(status, body), { origin: "https://ca:9000", action: "mint", now: NOW, skew });
}

const AWAY = "a proxy or balancer before the CA says so, and not step-ca: is step-ca running, and can that reach it?";

/** The texts are step-ca 0.30.2's. */
describe("what step-ca says", () => {
  test.each<[number, string, string, string | undefined]>([
    [400, "The request could not be completed: error decoding json.", "ISSUER_REJECTED", "the CA's log has the reason"],
    [
      400,
      "The request could not be completed: missing client certificate.",
      "ISSUER_REJECTED",
      "something between here and the CA ends TLS; certagent must reach step-ca itself",
    ],
    [
      400,
      "The request could not be completed: notAfter cannot be in the past; na=2026-11-20 13:39:39 +0000 UTC.",
      "ISSUER_REJECTED",
      "compare the clocks of this host and of the CA: timedatectl",
    ],
    [
      400,
      "The request could not be completed: token flow is not supported.",
      "ISSUER_REJECTED",
      "the token names a provisioner of another type; use a JWK provisioner",
    ],
    [401, `The request lacked necessary authorization to be completed. ${SEE_LOGS}`, "ISSUER_REJECTED", undefined],
    [
      401,
      'provisioner "x" is disabled due to an initialization error',
      "ISSUER_REJECTED",
      "the provisioner is broken in the CA's ca.json",
    ],
    [
      401,
      "The request lacked necessary authorization to be completed: certificate expired on 2026-11-20 14:41:59 +0000 UTC",
      "ISSUER_REJECTED",
      "the CA renews expired certificates only where the provisioner has allowRenewalAfterExpiry",
    ],
    [
      403,
      "The request was forbidden by the certificate authority: certificate request does not contain the valid DNS names - got [a b], want [a].",
      "ISSUER_REJECTED",
      "the token was made for other names than the spec's subject and sans",
    ],
    [
      403,
      "The request was forbidden by the certificate authority: requested duration of 2h1m0s is more than the authorized maximum certificate duration of 1h1m0s.",
      "ISSUER_REJECTED",
      "ask for a shorter lifetime in the spec, or raise maxTLSCertDuration of the provisioner",
    ],
    [
      403,
      "The request was forbidden by the certificate authority: requested duration of 1m is less than the authorized minimum certificate duration of 5m.",
      "ISSUER_REJECTED",
      "ask for a longer lifetime in the spec, or lower minTLSCertDuration of the provisioner",
    ],
    [
      403,
      'The request was forbidden by the certificate authority: dns name "evil.com" not allowed',
      "ISSUER_REJECTED",
      "the CA's policy or name constraints forbid a name of the spec",
    ],
    [
      403,
      'DNS name "evil.com" is not permitted by any constraint',
      "ISSUER_REJECTED",
      "the CA's policy or name constraints forbid a name of the spec",
    ],
    [403, "something new", "ISSUER_REJECTED", "the CA's log has the reason"],
    [
      500,
      "error validating renew token: invalid audience claim (aud)",
      "ISSUER_REJECTED",
      "the host in the issuer's url must be one of the CA's dnsNames",
    ],
    [
      500,
      "error applying certificate template",
      "ISSUER_REJECTED",
      "the CA's configuration, or its log, has the reason",
    ],
    [
      500,
      `The certificate authority encountered an Internal Server Error. ${SEE_LOGS}`,
      "ISSUER_UNREACHABLE",
      "the CA's log has the reason",
    ],
    [502, "bad gateway", "ISSUER_UNREACHABLE", AWAY],
    [503, "no server is available", "ISSUER_BUSY", AWAY],
    [504, "gateway time-out", "ISSUER_UNREACHABLE", AWAY],
    [429, "slow down", "ISSUER_BUSY", "step-ca limits nobody: a proxy or balancer before it counts the requests"],
    [418, "teapot", "ISSUER_REJECTED", "the CA's log has the reason"],
  ])("%d %j is %s", (status, message, code, hint) => {
    const error = told(status, message);

    expect(error.message).toBe(`Cannot mint at https://ca:9000: HTTP ${status}, "${message}"`);
    expect({ code: error.code, hint: error.hint }).toEqual({ code, hint });
  });
});

test.each([401, 400])("a %d that may come of a wrong clock says so where the clocks differ", (status) => {
  const message = status === 401 ? "no" : "notAfter cannot be in the past";

  expect(told(status, message, HOUR)).toMatchObject({
    code: "CLOCK_SUSPECT",
    hint: "this host's clock is 1 h behind the CA's; set it: timedatectl",
  });
  expect(told(status, message, -HOUR).hint).toBe("this host's clock is 1 h ahead of the CA's; set it: timedatectl");
  expect(told(status, message, 59_000).code).toBe("ISSUER_REJECTED");
});

test("what has nothing to do with time is not blamed on the clock", () => {
  expect(told(403, "dns name not allowed", HOUR).code).toBe("ISSUER_REJECTED");
});

test.each([
  [
    "step-ca's other shape",
    "application/json",
    '{"type":"unauthorized","detail":"x","message":"the words"}',
    '"the words"',
  ],
  ["plain text", "text/plain; charset=utf-8", "404 page not found\n", '"404 page not found"'],
  ["a proxy's page", "text/html", "<html><h1>Bad Gateway", "without a reason"],
  ["nothing", "", "", "without a reason"],
  ["words that are no text", "application/json", '{"message":{"a":1}}', "without a reason"],
])("of %s the error shows what is for people", (_, type, body, words) => {
  const context = { origin: "https://ca", action: "mint", now: NOW, skew: 0 };

  expect(rejection(answer(404, body, { "content-type": type }), context).message).toBe(
    `Cannot mint at https://ca: HTTP 404, ${words}`,
  );
});

test("the id of the request goes with the advice to look into the CA's log", () => {
  const context = { origin: "https://ca", action: "mint", now: NOW, skew: 0 };

  expect(rejection(answer(500, "", { "x-request-id": "b1f4" }), context).hint).toBe(
    "the CA's log has the reason (request b1f4)",
  );
});
