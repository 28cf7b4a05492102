/** What others see of the service: its journal, its secrets (nothing of them), and what systemd does with a hung one. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import {
  type Evidence,
  hits,
  keySecretOf,
  readableByOthers,
  type Secret,
  secretOf,
} from "../integration/secrets/canary.ts";
import { type ContractHost, FILES, FIVE, makeContractHost } from "./contract-host.ts";
import { areCurrent } from "./look.ts";
import { makeMachine } from "./machine.ts";
import { put } from "./put.ts";
import { REDIS_PASSWORD } from "./services.ts";

const BOTH = "journalctl --no-pager -u certagent -u certagent-apply";
const FORGED = "certificate=vlc-admin is lost";

let host: ContractHost;

beforeAll(async () => {
  host = await makeContractHost(await makeMachine(inject("machines"), inject("layers")));
  await host.machine.sh("systemctl start certagent");
  await host.until("all are current", areCurrent);
});
afterAll(() => host[Symbol.asyncDispose]());

test("two units tell the whole story of one certificate, and nothing of another one", async () => {
  const other = "/etc/certagent.d/vlc-admin-2.yaml";
  await put(host.machine, other, "subject: 1\n");
  await host.machine.sh(`until ${BOTH} -g certificate=vlc-admin-2 > /dev/null; do sleep 0.2; done; rm ${other}`);
  await host.machine.sh("certagent renew vlc-admin; journalctl --sync");

  const story = (await host.machine.sh(`${BOTH} -o cat -g 'certificate=vlc-admin(?!\\S)'`)).split("\n");

  const renewal = story.slice(story.findIndex((line) => line.includes('because="an operator asked for it"')));
  expect(renewal.map((line) => line.split(" certificate=vlc-admin ")[0])).toEqual(
    expect.arrayContaining(["issued", "wrote a file", "reloaded", "deployed", "proven", "waiting"]),
  );
  expect(story.filter((line) => !line.includes(" certificate=vlc-admin "))).toEqual([]);
});

test("what goes well has the priority of information, and what fails that of a warning, until it is over", async () => {
  await host.machine.sh(
    "systemctl stop step-ca; certagent renew host || true; systemctl start step-ca; journalctl --sync",
  );

  const worse = await host.machine.sh(`${BOTH} -o cat --priority=warning -g certificate=`);
  const well = await host.machine.sh(`${BOTH} -o cat --priority=6..6 -g certificate=`);

  expect(worse).toMatch(/^cannot get a certificate certificate=host code=ISSUER_UNREACHABLE /m);
  expect(worse).not.toMatch(/^(issued|deployed|proven|reloaded|wrote) /m);
  expect(well).toMatch(/^issued /m);
  await host.machine.sh("until curl -sk https://ca.internal:9000/health; do sleep 0.1; done; certagent renew host");
});

test("neither a file's name, nor a spec's text, nor a command's words forge a line of certagent's", async () => {
  const words = `\n<1>${FORGED}`;
  await put(host.machine, "/usr/local/bin/liar", `#!/bin/sh\nprintf '%s\\n' "$0" '<1>${FORGED}'; exit 1\n`, "0755");
  const outputs = `outputs:\n  - { format: fullchain, path: /srv/a.crt }\n  - { format: key, path: /srv/a.key }\n`;
  const services = "services:\n  - { type: command, reload: [/usr/local/bin/liar] }\n";
  await put(host.machine, "/etc/certagent.d/liar.yaml", `subject: liar.internal\n${outputs}${services}`);
  await put(host.machine, `/etc/certagent.d/name${words}.yaml`, "subject: x\n");
  await put(host.machine, "/etc/certagent.d/text.yaml", `subject: ${JSON.stringify(`x${words}`)}\n${outputs}`);
  await host.machine.sh("systemctl kill --signal=HUP --kill-whom=main certagent");
  await host.until("the liar has failed", (all) => all.get("liar")?.failure?.code === "RELOAD_FAILED");
  await host.machine.sh("journalctl --sync");

  const lines = (await host.machine.sh(`${BOTH} -o cat`)).split("\n");
  const alerts = await host.machine.run(["journalctl", "--no-pager", "--priority=alert", "-o", "json"]);

  expect(lines.some((line) => line.includes(FORGED))).toBe(true);
  expect(lines.filter((line) => line.startsWith(FORGED) || line.startsWith("<1>"))).toEqual([]);
  expect(alerts.stdout).not.toMatch(/"_SYSTEMD_UNIT":"certagent(-apply)?\.service"/);
  await host.machine.sh(`cd /etc/certagent.d; rm -f liar.yaml text.yaml name*; systemctl kill -s HUP certagent`);
  await host.until("all are current", areCurrent);
});

test("secrets are nowhere but where they belong: not in an argument, an environment, the journal, or a file of others", async () => {
  const { machine, ca } = host;
  const secrets: readonly Secret[] = [
    secretOf("the provisioner's password", ca.provisioner.password),
    secretOf("Redis' password", REDIS_PASSWORD),
    ...(await Promise.all(
      FIVE.map(async (name) => keySecretOf(`the key of ${name}`, await machine.sh(`cat ${FILES[name][1]}`))),
    )),
  ];
  const seen: Evidence[] = [
    {
      where: "the journal",
      text: await machine.sh("journalctl --sync; journalctl --no-pager -o export -u 'certagent*'"),
    },
    { where: "arguments", text: await machine.sh("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n'") },
    {
      where: "environments",
      text: await machine.sh(
        "for unit in certagent certagent-apply; do systemctl show $unit; done; cat /proc/$(systemctl show -P MainPID certagent)/environ | tr '\\0' '\\n'",
      ),
    },
    { where: "status", text: await machine.sh("certagent status --json; certagent plan --json || true") },
    ...(await readableByOthers(machine.file("/run/certagent"))),
    ...(await readableByOthers(machine.file("/var/lib/certagent"))),
    ...(await readableByOthers(machine.file("/etc/certagent"))),
  ];

  expect(secrets).toHaveLength(7);
  expect(hits(secrets, seen)).toEqual([]);
});

test("the credential can be read by the service alone", async () => {
  const path = "/run/credentials/certagent.service/provisioner-password";
  const readers: string[] = [];
  for (const user of ["certagent", "nobody", "postgres"]) {
    if ((await host.machine.run(["runuser", "-u", user, "--", "cat", path])).code === 0) readers.push(user);
  }

  expect(readers).toEqual(["certagent"]);
  expect(await host.machine.sh(`stat -c "%U %a" ${path}`)).toMatch(/^(certagent 400|root 4[04]0)$/);
});

/** Waits until another process than this one is the agent. */
async function untilAnother(process: string): Promise<void> {
  await host.machine.sh(`until [ $(systemctl show -P MainPID certagent) != ${process} ]; do sleep 0.2; done`);
  await host.machine.sh("until systemctl is-active -q certagent; do sleep 0.2; done");
}

