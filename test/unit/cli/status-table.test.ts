import { expect, test } from "vitest";
import { type Channel, createPrint } from "../../../src/cli/print.ts";
import { printStatus } from "../../../src/cli/status-table.ts";
import type { CertificateStatus } from "../../../src/core/status-document.ts";
import document from "../../contract/output/status.json" with { type: "json" };

const NOW = Date.parse("2026-11-20T09:01:00Z");
const [web, postgres] = document.certificates as unknown as [CertificateStatus, CertificateStatus];

function shown(...certificates: readonly CertificateStatus[]): string {
  let text = "";
  const write = (more: string): void => {
    text += more;
  };
  const channel: Channel = { write, isTerminal: false, isColoured: false, size: () => undefined };
  printStatus(createPrint(channel, channel), certificates, NOW);
  return text;
}

test("the contract's status is a line a certificate, and what is wrong is explained", () => {
  expect(shown(web, postgres)).toBe(`\
NAME       STATE    PROVEN  EXPIRES         NEXT                  LAST FAILURE
vlc-admin  current  yes     in 23 h 59 min  issue in 13 h 10 min  -
postgres   failing  no      -               issue in 3 min 10 s   ISSUER_UNREACHABLE 59 s ago

postgres is failing: the CA cannot be reached
  Cannot reach https://ca.internal:9000: connection refused
  hint: Is step-ca running there? curl --cacert /etc/certagent/root_ca.crt https://ca.internal:9000/health
  ISSUER_UNREACHABLE, 3 times, first 59 s ago
  next: issue in 3 min 10 s, trying again after a failure
`);
});

test("a certificate without a service has nobody to prove it, and one that is over says since when", () => {
  const leaf = web.leaf && { ...web.leaf, not_after: "2026-11-20T08:00:00Z" };

  const [, line] = shown({ ...web, state: "expired", services: [], leaf, next: null }).split("\n");

  expect(line).toMatch(/^vlc-admin +expired +- +1 h 1 min ago +- +-$/);
});

test("one service of two that is not proven is told", () => {
  const [service] = web.services;
  const services = [service!, { ...service!, state: "unproven" as const }];

  expect(shown({ ...web, state: "unproven", services }).split("\n")[1]).toMatch(/^vlc-admin +unproven +no /);
});

test("what is renewing is no reason to explain, what failed on the way is", () => {
  expect(shown({ ...web, state: "renewing" }).split("\n")).toHaveLength(3);
  expect(shown({ ...web, failure: postgres.failure })).toContain("vlc-admin is current: nginx serves");
});

test("a failure that is the reason is said once", () => {
  const because = "subject is missing";
  const failure = { ...postgres.failure!, message: because, hint: null };

  expect(shown({ ...postgres, state: "invalid", because, failure }).split(because)).toHaveLength(2);
});

test("no certificate at all is said", () => {
  expect(shown()).toBe("there are no specs\n");
});
