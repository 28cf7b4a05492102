/**
 * The contract's specs on a host as they stand, with the units, users and folders of the real packages, through their
 * whole life. The tests are the stages of one life: each begins where the one before it ended.
 */
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { pause } from "../../src/base/time.ts";
import {
  type Certificates,
  type ContractHost,
  CREDENTIAL,
  FILES,
  FIVE,
  journalOf,
  makeContractHost,
} from "./contract-host.ts";
import { accessOn, areCurrent, broken, pairsOn, servedOn } from "./look.ts";
import { makeMachine } from "./machine.ts";

let host: ContractHost;

beforeAll(async () => {
  host = await makeContractHost(await makeMachine(inject("machines"), inject("layers")));
});
afterAll(() => host[Symbol.asyncDispose]());

function generationsIn(certificates: Certificates): Readonly<Record<string, number | undefined>> {
  return Object.fromEntries([...certificates].map(([name, { leaf }]) => [name, leaf?.generation]));
}

async function generations(): Promise<Readonly<Record<string, number | undefined>>> {
  return generationsIn(await host.until("the agent answers", () => true));
}

/** Waits until every certificate is of a generation after `before`, and in force. */
function untilAllNewer(before: Readonly<Record<string, number | undefined>>): Promise<Certificates> {
  return host.until("all are renewed and in force", (all) => {
    const now = generationsIn(all);
    return areCurrent(all) && FIVE.every((name) => (now[name] ?? 0) > (before[name] ?? 0));
  });
}

async function expectWholeAndServed(): Promise<void> {
  const pairs = await pairsOn(host.machine);
  const { host: _unserved, ...leaves } = Object.fromEntries(
    Object.entries(pairs).map(([name, { fingerprint }]) => [name, fingerprint]),
  );

  expect(Object.values(pairs).filter(({ isWhole }) => !isWhole)).toEqual([]);
  expect(await servedOn(host.machine)).toEqual(leaves);
}

test("five specs and an encrypted credential become certificates in force, with exactly the access that was asked for", async () => {
  await host.machine.sh("systemctl start certagent");

  await host.until("all five are current", areCurrent);

  await expectWholeAndServed();
  const access: Record<string, readonly string[]> = {};
  for (const name of FIVE) {
    access[name] = [await accessOn(host.machine, FILES[name][0]), await accessOn(host.machine, FILES[name][1])];
  }
  expect(access).toEqual({
    host: ["root:root 644", "root:root 600"],
    "node-exporter": ["root:prometheus 644", "root:prometheus 640"],
    postgres: ["postgres:postgres 644", "postgres:postgres 600"],
    redis: ["redis:redis 644", "redis:redis 600"],
    "vlc-admin": ["root:root 644", "root:root 640 user:nginx:r--"],
  });
  expect(await host.machine.sh("systemctl show -P StatusText certagent")).toBe(
    "5 of 5 certificates are as they should be",
  );
});

test("without its secret it starts again, knows what it knew, and asks the CA for nothing", async () => {
  const before = await generations();
  const asked = await host.ca.requests();
  await host.machine.sh(`rm ${CREDENTIAL}; systemctl daemon-reload; systemctl restart certagent`);

  const after = generationsIn(await host.until("all are current", areCurrent));

  expect(after).toEqual(before);
  expect(await host.ca.requests()).toEqual(asked);
});

test.each([
  "systemctl kill --signal=HUP --kill-whom=main certagent",
  "systemctl reload certagent",
  "certagent renew --all",
])("%s renews all of them over mTLS, without the secret", async (command) => {
  const before = await generations();
  const signed = (await host.ca.requests()).get("/sign");
  await host.machine.sh(command);

  await untilAllNewer(before);

  await expectWholeAndServed();
  const requests = await host.ca.requests();
  expect(requests.get("/1.0/sign") ?? requests.get("/sign")).toBe(signed);
});

test("after a reboot every service has its pair, and nothing is issued", async () => {
  const before = await generations();
  const asked = await host.ca.requests();
  await host.machine.powerOff();
  await host.machine.boot();

  await expectWholeAndServed();
  expect(generationsIn(await host.until("all are current", areCurrent))).toEqual(before);
  expect(await host.ca.requests()).toEqual(asked);
});

test("the agent and the root side, killed again and again in the middle of renewals, come back by themselves and finish", async () => {
  const before = await generations();
  for (const [unit, after] of [
    ["certagent", 300],
    ["certagent-apply", 900],
    ["certagent", 1500],
    ["certagent-apply", 2500],
  ] as const) {
    await host.until("the agent answers", () => true);
    await host.machine.sh("systemctl kill --signal=HUP --kill-whom=main certagent");
    await pause(after);
    await host.machine.run(["systemctl", "kill", "--signal=KILL", unit]);
    expect(await broken(host.machine)).toEqual([]);
  }
  await host.machine.sh("until systemctl is-active --quiet certagent; do sleep 0.2; done");
  await host.until("all are current", areCurrent);
  await host.machine.sh("certagent renew --all");

  await untilAllNewer(before);

  await expectWholeAndServed();
});

test("both stopped by systemctl in the middle of a deployment finish the files in hand, and the rest at the next start", async () => {
  const before = await generations();
  for (const after of [400, 900, 1400]) {
    await host.machine.sh("systemctl start certagent");
    await host.until("the agent answers", () => true);
    await host.machine.sh("systemctl kill --signal=HUP --kill-whom=main certagent");
    await pause(after);
    await host.machine.sh("systemctl stop certagent certagent-apply.path certagent-apply.service");
    expect(await broken(host.machine)).toEqual([]);
    expect(await host.machine.sh("systemctl show -P Result certagent certagent-apply")).toBe("success\n\nsuccess");
  }
  await host.machine.sh("systemctl start certagent");
  await host.until("all are current", areCurrent);
  await host.machine.sh("certagent renew --all");

  await untilAllNewer(before);

  await expectWholeAndServed();
});

test("whenever the power goes in the middle of renewals, all pairs are whole at the next boot, and then current", async () => {
  for (const after of [250, 700, 1100, 1600, 2200]) {
    await host.machine.sh("systemctl kill --signal=HUP --kill-whom=main certagent");
    await pause(after);
    await host.machine.cutPower();
    await host.machine.boot();
    expect(await broken(host.machine)).toEqual([]);
    await host.until("all are current", areCurrent);
  }

  await expectWholeAndServed();
});

test("in all that time nothing was told as an error, and nobody else's state was repaired", async () => {
  const worse = await journalOf(host.machine, "--priority=err", "-o", "cat", "--grep=certificate=");

  expect(worse).toBe("");
  expect(await journalOf(host.machine, "-n", "all", "-o", "cat")).not.toContain("operation timed out");
});
