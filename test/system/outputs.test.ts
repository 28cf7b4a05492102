/** Where outputs may lie: the root side's sandbox opens by itself what specs name, and says what is to be added where it cannot. */
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { pause, SECOND } from "../../src/base/time.ts";
import { askStatus } from "../../src/cli/control-client.ts";
import { type MachineCa, startCa } from "./ca.ts";
import { type Machine, makeMachine } from "./machine.ts";
import { put } from "./put.ts";

const DROP_IN = "/var/lib/certagent/apply/outputs.conf";

let machine: Machine;
let ca: MachineCa;

beforeAll(async () => {
  machine = await makeMachine(inject("machines"), inject("layers"));
  await machine.boot();
  ca = await startCa(machine);
  await machine.sh("useradd --create-home alice; mkdir -p /srv/site");
  await put(machine, "/etc/certagent/root.crt", ca.pki.root.certificate.pem);
  await put(machine, "/root/password", "walrus-canary-5d20ab41", "0600");
  await machine.sh(
    "systemd-creds encrypt --name=provisioner-password /root/password /etc/credstore.encrypted/provisioner-password",
  );
  await put(machine, "/etc/certagent/certagent.yaml", configuration());
});

afterAll(async () => await machine[Symbol.asyncDispose]());

function configuration(): string {
  return `issuers:
  internal:
    type: step-ca
    url: https://ca.internal:9000
    root: { file: /etc/certagent/root.crt }
    provisioner: { type: jwk, name: ${ca.provisioner.name}, password: { credential: provisioner-password } }
default_issuer: internal
`;
}

async function putSpec(name: string, path: string, owner = "root"): Promise<void> {
  const output = `{ format: combined, path: ${path}, owner: ${owner}, group: ${owner} }`;
  await put(machine, `/etc/certagent.d/${name}.yaml`, `subject: ${name}.internal\noutputs: [${output}]\n`);
}

/** Asks until the certificate has one of these states; answers what failed last. */
async function untilState(name: string, ...states: readonly string[]): Promise<string> {
  for (;;) {
    const document = await askStatus(machine.file("/run/certagent/control"), []).catch(() => undefined);
    const found = document?.certificates.find((one) => one.name === name);
    if (found !== undefined && states.includes(found.state)) return found.failure?.message ?? "";
    await pause(SECOND / 5);
  }
}

test("outputs below /etc and /srv are opened as folders, and the unit stays as closed as it was", async () => {
  await putSpec("etc", "/etc/ssl/private/etc.pem");
  await putSpec("srv", "/srv/site/tls/srv.pem");
  await machine.sh("systemctl start certagent");

  await untilState("etc", "current");
  await untilState("srv", "current");

  expect(await machine.sh(`grep -v ^# ${DROP_IN}`)).toBe(
    '[Service]\nReadWritePaths=-"/etc/ssl/private"\nReadWritePaths=-"/srv/site"',
  );
  expect(await machine.sh("systemd-analyze security --no-pager --threshold=12 certagent-apply.service")).toContain(
    "1.2 OK",
  );
});

test("a spec that comes later has its folder opened, too, and one in a home has the homes opened", async () => {
  await putSpec("home", "/home/alice/tls.pem", "alice");

  await untilState("home", "current");

  expect(await machine.sh("stat -c '%U %a' /home/alice/tls.pem")).toBe("alice 600");
  const dropIn = await machine.sh(`cat ${DROP_IN}`);
  expect(dropIn).toContain('ProtectHome=no\nReadWritePaths=-"/etc/ssl/private"\nReadWritePaths=-"/home"\n');
});

test("an output in /root is written", async () => {
  await putSpec("root", "/root/root.pem");

  await untilState("root", "current");

  expect(await machine.sh("stat -c %a /root/root.pem")).toBe("600");
});

test("a folder that nothing can open is told, with the line that may be missing", async () => {
  await machine.sh("mkdir /srv/frozen; mount -t tmpfs -o ro,mode=755 none /srv/frozen");
  await putSpec("frozen", "/srv/frozen/a.pem");

  const message = await untilState("frozen", "failing");

  expect(message).toContain("read-only file system");
  expect(await machine.sh("journalctl -u certagent-apply -o cat")).toMatch(
    /cannot write a folder of outputs folder=\/srv\/frozen hint=.*ReadWritePaths=\/srv\/frozen/,
  );
});