test("an agent that dies leaves no core, and comes back", async () => {
  const process = await host.machine.sh("systemctl show -P MainPID certagent");
  await host.machine.sh("systemctl kill --signal=SEGV certagent");
  await untilAnother(process);
  await host.until("all are current", areCurrent);

  expect(await host.machine.sh("systemctl show -P MainPID certagent")).not.toBe(process);
  expect(
    await host.machine.sh(
      "find / -xdev \\( -name core -o -name 'core.*' \\) -type f -newer /etc/certagent/certagent.yaml",
    ),
  ).toBe("");
  expect(await host.machine.sh(`cat /proc/$(systemctl show -P MainPID certagent)/limits | grep core`)).toMatch(
    / 0 +0 /,
  );
});

test("the watchdog ends an agent whose loop hangs, and it starts again", async () => {
  const hang = await readFile(join(import.meta.dirname, "probes", "hang.ts"), "utf8");
  await put(host.machine, "/usr/local/lib/hang.mts", hang);
  const start = await host.machine.sh("systemctl cat certagent | sed -n 's/^ExecStart=//p'");
  const hanging = start.replace("/node ", "/node --import=/usr/local/lib/hang.mts ");
  const limits = "WatchdogSec=4\nRestartSec=1\nTimeoutAbortSec=2\nTimeoutStopSec=2";
  await put(
    host.machine,
    "/run/systemd/system/certagent.service.d/hang.conf",
    `[Service]\n${limits}\nExecStart=\nExecStart=${hanging}\n`,
  );
  await host.machine.sh("systemctl daemon-reload; systemctl restart certagent");
  await host.until("all are current", areCurrent);
  const process = await host.machine.sh("systemctl show -P MainPID certagent");
  await host.machine.sh("touch /var/lib/certagent/agent/hang");

  await untilAnother(process);
  await host.until("all are current", areCurrent);

  expect(await host.machine.sh("journalctl --sync; journalctl -u certagent -o cat")).toContain("Watchdog timeout");
});
