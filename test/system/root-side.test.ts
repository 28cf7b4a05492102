/** A root side that cannot start, hangs, or is stopped, and a path unit that systemd has given up. */
import { afterAll, beforeAll, beforeEach, expect, inject, test } from "vitest";
import { type Certificates, type ContractHost, journalOf, makeContractHost } from "./contract-host.ts";
import { areCurrent } from "./look.ts";
import { makeMachine } from "./machine.ts";
import { put } from "./put.ts";

const DROP_IN = "/run/systemd/system/certagent-apply.service.d/test.conf";

/** It is a oneshot: activating for as long as it runs. */
const UNTIL_APPLY_ENDED =
  "while systemctl show -P ActiveState certagent-apply | grep -qx activating; do sleep 0.2; done";

let host: ContractHost;

beforeAll(async () => {
  host = await makeContractHost(await makeMachine(inject("machines"), inject("layers")));
  await host.machine.sh("systemctl start certagent");
});
afterAll(() => host[Symbol.asyncDispose]());

beforeEach(() => host.until("all are current", areCurrent));

test("a path unit that systemd has given up is re-armed, and meanwhile the agent tells that nobody answers", async () => {
  // A unit that ends at once with its request still there: systemd starts it 200 times, and never again.
  await put(host.machine, DROP_IN, "[Unit]\nConditionPathExists=/nowhere\n");
  await host.machine.sh(`systemctl daemon-reload; ${UNTIL_APPLY_ENDED}`);
  const renewing = host.machine.run(["certagent", "renew", "host"]);
  await host.machine.sh("until systemctl is-failed --quiet certagent-apply.path; do sleep 0.2; done");
  await host.machine.sh(`rm ${DROP_IN}; systemctl daemon-reload`);

  await host.machine.sh("until systemctl is-active --quiet certagent-apply.path; do sleep 0.5; done");
  await renewing;
  await host.until("all are current", areCurrent);

  expect(await journalOf(host.machine, "-o", "cat")).toMatch(
    /^cannot deploy .*systemctl status certagent-apply\.path/m,
  );
  expect(await host.machine.sh("certagent renew host")).toMatch(/host/);
});

test("a root side that cannot start is not started without end, and serves soon when it can", async () => {
  await host.machine.sh(UNTIL_APPLY_ENDED);
  await put(host.machine, DROP_IN, "[Service]\nExecStart=\nExecStart=/bin/false\n");
  await host.machine.sh("systemctl daemon-reload");
  const since = await host.machine.sh("date +%s");
  const renewing = host.machine.run(["certagent", "renew", "host"]);
  await host.machine.sh("until systemctl is-failed --quiet certagent-apply.path; do sleep 0.2; done");
  const lines = `journalctl -u certagent-apply --since @${since} -o cat`;
  const failed = Number(await host.machine.sh(`${lines} | grep -c '^Failed to start'`));
  await host.machine.sh(`rm ${DROP_IN}; systemctl daemon-reload`);

  await renewing;
  await host.until("all are current", areCurrent);

  expect(failed).toBeGreaterThan(0);
  expect(failed).toBeLessThan(100);
});

test("a root side that hangs is ended by systemd, and the agent, which answers all the time, gets done what it asked", async () => {
  await put(host.machine, DROP_IN, "[Service]\nTimeoutStartSec=10\nTimeoutStopSec=5\n");
  await host.machine.sh(`systemctl daemon-reload; ${UNTIL_APPLY_ENDED}`);
  const before = (await host.status()).certificates.find(({ name }) => name === "redis")?.leaf?.generation ?? 0;
  const renewing = host.machine.run(["certagent", "renew", "redis"]);
  await host.machine.sh(
    "until pid=$(systemctl show -P MainPID certagent-apply); [ $pid != 0 ] && kill -STOP $pid; do sleep 0.05; done",
  );

  const asked = await host.machine.run(["certagent", "status", "--json"], { timeout: 20_000 });
  await host.until(
    "the renewal is through",
    (all) => areCurrent(all) && (all.get("redis")?.leaf?.generation ?? 0) > before,
  );

  expect(JSON.parse(asked.stdout)).toMatchObject({ agent: { running: true } });
  expect((await renewing).code).toBe(0);
  expect(await journalOf(host.machine, "-o", "cat")).toContain("certagent-apply.service: start operation timed out");
  await host.machine.sh(`rm ${DROP_IN}; systemctl daemon-reload`);
});

/** Process 1 starts it and ends it again, from before it can hear a signal until it is at work. */
const STOP_EARLIER_AND_LATER = `
  for after in 0 .02 .04 .06 .08 .1 .12 .14 .16 .18 .2 .25 .3 .4 .6; do
    systemctl start --no-block certagent-apply; sleep $after; systemctl stop certagent-apply
    systemctl show -P Result -P ActiveState certagent-apply | xargs
  done`;

test("however early it comes, a stop of the root side is no failure of it, and what was asked is done by the next one", async () => {
  const generation = (all: Certificates): number => all.get("redis")?.leaf?.generation ?? 0;
  const before = generation(await host.until("all are current", areCurrent));
  await host.machine.sh("systemctl stop certagent-apply.timer certagent-apply.path certagent-apply.service");
  const renewing = host.machine.run(["certagent", "renew", "redis"]);

  const ends = await host.machine.sh(STOP_EARLIER_AND_LATER);
  await host.machine.sh("systemctl start certagent-apply.path certagent-apply.timer");

  expect(new Set(ends.split("\n"))).toEqual(new Set(["success inactive"]));
  await host.until("it is renewed", (all) => areCurrent(all) && generation(all) > before);
  await renewing;
});
