/**
 * A clock that is stepped. Only the agent is shown another time (libfaketime): the clock of a machine is that of all of
 * them, and the CA and the services keep it.
 */
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { type ContractHost, journalOf, makeContractHost } from "./contract-host.ts";
import { areCurrent, broken, pairsOn } from "./look.ts";
import { makeMachine } from "./machine.ts";
import { put } from "./put.ts";

const OFFSET = "/etc/certagent-clock";
const DROP_IN = `[Service]
UnsetEnvironment=
Environment=FAKETIME_TIMESTAMP_FILE=${OFFSET} FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1
`;

let host: ContractHost;

beforeAll(async () => {
  host = await makeContractHost(await makeMachine(inject("machines"), inject("layers")));
  const library = await host.machine.sh("ls /usr/lib/*/faketime/libfaketimeMT.so.1");
  await put(host.machine, OFFSET, "+0\n");
  const preload = `Environment=LD_PRELOAD=${library}\n`;
  await put(host.machine, "/etc/systemd/system/certagent.service.d/clock.conf", `${DROP_IN}${preload}`);
  await host.machine.sh("systemctl daemon-reload; systemctl start certagent");
  await host.until("all are current", areCurrent);
});
afterAll(() => host[Symbol.asyncDispose]());

/** Steps the agent's clock and waits until it has told so. */
async function step(offset: string): Promise<void> {
  const told = "journalctl -u certagent -o cat | grep -c 'clock was stepped' || true";
  const before = await host.machine.sh(told);
  await put(host.machine, OFFSET, `${offset}\n`);
  await host.machine.sh(`until [ "$(${told})" != ${before} ]; do sleep 0.5; done`);
}

test("a clock that goes back is noticed and told, and costs no issuance", async () => {
  const asked = await host.ca.requests();
  await step("-3h");
  await host.machine.sh("journalctl --sync");

  expect(await journalOf(host.machine, "--priority=err", "-o", "cat")).toContain("code=CLOCK_SUSPECT");
  expect(await host.ca.requests()).toEqual(asked);
  await step("+0");
  await host.until("all are current", areCurrent);
});

test("a clock that is ahead has renewals asked for and refused, since what comes is old already; what is valid stays", async () => {
  const before = await pairsOn(host.machine);
  await step("+20h");
  await host.until("a renewal was refused", (all) => all.get("redis")?.failure?.code === "CHAIN_UNUSABLE");

  expect(await pairsOn(host.machine)).toEqual(before);

  await step("+0");
  await host.machine.sh("certagent renew --all");
  await host.until("all are current", areCurrent);
  expect(await broken(host.machine)).toEqual([]);
});
