/** The way between the two sides: floods, folders that are filled or removed, and a command that hangs. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, inject, test } from "vitest";
import { type ContractHost, journalOf, makeContractHost } from "./contract-host.ts";
import { areCurrent, isCurrent } from "./look.ts";
import { makeMachine } from "./machine.ts";
import { put } from "./put.ts";

let host: ContractHost;

beforeAll(async () => {
  host = await makeContractHost(await makeMachine(inject("machines"), inject("layers")));
  await host.machine.sh("systemctl start certagent");
  const flood = await readFile(join(import.meta.dirname, "probes", "flood.ts"), "utf8");
  await put(host.machine, "/usr/local/lib/flood.mts", flood);
});
afterAll(() => host[Symbol.asyncDispose]());

beforeEach(() => host.until("all are current", areCurrent));

test("ten thousand requests of an intruder, nearly all of them nonsense, are gone in no time, and the next is served", async () => {
  const starts = async (): Promise<number> =>
    Number(await host.machine.sh("journalctl -u certagent-apply -o cat | grep -c '^Starting '"));
  const before = await starts();
  await host.machine.sh("runuser -u certagent -- /usr/lib/certagent/node /usr/local/lib/flood.mts");
  await host.machine.sh('until [ -z "$(ls /run/certagent/requests)" ]; do sleep 0.2; done');

  expect(await host.machine.sh("certagent renew vlc-admin")).toMatch(/vlc-admin/);
  expect(await host.machine.sh("systemctl is-active certagent certagent-apply.path")).toBe("active\nactive");
  expect(await journalOf(host.machine, "--priority=crit", "-o", "cat")).not.toContain("forged");
  expect((await starts()) - before).toBeLessThan(20);
});

test("the agent starts where somebody has removed the folder of one-time secrets with the secret", async () => {
  await host.machine.sh("rm -r /run/certagent-secrets; systemctl restart certagent");

  expect(await host.machine.sh("certagent renew vlc-admin")).toMatch(/vlc-admin/);
  await host.machine.sh("systemd-tmpfiles --create certagent.conf");
});

/** Fills the agent's folders with bytes first, then with names, which it hides as well as their owner can. */
const FILL = `
  for folder in requests control; do
    cd /run/certagent/$folder
    dd if=/dev/zero of=.bytes bs=1M count=100 || true
    seq 1000 | xargs printf "full-%s/deeper\\n" | xargs mkdir -p
    seq 40000 | xargs printf "full-1/file-%s\\n" | xargs touch
    chmod 000 full-*
  done 2> /dev/null
  rm -f /run/certagent/control/agent.sock
  touch /run/certagent/control/more; chmod 000 /run/certagent/requests /run/certagent/control`;

test("an intruder who fills the agent's folders takes no room of /run, and when the agent is itself again all is served", async () => {
  const free = "df --output=avail,iavail /run | tail -n 1";
  const room = (text: string): readonly number[] => text.trim().split(/\s+/).map(Number);
  const before = room(await host.machine.sh(free));
  await host.machine.sh("systemctl stop certagent");

  await host.machine.sh(`runuser -u certagent -- sh -c '${FILL}'`);
  const after = room(await host.machine.sh(free));
  await host.machine.sh("systemctl start certagent");
  await host.until("all are current", areCurrent);

  const [bytes = 0, names = 0] = before.map((number, index) => number - (after[index] ?? 0));
  expect(bytes).toBeLessThan(1024);
  expect(names).toBeLessThan(100);
  expect(await host.machine.sh("certagent renew vlc-admin")).toMatch(/vlc-admin/);
});

test("the folder of the reports is made anew where it was removed, and the agent reads what is answered there", async () => {
  await host.machine.sh("rm -r /run/certagent/reports");

  expect(await host.machine.sh("certagent renew vlc-admin")).toMatch(/vlc-admin/);
});

test("a command that hangs delays no other certificate", async () => {
  const spec = `subject: slow.internal
outputs:
  - { format: fullchain, path: /srv/slow.crt }
  - { format: key, path: /srv/slow.key }
services:
  - { type: command, reload: [/bin/sleep, infinity], timeout: 20s }
`;
  await put(host.machine, "/etc/certagent.d/slow.yaml", spec);
  await host.machine.sh("until pgrep -x sleep -a | grep -q infinity; do sleep 0.2; done");

  for (const name of ["vlc-admin", "postgres", "redis"]) await host.machine.sh(`certagent renew ${name}`);

  expect(await host.machine.sh("pgrep -c -x sleep")).toBe("1");
  const all = await host.until("the slow one fails", (seen) => seen.get("slow")?.failure?.code === "RELOAD_FAILED");
  expect([...all.values()].filter((one) => !isCurrent(one)).map(({ name }) => name)).toEqual(["slow"]);
  await host.machine.sh("rm /etc/certagent.d/slow.yaml; systemctl kill --signal=HUP --kill-whom=main certagent");
  await host.until("it is gone", (seen) => !seen.has("slow"));
});