/** Waits until a new start of the root side is what serves the next request, then loses a file and has it mended. */
async function mendAnother(): Promise<void> {
  await machine.sh("while systemctl show -P ActiveState certagent-apply | grep -qx activating; do sleep 0.2; done");
  await machine.sh("rm /etc/ssl/private/etc.pem; systemctl kill --signal=HUP --kill-whom=main certagent");
  await machine.sh("until test -s /etc/ssl/private/etc.pem; do sleep 0.2; done");
}

let apps = 0;

test.each([
  ["a looping link", "mv app/tls app/old; ln -s tls app/tls"],
  ["a looping link above", "mv app old; ln -s app app"],
  ["a plain file above", "mv app old; touch app"],
  ["a link that leads elsewhere", "mv app/tls app/old; ln -s /usr app/tls"],
  ["nothing", "mv app/tls app/old"],
])("a service's user that puts %s in the place of its outputs' folder stops nobody else's", async (_, swap) => {
  const [name, own] = [`app-${apps}`, `/srv/alice-${apps}`];
  apps += 1;
  await machine.sh(`mkdir -p ${own}/app/tls; chown -R alice ${own}`);
  await putSpec(name, `${own}/app/tls/a.pem`, "alice");
  await untilState(name, "current");
  await machine.sh("while systemctl show -P ActiveState certagent-apply | grep -qx activating; do sleep 0.2; done");

  await machine.sh(`runuser -u alice -- sh -euc 'cd ${own}; ${swap}'`);
  await mendAnother();

  expect(await machine.sh("journalctl -u certagent-apply -o cat")).not.toContain("NAMESPACE");
  await machine.sh(`rm /etc/certagent.d/${name}.yaml`);
});

test("a spec that goes with its folder and comes back is current soon, though the root side lives on", async () => {
  const gone = '! certagent status --json | grep -q \'"name": "again"\'';
  for (let round = 0; round < 5; round++) {
    await machine.sh("mkdir /srv/again");
    await putSpec("again", "/srv/again/a.pem");
    await untilState("again", "current");
    await machine.sh("until test -s /srv/again/a.pem; do sleep 0.1; done");
    await machine.sh(`rm -r /etc/certagent.d/again.yaml /srv/again; until ${gone}; do sleep 0.1; done`);
  }
  const journal = await machine.sh("journalctl -u certagent -u certagent-apply -o cat");
  expect(journal).not.toMatch(/folder=\/srv\/again |again\/a.pem\\": read-only/);
});

test("where root moves a listed folder, or takes it away, the root side starts all the same", async () => {
  await machine.sh("mv /srv/site /srv/moved; ln -s moved /srv/site");
  await mendAnother();
  await machine.sh("rm -r /srv/site /srv/moved /etc/certagent.d/srv.yaml");
  await mendAnother();

  expect(await machine.sh("journalctl -u certagent-apply -o cat")).not.toContain("NAMESPACE");
  expect(await machine.sh(`cat ${DROP_IN}`)).not.toContain("/srv/site");
});

const STARTS = "journalctl --boot -u certagent-apply -o cat | grep -c '^Starting '";

test("at a boot the folders are open from the start, and the root side starts once", async () => {
  await machine.powerOff();
  await machine.boot();
  await machine.sh("until certagent status --json | grep -q '\"running\": true'; do sleep 0.2; done");
  await untilState("etc", "current");
  await machine.sh("while systemctl show -P ActiveState certagent-apply | grep -qx activating; do sleep 0.2; done");
  const starts = await machine.sh(STARTS);
  await mendAnother();

  expect(starts).toBe("1");
  expect(await machine.sh("journalctl --boot -u certagent-apply -o cat")).not.toContain("starting again");
});

test("where systemd read the unit before its folders were known, it is told once, and all goes on", async () => {
  await machine.sh(`mv ${DROP_IN} /root/outputs.conf; systemctl daemon-reload; mv /root/outputs.conf ${DROP_IN}`);

  await mendAnother();

  expect(await machine.sh("journalctl --boot -u certagent-apply -o cat | grep -c 'starting again'")).toBe("1");
});

test("a state folder that was moved to another disk and is a link to there is written, though /var/lib is open as well", async () => {
  await putSpec("lib", "/var/lib/web/lib.pem");
  await untilState("lib", "current");
  expect(await machine.sh(`cat ${DROP_IN}`)).toContain('ReadWritePaths=-"/var/lib"');
  await machine.sh("systemctl stop certagent certagent-apply.timer certagent-apply.path certagent-apply");
  await machine.sh("mv /var/lib/certagent /srv/state; ln -s /srv/state /var/lib/certagent; systemctl start certagent");

  await machine.sh("rm /var/lib/web/lib.pem; certagent renew lib");

  expect(await machine.sh("stat -c %a /var/lib/web/lib.pem")).toBe("600");
});
